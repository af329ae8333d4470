"""Tables of names: each stands for an object that is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

from common.errors import UserError
from common.lookup import resolve
from common.names import unknown

T = TypeVar("T", covariant=True)
U = TypeVar("U")


class UnknownNameError(UserError, KeyError):
    """A name that is not in a table; the message names the nearest one that is, and all others."""

    __str__ = Exception.__str__  # a KeyError would show its message in quotes


class Table(Mapping[str, T], Generic[T]):
    """Names of one kind, and where the objects are that they stand for.

    ``table[name]`` imports the object, and raises UnknownNameError where there is no such name. Asking which names
    there are imports nothing.

        MODELS = Table("model", {"made": "models.made.model:MADE"})
    """

    def __init__(self, kind: str, places: Mapping[str, str]) -> None:
        """``kind`` is what messages call a name; ``places`` are "module:object"."""
        self.kind = kind
        self.places = dict(places)

    def __getitem__(self, name: Any) -> T:
        self.check(name)
        found: T = resolve(self.places[name])
        return found

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self.places

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def check(self, name: Any) -> None:
        """Raise UnknownNameError where there is no such name; nothing is imported."""
        if name not in self:
            raise UnknownNameError(unknown(self.kind, name, self.places))

    def name_of(self, kind: type) -> str | None:
        """The name of a class that the table holds, found without importing anything; None where it holds none such."""
        place = f"{kind.__module__}:{kind.__qualname__}"
        return next((name for name, found in self.places.items() if found == place), None)

    def __or__(self, other: Table[U]) -> Table[T | U]:
        """Both tables' names, called what this one's are."""
        return Table(self.kind, self.places | other.places)

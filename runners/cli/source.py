"""Classes as their source states them: names of members, bases and docstrings, of modules that nobody imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from typing import NamedTuple

from common.paths import ROOT


class Place(NamedTuple):
    """A name in a module of this repository."""

    module: str
    name: str

    @classmethod
    def of(cls, place: str) -> Place:
        """From "module:object", as tables have it."""
        return cls(*place.split(":"))


@cache
def read_module(module: str) -> ast.Module:
    """The syntax tree of a module."""
    path = ROOT / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


def first_sentence(place: Place) -> str:
    """The first line of a class's docstring; "" where there is none."""
    found = _own_class(place)
    return (ast.get_docstring(found) or "").split("\n")[0] if found else ""


def members(place: Place) -> set[str]:
    """The names that a class and its bases in this repository define or annotate, but for private ones."""
    names = {name for kind in _lineage(place) for name in _assigned(kind)}
    return {name for name in names if not name.startswith("_")}


def value_of(place: Place, attribute: str) -> str:
    """The name that a class, or the first of its bases that has the attribute, gives it. Raises LookupError."""
    for kind in _lineage(place):
        value = _assigned(kind).get(attribute)
        if isinstance(value, ast.Name):
            return value.id
    raise LookupError(f"{place.name} has no {attribute}")


def classes_in(place: Place) -> dict[str, Place]:
    """The entries of a dictionary of classes by their keys, as the module writes it down."""
    for node in read_module(place.module).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == place.name:
            written = next(each for each in ast.walk(node) if isinstance(each, ast.Dict))
            pairs = zip(written.keys, written.values, strict=True)
            return {key.value: _imported(place.module)[value.id] for key, value in pairs}  # type: ignore[union-attr,attr-defined]
    raise LookupError(f"{place.module} has no {place.name}")


def _own_class(place: Place) -> ast.ClassDef | None:
    found = [node for node in read_module(place.module).body if isinstance(node, ast.ClassDef)]
    return next((node for node in found if node.name == place.name), None)


@cache
def _imported(module: str) -> Mapping[str, Place]:
    """The names that a module imports from others, and where they are from."""
    found: dict[str, Place] = {}
    for node in read_module(module).body:
        if isinstance(node, ast.ImportFrom):
            above = module.split(".")[: -node.level] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            found |= {alias.asname or alias.name: Place(source, alias.name) for alias in node.names}
    return found


def _lineage(place: Place) -> Iterator[ast.ClassDef]:
    """A class, and the bases of it that are defined in this repository."""
    found = _own_class(place)
    if found is None:
        other = _imported(place.module).get(place.name)
        if other is not None and (ROOT / other.module.split(".")[0]).is_dir():
            yield from _lineage(other)
        return
    yield found
    for base in found.bases:
        name = base.value if isinstance(base, ast.Subscript) else base
        if isinstance(name, ast.Name):
            yield from _lineage(Place(place.module, name.id))


def _assigned(kind: ast.ClassDef) -> dict[str, ast.expr | None]:
    """What the body of a class defines, with the values of attributes."""
    found: dict[str, ast.expr | None] = {}
    for node in kind.body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = None
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = node.value
        elif isinstance(node, ast.Assign):
            found |= {target.id: node.value for target in node.targets if isinstance(target, ast.Name)}
    return found

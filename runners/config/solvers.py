"""An entry of a config's ``solvers`` list."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, InstanceOf, PlainSerializer

from common.names import unknown
from common.options import build_options
from solvers import SOLVERS, Segmented, Solver, solver_name

_OF_ALL = ("max_steps", "repeats", "trace")  # what every entry may have beside its solver's options
# Options of the two published code bases, and what took their place.
_SUCCESSORS = {"max_rows": "block_size, in equations", "n_iters": "max_steps", "num_iters": "max_steps"}


@dataclass(frozen=True)
class SolverEntry:
    """A solver with its options, the limit on its steps, and what it has of its own of the run's settings."""

    solver: Solver
    max_steps: int | None = None
    repeats: int | None = None  # None: the run's
    trace: bool | None = None  # None: the run's

    @property
    def name(self) -> str:
        """The solver's name in configs and results."""
        return solver_name(self.solver)

    @property
    def inner_name(self) -> str:
        """The name of the solver inside segments, if it is one of segments, else its own."""
        return solver_name(self.solver.inner) if isinstance(self.solver, Segmented) else self.name

    @property
    def options(self) -> dict[str, Any]:
        """Every option, defaults included."""
        options = {
            field.name: getattr(self.solver, field.name)
            for field in dataclasses.fields(self.solver)  # type: ignore[arg-type]
        }
        return {**options, "max_steps": self.max_steps}

    @property
    def record(self) -> dict[str, Any]:
        """The entry as a config has it, every option filled in."""
        own = {"repeats": self.repeats, "trace": self.trace}
        return {"name": self.name, **self.options, **{key: value for key, value in own.items() if value is not None}}


def parse_entry(entry: Any) -> SolverEntry:
    """Build an entry from {name: ..., option: ...} or from a bare name.

    Raises ValueError: one sentence that names the unknown solver or option and the valid ones.
    """
    if isinstance(entry, str):
        entry = {"name": entry}
    if not isinstance(entry, Mapping) or "name" not in entry:
        raise ValueError(f"each solver should be a mapping with a name, for example {{name: jacobi}}, not {entry!r}")
    options = dict(entry)
    name = options.pop("name")
    if not isinstance(name, str) or name not in SOLVERS:
        raise ValueError(unknown("solver", name, SOLVERS))
    max_steps, repeats = (_count(options.pop(key, None), f"solver {name}: {key}") for key in ("max_steps", "repeats"))
    trace = options.pop("trace", None)
    if not isinstance(trace, bool | None):
        raise ValueError(f"solver {name}: trace should be true or false, not {trace!r}")
    kind: Any = SOLVERS[name]
    _check_names(name, options, [*(field.name for field in dataclasses.fields(kind)), *_OF_ALL])
    try:
        solver = build_options(kind, options)
    except ValueError as error:
        raise ValueError(f"solver {name}: {error}") from None
    if not solver.tol >= 0.0:
        raise ValueError(f"solver {name}: tol must be at least 0, not {solver.tol}")
    return SolverEntry(solver, max_steps, repeats, trace)


def _count(value: Any, what: str) -> int | None:
    """A whole number of at least 1, or None."""
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise ValueError(f"{what} should be a whole number of at least 1, not {value!r}")
    return value


def _check_names(solver: str, options: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raise ValueError where a solver has no such option."""
    for option in options:
        if option in names:
            continue
        successor = _SUCCESSORS.get(str(option))
        if successor and successor.split(",")[0] in names:
            raise ValueError(
                f"solver {solver}: option {option!r} belongs to an older code base; its successor is {successor}"
            )
        raise ValueError(f"solver {solver}: {unknown('option', option, names)}")


def labels(entries: Sequence[SolverEntry]) -> list[str]:
    """A unique label for each entry: its name, with the options that tell it apart where a name occurs twice."""
    result: list[str] = []
    for entry in entries:
        same = [other for other in entries if other.name == entry.name]
        differing = [key for key in entry.options if len({repr(other.options[key]) for other in same}) > 1]
        label = entry.name
        if differing:
            label += "(" + ", ".join(f"{key}={entry.options[key]}" for key in differing) + ")"
        result.append(label)
    return [label if result.count(label) == 1 else f"{label}#{i}" for i, label in enumerate(result)]


def parse_entries(value: Any) -> list[SolverEntry]:
    """Build the entries of a config's list. Raises ValueError as ``parse_entry`` does, or where there is none."""
    if not isinstance(value, list) or not value:
        raise ValueError("expected a list of one or more solvers, for example [{name: jacobi}]")
    return [entry if isinstance(entry, SolverEntry) else parse_entry(entry) for entry in value]


# The type of a config's list of solvers; the dump of a config has it with every option filled in.
SolverList: TypeAlias = Annotated[
    list[InstanceOf[SolverEntry]],
    BeforeValidator(parse_entries),
    PlainSerializer(lambda entries: [entry.record for entry in entries]),
]

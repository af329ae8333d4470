"""An entry of a config's ``solvers`` list."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.names import unknown
from common.options import build_options
from solvers import SOLVERS, Solver, solver_name


@dataclass(frozen=True)
class SolverEntry:
    """A solver with its options, and the limit on its steps."""

    solver: Solver
    max_steps: int | None = None

    @property
    def name(self) -> str:
        """The solver's name in configs and results."""
        return solver_name(self.solver)

    @property
    def options(self) -> dict[str, Any]:
        """Every option, defaults included."""
        options = {
            field.name: getattr(self.solver, field.name)
            for field in dataclasses.fields(self.solver)  # type: ignore[arg-type]
        }
        return {**options, "max_steps": self.max_steps}


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
    if name not in SOLVERS:
        raise ValueError(unknown("solver", name, SOLVERS))
    max_steps = options.pop("max_steps", None)
    if max_steps is not None and (not isinstance(max_steps, int) or isinstance(max_steps, bool) or max_steps < 1):
        raise ValueError(f"solver {name}: max_steps should be a whole number of at least 1, not {max_steps!r}")
    kind: Any = SOLVERS[name]
    names = [field.name for field in dataclasses.fields(kind)] + ["max_steps"]
    for option in options:
        if option not in names:
            raise ValueError(f"solver {name}: {unknown('option', option, names)}")
    try:
        return SolverEntry(build_options(kind, options), max_steps)
    except ValueError as error:
        raise ValueError(f"solver {name}: {error}") from None


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

"""An entry of a config's ``solvers`` list: how it is read, how results say it, and how it meets a system."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeAlias

import jax
from pydantic import AfterValidator, BeforeValidator, InstanceOf, PlainSerializer

from common.code import file_of, load_object
from common.names import lacks, unknown
from common.options import build_options
from common.table import Table
from runners.config.auto import Auto
from runners.config.schema import UsageError
from runners.config.stop import Stop, parse_stop
from solvers import SOLVERS as METHODS
from solvers import Choice, CompositeSolver, Solver, Status, check_pairing, solver_name

AUTO = "auto"  # the name of a solver that is still to be chosen
_NAMED: dict[str, type[Solver]] = {**METHODS, AUTO: Auto}
SOLVERS: Table[type[Solver]] = Table(
    "solver", {name: f"{kind.__module__}:{kind.__qualname__}" for name, kind in _NAMED.items()}
)
_OF_ALL = ("max_steps", "repeats", "trace", "stop")  # what every entry may have beside its solver's options
# Options of the two published code bases, and what took their place.
_SUCCESSORS = {"max_rows": "block_size, in equations", "n_iters": "max_steps", "num_iters": "max_steps"}


@dataclass(frozen=True)
class SolverEntry:
    """A solver with its options, the limit on its steps, and settings of its own in the place of the run's."""

    solver: Solver
    max_steps: int | None = None
    repeats: int | None = None  # None: the run's
    trace: bool | None = None  # None: the run's
    stop: Stop | None = None  # where it stops on purpose, which max_steps and the solver's tol say too
    choice: Choice | None = field(default=None, compare=False)  # how the solver was chosen, where the config says auto

    @property
    def name(self) -> str:
        """The solver's name in configs and results."""
        return _name(self.solver)

    @property
    def inner_name(self) -> str:
        """The name of the solver that solves the parts, where the solver is a composite one, else its own name."""
        solver = self.solver
        while isinstance(solver, CompositeSolver):
            solver = solver.inner
        return _name(solver)

    @property
    def options(self) -> dict[str, Any]:
        """Every option, defaults included; an inner solver as the mapping that a config has for it."""
        return {**solver_options(self.solver), "max_steps": self.max_steps}

    def named(self, label: str) -> dict[str, Any]:
        """The keys with which a row of results.json begins: which solver it is about, and how it was chosen."""
        chosen = {} if self.choice is None else {"choice": self.choice.record}
        return {"solver": self.name, "label": label, "options": self.options, **chosen}

    @property
    def record(self) -> dict[str, Any]:
        """The entry as a config has it, every option filled in."""
        stop = None if self.stop is None else self.stop.record
        own = {"repeats": self.repeats, "trace": self.trace, "stop": stop}
        return {
            **_reference(self.solver),
            **self.options,
            **{key: value for key, value in own.items() if value is not None},
        }

    def judged(self, outcome: Status) -> Status:
        """How a solve ended, which is as STOPPED where it did so as the entry asks: a rough answer is no solution."""
        return Status.STOPPED if self.stop is not None and outcome in self.stop.ends else outcome

    def resolved(self, system: Any) -> SolverEntry:
        """The entry with those options of its solver filled in whose default depends on the system."""
        return dataclasses.replace(self, solver=self.solver.resolved(system))


def solver_options(solver: Solver) -> dict[str, Any]:
    """Every option of a solver as plain values; an inner solver is a mapping of its name and options."""
    options = {field.name: getattr(solver, field.name) for field in dataclasses.fields(solver)}
    if isinstance(solver, CompositeSolver):
        options["solver"] = {**_reference(solver.inner), **solver_options(solver.inner)}
    return options


def _reference(solver: Solver) -> dict[str, str]:
    """What says which solver it is: its name, and where it is a user's own its file."""
    path = file_of(type(solver))
    return {**({} if path is None else {"path": path}), "name": _name(solver)}


def _name(solver: Solver) -> str:
    return AUTO if isinstance(solver, Auto) else solver_name(solver)


def fit_entries(entries: Sequence[SolverEntry], system: Any, where: str = "") -> list[SolverEntry]:
    """The entries as they run on ``system``, options that depend on it filled in.

    Raises UsageError, its sentence after ``where``, for the first entry that does not go with the system.
    """
    for entry in entries:
        reason = refusal(entry, system)
        if reason is not None:
            raise UsageError(f"{where}solver {entry.name}: {reason}")
    return [entry.resolved(system) for entry in entries]


def refusal(entry: SolverEntry, system: Any) -> str | None:
    """The reason why a solver does not go with a system, as a sentence; None where it does."""
    try:
        check_pairing(system, entry.solver)
        entry.solver.max_steps(system)  # refuses a block size that the system does not allow
        jax.eval_shape(lambda system: entry.solver.init(system, system.initial_guess()), system)  # refuses a large one
    except ValueError as error:
        return str(error)
    return None


def parse_entry(entry: Any) -> SolverEntry:
    """Build an entry from {name: ..., option: ...}, with a ``path`` where it is a user's own, or from a bare name.

    Raises ValueError: one sentence that names the unknown solver or option and the valid ones.
    """
    name, options = _name_and_options(entry)
    kind = _solver_class(name, options.pop("path", None))
    max_steps, repeats = (_count(options.pop(key, None), f"solver {name}: {key}") for key in ("max_steps", "repeats"))
    trace = options.pop("trace", None)
    if not isinstance(trace, bool | None):
        raise ValueError(f"solver {name}: trace should be true or false, not {trace!r}")
    asked = options.pop("stop", None)
    solver, own_tol = _build_solver(name, kind, options, _OF_ALL), options.get("tol")
    try:
        stop = parse_stop(asked, {"max_steps": max_steps, "tol": None if own_tol is None else solver.tol})
    except ValueError as error:
        raise ValueError(f"solver {name}: {error}") from None
    if isinstance(solver, Auto) and (stop is not None or max_steps is not None):
        raise ValueError(f"solver {name}: stop and max_steps go with a solver that is named, not with one to be chosen")
    if stop is not None:
        solver, max_steps = solver.with_tol(stop.tol), stop.max_steps or max_steps
    return SolverEntry(solver, max_steps, repeats, trace, stop)


def _name_and_options(entry: Any) -> tuple[Any, dict[str, Any]]:
    """The name of a solver, and its options as a config gives them, from a mapping or a bare name."""
    if isinstance(entry, str):
        return entry, {}
    if not isinstance(entry, Mapping) or "name" not in entry:
        raise ValueError(f"each solver should be a mapping with a name, for example {{name: jacobi}}, not {entry!r}")
    return entry["name"], {key: value for key, value in entry.items() if key != "name"}


def _solver_class(name: Any, path: Any) -> type[Solver]:
    """The class of that name, one of SOLVERS or in a user's own file. Raises ValueError where there is none such."""
    if path is None:
        return SOLVERS[name]
    kind = load_object(path, name)
    if not isinstance(kind, type) or not issubclass(kind, Solver):
        raise ValueError(f"solver {name} in {path} should be a class that extends Solver")
    missing = kind.__abstractmethods__ | (set() if isinstance(getattr(kind, "requires", None), type) else {"requires"})
    if missing:
        raise ValueError(f"solver {name} in {path}: {lacks(missing, set(dir(kind)) - set(dir(Solver)))}")
    return kind


def _build_solver(name: str, kind: type[Solver], options: Mapping[str, Any], of_all: Sequence[str] = ()) -> Solver:
    """The solver of a name with its options, checked; ``of_all`` are options that the entry has beside them."""
    _check_names(name, options, [*(field.name for field in dataclasses.fields(kind)), *of_all])
    try:
        return _build_composite(kind, options) if issubclass(kind, CompositeSolver) else build_options(kind, options)
    except ValueError as error:
        raise ValueError(f"solver {name}: {error}") from None


def _build_composite(kind: type[CompositeSolver], options: Mapping[str, Any]) -> CompositeSolver:
    """A composite solver, whose option ``solver`` is read like an entry: a bare name, or a mapping of any depth."""
    if "solver" not in options:
        return build_options(kind, options)
    name, inner_options = _name_and_options(options["solver"])
    path = inner_options.pop("path", None)
    admitted = [other for other, inner in METHODS.items() if kind.admits(inner())]
    if path is None and name not in admitted:
        raise ValueError(unknown("inner solver", name, admitted))
    inner = _build_solver(name, _solver_class(name, path), inner_options)
    solver = build_options(kind, {**options, "solver": inner})
    if "tol" in inner_options and solver.solver.tol != solver.tol:
        raise ValueError(
            f"tol {solver.solver.tol:g} of the inner solver differs from {solver.tol:g}, that of the whole; parts are "
            "held to the tolerance of the whole"
        )
    return solver


def _count(value: Any, what: str) -> int | None:
    """A whole number of at least 1, also where it is written as 1.0e3, or None."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
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
            label += "(" + ", ".join(f"{key}={_in_short(entry.options[key])}" for key in differing) + ")"
        result.append(label)
    return [label if result.count(label) == 1 else f"{label}#{i}" for i, label in enumerate(result)]


def _in_short(option: Any) -> Any:
    """An option in a label; of an inner solver its name, and those of its options that are not the default."""
    if not isinstance(option, Mapping):
        return option
    name, kind = option["name"], SOLVERS.get(option["name"])
    usual = {} if kind is None else solver_options(kind().with_tol(option["tol"]))
    own = [f"{key}={_in_short(value)}" for key, value in option.items() if key != "name" and value != usual.get(key)]
    return f"{name}({', '.join(own)})" if own else name


def parse_entries(value: Any) -> list[SolverEntry]:
    """Build the entries of a config's list.

    Raises ValueError as ``parse_entry`` does, or where there is none, or none that is to solve the equations.
    """
    if not isinstance(value, list) or not value:
        raise ValueError("expected a list of one or more solvers, for example [{name: jacobi}]")
    entries = [entry if isinstance(entry, SolverEntry) else parse_entry(entry) for entry in value]
    if all(entry.stop is not None for entry in entries):
        raise ValueError(
            "every solver has a stop, so there is no exact answer to hold rough ones against; add one without, such as "
            "{name: cached_sequential}"
        )
    return entries


def _refuse_plans(entries: list[SolverEntry]) -> list[SolverEntry]:
    for entry in entries:
        if entry.repeats is not None or entry.trace is not None:
            raise ValueError(
                f"solver {entry.name}: repeats and trace go with solvers that are compared, not with those that train"
            )
    return entries


# The type of a config's list of solvers; the dump of a config has it with every option filled in.
SolverList: TypeAlias = Annotated[
    list[InstanceOf[SolverEntry]],
    BeforeValidator(parse_entries),
    PlainSerializer(lambda entries: [entry.record for entry in entries]),
]
# The same for solvers that train, which have no ``repeats`` and no ``trace``.
TrainingSolvers: TypeAlias = Annotated[SolverList, AfterValidator(_refuse_plans)]

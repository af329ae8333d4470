"""The systems of the shipped configs and the solvers that are compared on them, as their runners make both."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from flax import nnx
from rich.console import Console

from common.paths import REFERENCE
from models.densenet.systems import DenseNetSystem
from models.rnn.model import RNN
from models.rnn.systems import ForwardRNN
from runners import RUNNERS
from runners.config.files import anchor_paths, find_config, read_config
from runners.config.schema import check_config
from runners.config.solvers import SolverEntry, fit_entries, labels
from runners.densenet.runner import DenseNetRunner
from runners.experiment import RunContext
from runners.measure.comparison import split_entries
from runners.measure.order_one import reason_to_skip
from runners.rnn.backprop.gradients import backward_pass
from runners.rnn.backprop.runner import BackpropRunner
from runners.rnn.classifier.runner import RNNClassifierRunner
from runners.rnn.forward.runner import ForwardRNNRunner
from runners.sampling.runner import SamplerRunner
from runners.survey.runner import SurveyRunner
from runners.system.runner import SystemRunner
from solvers import Solver


class Compared(NamedTuple):
    """A system, and solvers by the labels that results have for them."""

    part: str  # which of a config's systems it is; empty where there is one
    system: Any
    solvers: Mapping[str, Solver]


def names() -> list[str]:
    """The shipped configs whose runners compare solvers."""
    found = sorted(path.parent.name for path in REFERENCE.glob("*/results.json"))
    return [name for name in found if issubclass(RUNNERS[_runner(name)], tuple(_READ))]


def compared(name: str) -> Iterator[Compared]:
    """What the runner of a shipped config compares; of cells at many lengths and sizes the longest of each cell."""
    kind = RUNNERS[_runner(name)]
    context = RunContext(_runner(name), name, Path(), Console(quiet=True))
    read = next(read for base, read in _READ.items() if issubclass(kind, base))
    yield from read(kind(config_of(name), context))


def solvers_of(name: str) -> dict[str, SolverEntry]:
    """The solvers of a shipped config, by label."""
    entries: list[SolverEntry] = config_of(name).solvers
    return _by_label(entries)


def config_of(name: str) -> Any:
    """A shipped config, checked, of the schema of its runner."""
    schema, path = RUNNERS[_runner(name)].Config, find_config(name)
    return check_config(schema, anchor_paths(read_config(path, schema), path.parent), path.name)


@cache
def _runner(name: str) -> str:
    """The runner that made the shipped results of a config."""
    return str(json.loads((REFERENCE / name / "results.json").read_text(encoding="utf-8"))["runner"])


def _by_label(entries: list[SolverEntry]) -> dict[str, SolverEntry]:
    return dict(zip(labels(entries), entries, strict=True))


def _bare(entries: Mapping[str, SolverEntry]) -> dict[str, Solver]:
    return {label: entry.solver for label, entry in entries.items()}


def _one(runner: SamplerRunner | SystemRunner) -> Iterator[Compared]:
    yield Compared("", runner.system, _bare(_by_label(runner.config.solvers)))


def _layers(runner: DenseNetRunner) -> Iterator[Compared]:
    yield Compared("", DenseNetSystem.of(runner.network, runner.batches[0]), _bare(runner.entries))


def _gradient(runner: BackpropRunner) -> Iterator[Compared]:
    model = RNN(runner.architecture, rngs=nnx.Rngs(runner.config.seed)).fold()
    yield Compared("", backward_pass(model, runner.watched).system, _bare(runner.solvers))


def _classifier(runner: RNNClassifierRunner) -> Iterator[Compared]:
    rows = runner.task.train.rows[:, : runner.config.batch_size]
    yield Compared("", ForwardRNN.of(runner.task.first.cell, rows), _bare(_by_label(runner.config.solvers)))


def _surveyed(runner: SurveyRunner) -> Iterator[Compared]:
    for label, system in runner.systems.items():
        yield _within_limits(label, system, runner.config, _by_label(runner.config.solvers))


def _cells(runner: ForwardRNNRunner) -> Iterator[Compared]:
    for cell in runner.config.cells:
        own = [each for each in runner.experiments if each.cell == cell]
        longest = max(own, key=lambda each: (each.num_equations, each.network.hidden_size))
        entries = runner.config.entries(cell)
        yield _within_limits(cell, longest.system(runner.config.seed), runner.config, entries)


def _within_limits(part: str, system: Any, config: Any, entries: Mapping[str, SolverEntry]) -> Compared:
    """The solvers that go with a system and are within the limits of a config."""
    runnable, _ = split_entries(system, entries, partial(reason_to_skip, config))
    fitted = zip(runnable, fit_entries(list(runnable.values()), system), strict=True)
    return Compared(part, system, _bare(dict(fitted)))


_READ: dict[type, Callable[[Any], Iterator[Compared]]] = {
    SamplerRunner: _one,
    SystemRunner: _one,
    DenseNetRunner: _layers,
    BackpropRunner: _gradient,
    RNNClassifierRunner: _classifier,
    SurveyRunner: _surveyed,
    ForwardRNNRunner: _cells,
}

"""Backpropagation through an RNN by parallel solvers: the gradient's error by step, and training with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float32
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from data import load_dataset
from data.images.sequences import pixel_sequences
from models.rnn.model import RNN
from models.rnn.network import RNNNetwork
from runners.config.schema import RunConfig, UsageError
from runners.config.solvers import SolverEntry, labels
from runners.experiment import RunContext, RunFailure
from runners.measure.comparison import compare_solvers
from runners.rnn.backprop.config import BackpropConfig
from runners.rnn.backprop.errors import ErrorTracer
from runners.rnn.backprop.gradients import backward_pass
from runners.rnn.backprop.report import Report, print_report, write_backprop_report
from runners.rnn.backprop.summary import Phase
from runners.rnn.backprop.training import Method, SolverTraining, Task, train_all
from solvers import PairingError, Status, check_pairing

NAIVE_LIMIT = 2000  # equations up to which naive sequential is run: its work grows with the square of T
DISAGREES = 1e-3  # relative error with which a converged gradient contradicts the reference


class BackpropRunner:
    """The backward pass of an RNN as a linear system, solved by any list of solvers before, in and after training.

    The experiment of Song et al., "Accelerating Feedforward Computation via Parallel Nonlinear Equation Solving", ICML
    2021.
    """

    Config: ClassVar[type[RunConfig]] = BackpropConfig

    def __init__(self, config: BackpropConfig, context: RunContext) -> None:
        """Load the images and state the first system; everything that can be refused is refused here."""
        self.config, self.context = config, context
        self.dataset = load_dataset(config.dataset.name, root=config.dataset.root, download=config.dataset.download)
        if config.num_sequences > len(self.dataset.held_out):
            raise UsageError(
                f"num_sequences {config.num_sequences} is more than the {len(self.dataset.held_out)} held-out images "
                f"of {self.dataset.name}"
            )
        self.watched = jnp.asarray(pixel_sequences(self.dataset.held_out[: config.num_sequences], config.image_size))
        self.skipped: list[dict[str, str]] = []
        system = self._system(self._model(0))
        self.solvers = self._runnable("solvers", config.solvers, system)
        self.methods = self._runnable("methods", config.methods, system)

    def run(self) -> None:
        """Follow the gradient, train, follow it again; write the results and print them. Raises RunFailure."""
        first = next(self._tasks())
        tracers = {label: ErrorTracer(entry) for label, entry in self.solvers.items() if entry.trace is not False}
        start = self._follow("before training", first.model, tracers)
        trainings = self._train(first)
        reference = _reference(trainings)
        end = self._follow("after training", reference.models[0], tracers)
        report = Report(
            config=self.config,
            num_inputs=self.watched.shape[-1],
            phases={"start": start, "end": end},
            trainings=trainings,
            reference=reference,
            skipped=self.skipped,
        )
        write_backprop_report(self.context, report)
        print_report(self.context, report)
        _check(report)

    def _runnable(self, key: str, entries: list[SolverEntry], system: Any) -> dict[str, SolverEntry]:
        """The entries by label, without those that would take too long. Raises UsageError where one does not fit."""
        result = {}
        for label, entry in zip(labels(entries), entries, strict=True):
            try:
                check_pairing(system, entry.solver)
                entry.solver.max_steps(system)  # refuses a block size that the system does not allow
            except (PairingError, ValueError) as error:
                raise UsageError(f"{key}: solver {entry.name}: {error}") from None
            if entry.name == "sequential" and system.num_equations > NAIVE_LIMIT:
                reason = f"its work grows with the square of T, which is {system.num_equations} and over {NAIVE_LIMIT}"
                self.skipped.append({"list": key, "label": label, "reason": reason})
            else:
                result[label] = entry
        if not result:
            raise UsageError(
                f"{key}: nothing is left to run: naive sequential is left out where T is over {NAIVE_LIMIT}"
            )
        return result

    def _model(self, repeat: int) -> RNNNetwork:
        """The first weights of a repeat."""
        architecture = self.config.architecture(self.watched.shape[-1])
        return RNN(architecture, rngs=nnx.Rngs(self._seed(repeat))).fold()

    def _system(self, model: RNNNetwork) -> Any:
        return jax.jit(backward_pass)(model, self.watched).system

    def _seed(self, repeat: int) -> int:
        return (self.config.seed + repeat) % 2**32

    def _tasks(self) -> Iterator[Task]:
        """First weights and training images of every repeat."""
        images = self.dataset.train
        for repeat in range(self.config.repeats):
            order = np.asarray(jax.random.permutation(jax.random.key(self._seed(repeat)), len(images)))
            chosen = images[order[np.arange(self.config.train_steps) % len(images)]]
            yield Task(self._model(repeat), _one_by_one(pixel_sequences(chosen, self.config.image_size)))

    def _follow(self, when: str, model: RNNNetwork, tracers: dict[str, ErrorTracer]) -> Phase:
        """Every solver on the gradients of the watched sequences: times, and the errors by step.

        Raises RunFailure where a gradient is not finite.
        """
        self.context.console.print(f"gradients {when}")
        system = self._system(model)
        comparison = compare_solvers(
            system,
            self.solvers,
            repeats=self.config.timed_runs,
            time_limit_s=self.config.time_limit_s,
            trace=False,
            console=self.context.console,
        )
        broken = next((row for row in comparison.rows if row.status is Status.NONFINITE), None)
        if broken is not None:
            raise RunFailure(f"{broken.label}, {when}: {broken.status.sentence}")
        done = [row.label for row in comparison.rows if row.status is not Status.TIME_LIMIT_REACHED]
        errors = {label: tracers[label].errors(system, comparison.reference) for label in done if label in tracers}
        return Phase(when, comparison, errors)

    def _train(self, first: Task) -> list[SolverTraining]:
        config = self.config
        steps = f"{config.repeats} x {config.train_steps} steps"
        self.context.console.print(f"training, {steps} with each of {len(self.methods)} methods", highlight=False)
        with _bar(self.context) as bar:
            compiling = bar.add_task("compiling", total=len(self.methods))
            methods = []
            for label, entry in self.methods.items():
                methods.append(Method(label, entry, config.learning_rate, first))
                bar.advance(compiling)
            training = bar.add_task("training", total=len(methods) * config.repeats)
            return train_all(methods, self._tasks(), lambda: bar.advance(training))


def _one_by_one(sequences: Float32[np.ndarray, "T N I"]) -> Float32[np.ndarray, "N T 1 I"]:
    return np.ascontiguousarray(np.moveaxis(sequences, 1, 0)[:, :, None])


def _reference(trainings: list[SolverTraining]) -> SolverTraining:
    """What the others are compared with: a sequential method, cached if there is one, else the first."""
    by_name = {training.entry.name: training for training in reversed(trainings)}
    return by_name.get("cached_sequential") or by_name.get("sequential") or trainings[0]


def _check(report: Report) -> None:
    """Raise RunFailure where a gradient that converged contradicts the reference."""
    for phase in report.phases.values():
        for row in phase.comparison.rows:
            wrong = phase.relative_error(row) > DISAGREES and row.entry.solver.tol <= DISAGREES
            if row.status is Status.CONVERGED and wrong:
                raise RunFailure(
                    f"{row.label}, {phase.when}: the solver converged, but its gradient is off by "
                    f"{phase.relative_error(row):.1e} of the reference's largest value"
                )
    for training in report.trainings:
        exact = training.converged[0][0] and training.entry.solver.tol <= DISAGREES
        if exact and training.gradient_deviation > DISAGREES:
            raise RunFailure(
                f"{training.label}: the backward pass converged, but the gradient differs from jax.grad's by "
                f"{training.gradient_deviation:.1e} of its largest value"
            )


def _bar(context: RunContext) -> Progress:
    return Progress(
        TextColumn("{task.description:<12}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=context.console,
        transient=True,
        disable=not context.console.is_terminal,
    )

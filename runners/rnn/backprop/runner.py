"""Backpropagation through an RNN by parallel solvers: the gradient's error by step, and training with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from data import load_dataset
from data.images.sequences import pixel_sequences
from models.rnn.model import RNN
from models.rnn.network import RNNNetwork
from runners.config.schema import RunConfig, UsageError
from runners.config.solvers import SolverEntry, fit_entries, labels
from runners.experiment import RunContext, RunFailure
from runners.measure.choosing import decided
from runners.measure.comparison import Skipped, compare_solvers, split_entries, too_long
from runners.measure.devices import Devices
from runners.measure.interrupt import KeepingDone
from runners.report.console import counting_bar
from runners.report.report import Report
from runners.rnn.backprop.config import BackpropConfig
from runners.rnn.backprop.gradients import backward_pass, gradient_errors
from runners.rnn.backprop.report import backprop_report
from runners.rnn.backprop.summary import Phase, TrainingTable
from runners.rnn.backprop.training import Method, SolverTraining, Task, train_all
from solvers import Status

_WHEN = {"start": "before training", "end": "after training"}  # the gradients are followed


class BackpropRunner:
    """The backward pass of an RNN as a linear system, solved by any list of solvers before, in and after training.

    The experiment of Song et al., "Accelerating Feedforward Computation via Parallel Nonlinear Equation Solving", ICML
    2021.
    """

    Config: ClassVar[type[RunConfig]] = BackpropConfig

    def __init__(self, config: BackpropConfig, context: RunContext) -> None:
        """Load the images and state the first system; everything that can be refused is refused here."""
        self.config, self.context = config, context
        self.dataset = load_dataset(**config.data.model_dump())
        if config.num_sequences > len(self.dataset.held_out):
            raise UsageError(
                f"num_sequences {config.num_sequences} is more than the {len(self.dataset.held_out)} held-out images "
                f"of {self.dataset.name}"
            )
        self.watched = jnp.asarray(pixel_sequences(self.dataset.held_out[: config.num_sequences], config.image_size))
        self.architecture = config.architecture(self.watched.shape[-1])
        self.skipped: dict[str, list[Skipped]] = {}
        self.devices = Devices.for_batch(config.mesh, config.num_sequences, config.num_equations, {})
        system = self._system(self._model(0))
        fitted = {
            "solvers": fit_entries(config.solvers, system, "solvers: "),
            "methods": fit_entries(config.methods, system, "methods: "),
        }
        self.config = config.model_copy(update=fitted)
        self.solvers, self.methods = (self._runnable(key, fitted[key], system) for key in fitted)

    def run(self) -> Report:
        """Follow the gradient, train, follow it again; RunFailure where a gradient or a loss is not finite.

        After Ctrl-C the report has what was done before.
        """
        first = next(self._tasks())
        phases: dict[str, Phase] = {}
        trainings: list[SolverTraining] = []
        with KeepingDone(phases) as run:
            self._follow("start", first.model, phases)
            self._train(first, trainings)
            self._follow("end", TrainingTable(trainings, self.config.smoothing).reference.models[0], phases)
        table = TrainingTable([each for each in trainings if each.losses], self.config.smoothing)
        report = backprop_report(self.context.name, self.config, self.architecture, phases, table, self.skipped)
        return dataclasses.replace(run.told(report), mesh=self.devices.record)

    def _runnable(self, key: str, entries: list[SolverEntry], system: Any) -> dict[str, SolverEntry]:
        """The entries by label, without those that would take too long. Raises UsageError where none is left."""
        by_label = dict(zip(labels(entries), entries, strict=True))
        skip = partial(too_long, max_length=self.config.sequential_max_length)
        runnable, self.skipped[key] = split_entries(system, by_label, skip)
        if not runnable:
            raise UsageError(f"{key}: nothing is left to run: {self.skipped[key][0].sentence}")
        return runnable

    def _model(self, number: int) -> RNNNetwork:
        """The first weights of a training."""
        return RNN(self.architecture, rngs=nnx.Rngs(self._seed(number))).fold()

    def _system(self, model: RNNNetwork) -> Any:
        return self.devices.divide(jax.jit(backward_pass)(model, self.watched).system)

    def _seed(self, number: int) -> int:
        return (self.config.seed + number) % 2**32

    def _tasks(self) -> Iterator[Task]:
        """First weights and training images of every training."""
        images = self.dataset.train
        for number in range(self.config.trainings):
            order = np.asarray(jax.random.permutation(jax.random.key(self._seed(number)), len(images)))
            chosen = images[order[np.arange(self.config.train_steps) % len(images)]]
            sequences = np.moveaxis(pixel_sequences(chosen, self.config.image_size), 1, 0)[:, :, None]
            yield Task(self._model(number), np.ascontiguousarray(sequences))

    def _follow(self, part: str, model: RNNNetwork, phases: dict[str, Phase]) -> None:
        """Add every solver on the gradients of the watched sequences to the phases: times, and the errors by step.

        Raises RunFailure where a gradient is not finite.
        """
        config, console, system = self.config, self.context.console, self._system(model)
        when = _WHEN[part]
        console.print(f"gradients {when}")
        comparison = compare_solvers(
            system, self.solvers, repeats=config.repeats, time_limit_s=config.time_limit_s, trace=False, console=console
        )
        broken = next((row for row in comparison.rows if row.status is Status.NONFINITE), None)
        if broken is not None:
            raise RunFailure(f"{broken.label}, {when}: {broken.status.sentence}")
        errors = {
            row.label: gradient_errors(row.entry, system, comparison.reference)
            for row in comparison.rows
            if row.status is not Status.TIME_LIMIT_REACHED and row.entry.trace is not False
        }
        phases[part] = Phase(when, comparison, errors)
        if comparison.interrupted:
            raise KeyboardInterrupt

    def _train(self, first: Task, trainings: list[SolverTraining]) -> None:
        """Train with every method, adding to ``trainings``."""
        config, console = self.config, self.context.console
        steps = f"{config.trainings} x {config.train_steps} steps"
        console.print(f"training, {steps} with each of {len(self.methods)} methods", highlight=False)
        methods, system = [], jax.jit(backward_pass)(first.model, first.sequences[0]).system
        entries = decided(self.methods, system, console)
        with counting_bar(console, "compiling", len(entries)) as bar:
            for label, entry in entries.items():
                methods.append(Method(label, entry, config.learning_rate, first))
                bar.advance(bar.task_ids[0])
        trainings += [method.measure() for method in methods]
        with counting_bar(console, "training", len(methods) * config.trainings) as bar:
            train_all(methods, trainings, self._tasks(), lambda: bar.advance(bar.task_ids[0]))

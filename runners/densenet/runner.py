"""DenseNet's layers as equations: the answers of the network after each sweep, and the time that they take."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from data.images.pictures import load_pictures
from models.densenet.network import DenseNetNetwork
from models.densenet.systems import BlockInput, DenseNetSystem
from runners.config.models import resolved
from runners.config.schema import RunConfig
from runners.config.solvers import fit_entries, labels
from runners.densenet.answers import Followed, follow_answers
from runners.densenet.config import DenseNetRunnerConfig, load_classifier
from runners.densenet.findings import Measured, find
from runners.densenet.layers import time_layers
from runners.densenet.report import densenet_report
from runners.experiment import RunContext
from runners.measure.comparison import Comparison, compare_solvers
from runners.measure.devices import Devices
from runners.measure.interrupt import KeepingDone
from runners.measure.processes import gathered
from runners.measure.timing import time_calls
from runners.report.report import Report
from solvers import Status


class DenseNetRunner:
    """All dense layers of a network updated at once, or block after block, by any list of solvers, on many images.

    The experiment of Song et al., "Accelerating Feedforward Computation via Parallel Nonlinear Equation Solving", ICML
    2021, with sweeps that are parallel programs, whose times are measured; the published model of the time stands
    beside them.
    """

    Config: ClassVar[type[RunConfig]] = DenseNetRunnerConfig

    def __init__(self, config: DenseNetRunnerConfig, context: RunContext) -> None:
        """Load network and images and state the equations; everything that can be refused is refused here."""
        self.context = context
        self.classifier = load_classifier(config)
        self.model = self.classifier.checkpoint.model
        self.pictures = load_pictures(shape=self.model.image_shape, count=config.num_images, **config.data.model_dump())
        network: DenseNetNetwork = self.model.fold()
        inputs = self.model.from_images(jnp.asarray(self.pictures.images))
        batches = _batches(np.asarray(inputs), config.batch_size)
        self._begin = jax.jit(_begin)
        system = DenseNetSystem(network, self._begin(network, batches[0]))
        self.devices = Devices.for_system(config.mesh, system)
        self.network, self.batches = self.devices.whole(network), [self.devices.samples(batch) for batch in batches]
        entries = fit_entries(config.solvers, system)
        self.config = config.model_copy(update={"solvers": entries})
        self.entries = dict(zip(labels(entries), entries, strict=True))

    def run(self) -> Report:
        """Measure, and follow every solver on all images; the report fails where one gives another answer or none.

        After Ctrl-C it has the solvers that were done.
        """
        config = self.config
        self.context.say(f"{self.classifier.description}; {self.pictures.source}")
        first, system = self.batches[0], self._system(self.batches[0])
        call, readout = jax.jit(lambda network, x: network(x)), jax.jit(lambda system, x: system.readout(x))
        exact = np.concatenate([gathered(call(self.network, batch)) for batch in self.batches])[: config.num_images]
        sequential_s = time_calls(lambda: call(self.network, first), config.repeats)
        # Times do not depend on values; after the comparison, Ctrl-C in here would lose its rows.
        self.context.say("timing every layer by itself ...")
        guess = system.initial_guess()
        path = time_layers(self.model, system, guess, config.repeats)
        readout_s = time_calls(lambda: readout(system, guess), config.repeats)
        comparison = self._compare(system)
        followed: dict[str, Followed] = {}
        with KeepingDone(comparison.rows) as run:
            if comparison.interrupted:
                raise KeyboardInterrupt
            self._follow(comparison, followed)
        measured = Measured(
            comparison=comparison,
            exact=exact,
            followed=followed,
            path=path,
            sequential_s=sequential_s,
            readout_s=readout_s,
        )
        findings = find(measured, self.classifier, self.pictures, config.early_exit.k)
        report = densenet_report(self.context.name, resolved(config, self.classifier.checkpoint), findings)
        return dataclasses.replace(run.told(report), mesh=self.devices.record)

    def _compare(self, system: DenseNetSystem) -> Comparison:
        """The standard comparison, on the first batch."""
        return compare_solvers(
            system,
            self.entries,
            repeats=self.config.repeats,
            time_limit_s=self.config.time_limit_s,
            trace=True,
            console=self.context.console,
        )

    def _follow(self, comparison: Comparison, followed: dict[str, Followed]) -> None:
        """Add every solver whose way is followed, on all images; not one that ran into its time limit."""
        for row in comparison.rows:
            if row.entry.trace is False or row.status is Status.TIME_LIMIT_REACHED:
                continue
            self.context.say(f"following {row.label} on {self.config.num_images} images ...")
            systems = (self._system(batch) for batch in self.batches)
            followed[row.label] = follow_answers(row.entry, systems, self.config.num_images)

    def _system(self, batch: Float[Array, "B H W C"] | Float[np.ndarray, "B H W C"]) -> DenseNetSystem:
        return self.devices.divide(DenseNetSystem(self.network, self._begin(self.network, batch)))


def _begin(network: DenseNetNetwork, images: Float[Array, "B H W C"]) -> BlockInput:
    """The images' part of a system: apart from the network, which would be copied for every batch."""
    return DenseNetSystem.of(network, images).first


def _batches(inputs: Float[np.ndarray, "N H W C"], size: int) -> list[Float[np.ndarray, "B H W C"]]:
    """The images by batches; the last is filled up with the last image."""
    size = min(size, len(inputs))
    starts = range(0, len(inputs), size)
    return [inputs[np.minimum(np.arange(start, start + size), len(inputs) - 1)] for start in starts]

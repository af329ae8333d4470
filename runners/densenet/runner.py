"""DenseNet's layers as equations: what the network would answer after each sweep, and what that takes."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from data.images.pictures import load_pictures
from models.densenet.network import DenseNetNetwork
from models.densenet.systems import BlockInput, DenseNetSystem
from runners.config.schema import RunConfig, UsageError
from runners.config.solvers import labels
from runners.densenet.config import DenseNetRunnerConfig
from runners.densenet.findings import Findings
from runners.densenet.follow import Followed, follow_answers
from runners.densenet.layers import CriticalPath, time_layers
from runners.densenet.report import print_densenet_report, write_densenet_report
from runners.densenet.weights import describe_weights, load_classifier
from runners.experiment import RunContext, RunFailure
from runners.measure.comparison import Comparison, compare_solvers
from runners.measure.job import MISMATCH
from runners.measure.timing import time_calls
from solvers import PairingError, Status, check_pairing


class DenseNetRunner:
    """All dense layers of a network updated at once, or block after block, by any list of solvers, on many images.

    The experiment of Song et al., "Accelerating Feedforward Computation via Parallel Nonlinear Equation Solving", ICML
    2021, with sweeps that are parallel programs, whose times are measured; the published model of the time stands
    beside them.
    """

    Config: ClassVar[type[RunConfig]] = DenseNetRunnerConfig

    def __init__(self, config: DenseNetRunnerConfig, context: RunContext) -> None:
        """Load network and images and state the equations; everything that can be refused is refused here."""
        self.config, self.context = config, context
        self.checkpoint = load_classifier(config)
        model = self.checkpoint.model
        self.pictures = load_pictures(config.data, model.image_shape, config.num_images)
        self.network: DenseNetNetwork = model.fold()
        self.inputs = model.from_images(jnp.asarray(self.pictures.images))
        self.entries = dict(zip(labels(config.solvers), config.solvers, strict=True))
        self._begin = jax.jit(_begin)
        system = self._system(self._batches()[0])
        for entry in config.solvers:
            try:
                check_pairing(system, entry.solver)
                entry.solver.max_steps(system)
                jax.eval_shape(entry.solver.init, system, system.initial_guess())  # pairs a solver with segments
            except (PairingError, ValueError) as error:
                raise UsageError(f"solver {entry.name}: {error}") from None

    def run(self) -> None:
        """Measure, follow every solver on all images, write the results and print them. Raises RunFailure."""
        first = self._batches()[0]
        self._say(f"{describe_weights(self.config, self.checkpoint)}; {self.pictures.source}")
        comparison = self._compare(self._system(first))
        call, readout = jax.jit(lambda network, x: network(x)), jax.jit(lambda system, x: system.readout(x))
        exact = np.concatenate([call(self.network, batch) for batch in self._batches()])[: self.config.num_images]
        findings = Findings(
            config=self.config,
            checkpoint=self.checkpoint,
            pictures=self.pictures,
            comparison=comparison,
            exact=exact,
            followed=self._follow(comparison),
            path=self._time_layers(comparison.reference),
            sequential_s=time_calls(lambda: call(self.network, first), self.config.repeats),
            readout_s=time_calls(lambda: readout(self._system(first), comparison.reference), self.config.repeats),
        )
        write_densenet_report(self.context, findings)
        print_densenet_report(self.context, findings)
        _check(findings)

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

    def _follow(self, comparison: Comparison) -> dict[str, Followed]:
        """Every solver whose way is followed, on all images; not one that ran into its time limit."""
        late = {row.label for row in comparison.rows if row.status is Status.TIME_LIMIT_REACHED}
        followed = {}
        for label, entry in self.entries.items():
            if entry.trace is False or label in late:
                continue
            self._say(f"following {label} on {self.config.num_images} images ...")
            systems = (self._system(batch) for batch in self._batches())
            followed[label] = follow_answers(entry, systems, self.config.num_images)
        return followed

    def _time_layers(self, solution: Any) -> CriticalPath:
        self._say("timing every layer by itself ...")
        system = self._system(self._batches()[0])
        return time_layers(self.checkpoint.model, system, solution, self.config.repeats)

    def _batches(self) -> list[Float[np.ndarray, "B H W C"]]:
        """The images by batches; the last is filled up with the last image."""
        inputs, size = np.asarray(self.inputs), min(self.config.batch_size, len(self.inputs))
        starts = range(0, len(inputs), size)
        return [inputs[np.minimum(np.arange(start, start + size), len(inputs) - 1)] for start in starts]

    def _system(self, batch: Float[np.ndarray, "B H W C"]) -> DenseNetSystem:
        return DenseNetSystem(self.network, self._begin(self.network, batch))

    def _say(self, message: str) -> None:
        self.context.console.print(message, highlight=False, soft_wrap=True)


def _begin(network: DenseNetNetwork, images: Float[Array, "B H W C"]) -> BlockInput:
    """What is bound of images: apart from the network, which would be copied for every batch."""
    return DenseNetSystem.of(network, images).first


def _check(findings: Findings) -> None:
    """Raise RunFailure where a solver did not converge, or converged to another answer."""
    for row in findings.comparison.rows:
        if row.status is not Status.CONVERGED:
            raise RunFailure(f"{row.label}: {row.status.sentence}")
        followed = findings.followed.get(row.label)
        if followed is None:
            continue
        if followed.outcome is not Status.CONVERGED:
            raise RunFailure(f"{row.label}, on all images: {followed.outcome.sentence}")
        error, scale = findings.final_error(row.label), max(1.0, float(np.max(np.abs(findings.exact))))
        if not error <= MISMATCH * scale and row.entry.solver.tol <= MISMATCH:
            raise RunFailure(
                f"{row.label}: the solver converged, but its logits are {error:.1e} off the sequential pass's; the "
                "network's equations do not agree with its pass (see check_system)"
            )

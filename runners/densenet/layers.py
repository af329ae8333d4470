"""Every dense layer timed by itself, and the published model of a parallel time made from that: no measurement."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from models.densenet.batch_norm import Seen
from models.densenet.block import side_by_side
from models.densenet.model import DenseNet
from models.densenet.systems import DenseNetSystem
from runners.config.solvers import SolverEntry
from runners.measure.processes import agreed, gathered
from runners.measure.timing import Times, time_call

_REPEATS, _TIME_S = 20, 30.0
SEQUENTIAL = ("sequential", "cached_sequential")  # solvers that take one layer after the other


@dataclass(frozen=True)
class CriticalPath:
    """The model of Song et al. (ICML 2021): a parallel step takes as long as the slowest layer takes by itself.

    It supposes a device on which all layers run at once and nothing else takes time: transitions and the test of
    convergence cost nothing. Layers one after the other take the sum of their times.
    """

    layers: list[Times]  # each measured by itself, on all the features that it reads

    @property
    def slowest_s(self) -> float:
        """The time of the slowest layer."""
        return max(layer.median for layer in self.layers)

    @property
    def sequential_s(self) -> float:
        """The modelled time of a sequential pass: the sum over all layers."""
        return sum(layer.median for layer in self.layers)

    def modelled_s(self, entry: SolverEntry, num_steps: Int[np.ndarray, " S"]) -> Float[np.ndarray, " S"]:
        """The modelled time after so many sequential steps of a solver."""
        if entry.inner_name in SEQUENTIAL:
            sums = np.cumsum([0.0, *(layer.median for layer in self.layers)])
            return sums[np.minimum(num_steps, len(self.layers))]
        return num_steps * self.slowest_s


def time_layers(model: DenseNet, system: DenseNetSystem, x: Any, repeats: int) -> CriticalPath:
    """Time every dense layer of the model by itself on the features that it reads in the state ``x``.

    In turn over the layers, so that a slow moment of the machine is not one layer's; ``repeats`` times, but at least 20
    times, as the largest of noisy medians is too large, or as often as fits into half a minute, and once at the least.
    """
    on_device = [(layer, jax.device_put(features)) for layer, features in _layers(model, system, x)]
    calls = [partial(_evaluate.lower(*read).compile(), *read) for read in on_device]
    for call in calls:
        jax.block_until_ready(call())
    seconds: list[list[float]] = []
    begin = time.perf_counter()
    while not seconds or (len(seconds) < max(repeats, _REPEATS) and agreed(time.perf_counter() - begin) < _TIME_S):
        seconds.append([time_call(call) for call in calls])
    return CriticalPath([Times.of(of_layer) for of_layer in zip(*seconds, strict=True)])


def _layers(model: DenseNet, system: DenseNetSystem, x: Any) -> Iterator[tuple[Any, Float[np.ndarray, "B H W C"]]]:
    """Each layer, and what it reads."""
    inputs, following = system.first_inputs(), jax.jit(system.next_inputs, static_argnums=0)
    for index, (layers, values) in enumerate(zip(model.blocks, x, strict=True)):
        if index:
            inputs = following(index - 1, inputs, x[index - 1])
        before, after = (np.asarray(a) for a in gathered((inputs.features, side_by_side(values))))
        features = np.concatenate([before, after], axis=-1)
        for i, layer in enumerate(layers):
            yield layer, features[..., : before.shape[-1] + i * model.config.growth_rate]


@jax.jit
def _evaluate(layer: Any, features: Float[Array, "B H W C"]) -> Float[Array, "B H W G"]:
    """One layer, by its running statistics."""
    values: Float[Array, "B H W G"] = layer(Seen.of(features, training=False))
    return values

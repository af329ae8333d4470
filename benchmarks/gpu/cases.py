"""What is counted: five systems that papers or limits are about, with random weights, and the shipped configs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from benchmarks.gpu import shipped
from benchmarks.gpu.rows import Row, steps_taken
from benchmarks.gpu.shipped import Compared
from models.densenet.model import DenseNet, DenseNetConfig
from models.densenet.systems import DenseNetSystem
from models.made.model import MADE, MADEConfig
from models.pixelcnnpp.model import PixelCNNPP, PixelCNNPPConfig
from models.rnn.model import RNN, RNNConfig
from models.rnn.systems import ForwardRNN
from models.wavenet.model import WaveNet, WaveNetConfig
from solvers import ELK, CachedSequential, Jacobi, Newton, QuasiELK, QuasiNewton, Solver
from solvers.systems.autoregressive import AutoregressiveSystem


@dataclass(frozen=True)
class Case:
    """A system in the size of shipped configs, whose solvers it has, or with solvers of its own."""

    make: Callable[[], Any]
    configs: tuple[str, ...] = ()  # whose results say how many steps the solvers took on trained weights
    own: Mapping[str, Solver] = field(default_factory=dict)
    published_s: Mapping[str, float] = field(default_factory=dict)  # a whole solve on a GPU that is not named

    @property
    def solvers(self) -> dict[str, Solver]:
        """The solvers of the configs and the case's own, by the labels that the results have."""
        shared = {label: entry.solver for name in self.configs for label, entry in shipped.solvers_of(name).items()}
        return shared | dict(self.own)


def made() -> AutoregressiveSystem:
    """MADE on 28x28 pixels, 100 samples."""
    model = MADE(MADEConfig(784, (512, 512)), rngs=nnx.Rngs(0))
    return AutoregressiveSystem(model.fold(), model.head, model.draw_noise(jax.random.key(0), 100))


def pixelcnnpp() -> AutoregressiveSystem:
    """PixelCNN++ on 28x28 pixels, 5 blocks a stage, 40 filters, 16 samples."""
    model = PixelCNNPP(PixelCNNPPConfig(), rngs=nnx.Rngs(0))
    return AutoregressiveSystem(model.fold(), model.head, model.draw_noise(jax.random.key(0), 16))


def wavenet() -> AutoregressiveSystem:
    """WaveNet of 2 x 14 layers, 2,000 sound samples of one sound."""
    model = WaveNet(WaveNetConfig(dilations=tuple(2**i for i in range(14)) * 2), rngs=nnx.Rngs(0))
    return AutoregressiveSystem(model.fold(2000), model.head, model.draw_noise(jax.random.key(0), 2000, 1))


def densenet201() -> DenseNetSystem:
    """DenseNet-201 on one photograph."""
    network = DenseNet(DenseNetConfig(block_layers=(6, 12, 48, 32)), rngs=nnx.Rngs(0)).fold()
    return DenseNetSystem.of(network, jnp.zeros((1, *network.image_shape)))


def gru() -> ForwardRNN:
    """A GRU of eight units, 10,000 steps of 16 sequences."""
    cell = RNN(RNNConfig("gru", 2, 8), rngs=nnx.Rngs(0)).fold().cell
    return ForwardRNN.of(cell, jax.random.normal(jax.random.key(0), (10_000, 16, 2)))


# Published: Song et al. (ICML 2021), tables of seconds a batch; Paine et al. (arXiv 1611.09482), read off a figure.
CASES = {
    "made": Case(made, ("made_sampler",), published_s={"sequential": 0.343, "jacobi": 0.0126}),
    "pixelcnnpp": Case(
        pixelcnnpp,
        (
            "gs_jacobi_pixelcnnpp_sampler",
            "jacobi_gs_pixelcnnpp_sampler",
            "pixelcnnpp_sampler",
            "cached_pixelcnnpp_sampler",
        ),
        published_s={
            "cached_sequential": 8.23,
            "jacobi": 1.94,
            "sliding_gs_jacobi(block_size=420)": 1.86,
            "jacobi_gs": 5.95,
        },
    ),
    "wavenet": Case(
        wavenet,
        ("wavenet_sampler",),
        published_s={"cached_sequential": 2000 * 7.5e-3, "sequential": 2000 * 85e-3},
    ),
    "densenet201": Case(densenet201, ("densenet201",)),
    "gru": Case(
        gru,
        own={
            "cached_sequential": CachedSequential(),
            "jacobi": Jacobi(),
            "newton": Newton(),
            "quasi_newton": QuasiNewton(),
            "elk": ELK(),
            "quasi_elk": QuasiELK(),
        },
    ),
}


def names() -> list[str]:
    """The cases, and the shipped configs that no case stands for."""
    covered = {name for case in CASES.values() for name in case.configs}
    return [*CASES, *(name for name in shipped.names() if name not in covered)]


def names_to_measure() -> list[str]:
    """The cases, and the shipped configs: trained weights take other steps than the random ones of a case.

    Of one name are the case and the config of DenseNet-201, which are the same: its weights are random either way.
    """
    return list(dict.fromkeys([*CASES, *shipped.names()]))


def case_of(name: str) -> str:
    """The case that has the shapes and the solvers of a config; the name itself where there is none."""
    return next((case for case in CASES if name in CASES[case].configs), name)


def not_counted(rows: Iterable[Row]) -> list[str]:
    """The cases and the configs of which there is no row."""
    counted = {row["system"].split(" (")[0] for row in rows}
    return [name for name in names() if name not in counted]


def compared(name: str) -> Iterator[Compared]:
    """The systems of a case or of a shipped config, and their solvers."""
    if name in CASES:
        system = CASES[name].make()
        yield Compared("", system, {label: each.resolved(system) for label, each in CASES[name].solvers.items()})
    else:
        yield from shipped.compared(name)


def config_with(name: str, label: str) -> str | None:
    """The config whose results have a row of a solver on a system; None where several systems share a config."""
    configs = CASES[name].configs if name in CASES else (name,)
    return next((config for config in configs if label in steps_taken(config)), None)

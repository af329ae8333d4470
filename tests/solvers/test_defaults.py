"""Bare names work everywhere: every solver with its default options, on every model's system that it fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models import SYSTEMS
from models.densenet.model import DenseNet, DenseNetConfig
from models.densenet.systems import DenseBlockSystem, DenseNetSystem
from models.diffusion.model import DiffusionOptions
from models.mcmc.problems import ChainProblem
from models.ode.problems import ContractionProblem, PermutationProblem, ResidualProblem
from models.rnn.gradients import backward_system
from models.rnn.model import RNN, RNNConfig
from models.rnn.systems import ForwardRNN
from solvers import (
    SOLVERS,
    BlockSolver,
    CachedSequential,
    GSJacobi,
    Jacobi,
    JacobiGS,
    Newton,
    Picard,
    Segmented,
    Sequential,
    SizedBlockSystem,
    SlidingGSJacobi,
    Solver,
    Status,
    Windowed,
    fits,
    solve,
    solver_name,
)
from solvers.blocks import default_block_size
from solvers.trees.pytree import pytree
from tests.kit.bank import (
    Chain,
    chain,
    contractive_link,
    linear_link,
    tiny_diffusion,
    tiny_flow,
    tiny_language,
    tiny_made,
    tiny_pixelcnnpp,
    tiny_wavenet,
)


def densenet() -> DenseNetSystem:
    config = DenseNetConfig(3, (2, 4), 6, 4, (8, 8, 1), bn_size=2, stem="small", pixel_mean=(0.4,), pixel_std=(0.2,))
    images = np.random.default_rng(0).normal(size=(2, *config.image_shape)).astype(np.float32)
    return DenseNetSystem.of(DenseNet(config, rngs=nnx.Rngs(0)).fold(), jnp.asarray(images))


def densenet_block() -> DenseBlockSystem:
    whole = densenet()
    inputs = whole.next_inputs(0, whole.first_inputs(), jnp.ones_like(whole.initial_guess()[0]))
    return whole.segment(1, inputs)


def rnn() -> tuple[Any, jax.Array]:
    inputs = jax.random.normal(jax.random.key(1), (14, 2, 2))
    return RNN(RNNConfig("gru", 2, 3, 2), rngs=nnx.Rngs(0)).fold(), inputs


def rnn_forward() -> ForwardRNN:
    model, inputs = rnn()
    return ForwardRNN.of(model.cell, inputs)


def rnn_backward() -> Any:
    model, inputs = rnn()
    return backward_system(model, inputs, model.states(inputs), inputs)


def rnn_of(name: str) -> ForwardRNN:
    cell = RNN(RNNConfig(name, 2, 2, 2), rngs=nnx.Rngs(0)).fold().cell
    return ForwardRNN.of(cell, jax.random.normal(jax.random.key(1), (14, 2, 2)))


def diffusion(method: Any) -> Any:
    options = DiffusionOptions(method, 10, guidance=1.5, classes=(0, 2))
    return tiny_diffusion(0).equations(jax.random.key(0), 2, options)


# A small system of every model. A new model adds itself here.
SHIPPED: dict[str, Callable[[], Any]] = {
    "made": lambda: tiny_made(20, 2, 0),
    "pixelcnnpp": lambda: tiny_pixelcnnpp((4, 4, 1), 2, 0),
    "wavenet": lambda: tiny_wavenet(17, 2, 0),
    "densenet": densenet,
    "densenet block": densenet_block,
    "rnn": rnn_forward,
    "rnn backward": rnn_backward,
    "rnn unitwise": lambda: rnn_of("para_lstm"),
    "rnn affine": lambda: rnn_of("lru"),
    "ode": lambda: ContractionProblem(num_steps=14, batch_size=2, features=3).system(0),
    "residual network": lambda: ResidualProblem(14, 2, 3, 4).system(0),
    "permutations": lambda: PermutationProblem(14, 2, 3).system(0),
    "language": lambda: tiny_language(14, 2, 0),
    "flow": lambda: tiny_flow(0).equations(jax.random.key(0), 2),
    "diffusion": lambda: diffusion("ddpm"),
    "diffusion of order two": lambda: diffusion("dpm_solver"),
    "mcmc": lambda: ChainProblem(14, 2, {"name": "two_wells"}, {"name": "mala"}).system(0),
}


# Samples of these are class ids, which have no derivatives.
_IDS = "no floating-point values, so the system has no derivatives; use jacobi"
REFUSED = {("dense_newton", name): _IDS for name in ("wavenet", "language")}


def pairs() -> list[tuple[str, str]]:
    """Every solver but the reference, with every model whose system's class has what the solver needs."""
    return [
        (name, model)
        for model, system in SYSTEMS.items()
        for name, kind in SOLVERS.items()
        if name != "sequential" and fits(kind, system) and (name, model) not in REFUSED
    ]


# They compile long; on pixelcnnpp they have more tests, and with default options they run on every other model.
SLOW = {("dense_newton", "pixelcnnpp"), ("cached_sequential", "pixelcnnpp"), ("anderson", "pixelcnnpp")}
# Systems of one kind with "rnn": of these the solvers that differ on them, and the others when there is time.
ALIKE = ("rnn unitwise", "rnn affine", "ode", "residual network", "permutations", "mcmc")
TELLING = ("jacobi", "newton", "picard", "parallel_scan")
SLOW |= {(name, model) for model in ALIKE for name in SOLVERS if name not in TELLING}


@cache
def solved(model: str) -> tuple[Any, Any]:
    """A model's system and its sequential solution."""
    system = SHIPPED[model]()
    return system, solve(system, Sequential()).value


def test_every_model_is_here() -> None:
    assert set(SHIPPED) == set(SYSTEMS)


@pytest.mark.parametrize(
    ("name", "model"),
    [pytest.param(*pair, marks=[pytest.mark.slow] if pair in SLOW else []) for pair in pairs()],
)
def test_a_solver_with_default_options_gives_the_sequential_answer(name: str, model: str) -> None:
    system, reference = solved(model)
    solver = SOLVERS[name]()
    solution = solve(system, solver)
    assert solution.outcome is Status.CONVERGED
    assert int(solution.stats.num_iterations) <= solver.max_steps(system)
    for found, expected in zip(jax.tree.leaves(solution.value), jax.tree.leaves(reference), strict=True):
        scale = 1.0 + float(jnp.max(jnp.abs(expected)))
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * scale)


@pytest.mark.parametrize(("name", "model"), REFUSED)
def test_what_cannot_be_solved_is_refused_with_a_sentence(name: str, model: str) -> None:
    with pytest.raises(ValueError, match=REFUSED[name, model]):
        solve(SHIPPED[model](), SOLVERS[name]())


# Blocks.


def rows(num_equations: int, unit: int) -> Any:
    """A chain whose blocks are of whole rows."""

    class Rows(Chain):
        block_unit = unit

    system = chain(linear_link, num_equations, 1, 0)
    return pytree(dataclass(frozen=True)(Rows))(system.link, system.inputs, system.guess)


@pytest.mark.parametrize(
    ("num_equations", "unit", "size"),
    [
        (784, 1, 28),  # MADE on MNIST: a row
        (784, 28, 28),  # PixelCNN++ on MNIST: a row
        (3072, 32, 64),  # two rows are nearer to sqrt(T) than one
        (2000, 1, 40),  # WaveNet: 45 does not divide T
        (10_000, 1, 100),
        (48, 1, 6),  # a dense block: 7 does not divide T
        (23, 1, 5),  # a prime: nothing near divides it
        (6, 4, 4),
        (3, 4, 4),  # longer than the system
        (1, 1, 1),
        (0, 1, 1),
    ],
)
def test_a_default_block_is_about_the_root_of_t(num_equations: int, unit: int, size: int) -> None:
    system = rows(num_equations, unit)
    assert default_block_size(system) == size
    for solver in (GSJacobi(), JacobiGS(), SlidingGSJacobi()):
        assert solver.block_length(system) == size
        assert solver.resolved(system) == replace(solver, block_size=size)


@pytree
@dataclass(frozen=True)
class Sized(Chain):
    """A chain that says how long its blocks should be."""

    @property
    def default_block_size(self) -> int:
        return 5


@pytest.mark.parametrize("kind", [GSJacobi, JacobiGS, SlidingGSJacobi])
def test_a_system_may_say_how_long_blocks_should_be(kind: type[BlockSolver]) -> None:
    plain = chain(contractive_link, 12, 2, 0)
    system = Sized(plain.link, plain.inputs, plain.guess)
    assert isinstance(system, SizedBlockSystem)
    assert not isinstance(plain, SizedBlockSystem)
    assert kind().resolved(system) == kind(block_size=5)
    assert kind(block_size=2).resolved(system) == kind(block_size=2)
    said, given = solve(system, kind()), solve(system, kind(block_size=5))
    np.testing.assert_array_equal(said.value, given.value)
    assert int(said.stats.num_steps) == int(given.stats.num_steps)


def test_segments_have_their_own_blocks_unless_all_agree() -> None:
    system = densenet()  # of two and four layers
    assert Segmented(GSJacobi()).resolved(system) == Segmented(GSJacobi())
    assert Segmented(GSJacobi(3)).resolved(system) == Segmented(GSJacobi(3))
    assert Segmented(Jacobi()).resolved(system) == Segmented(Jacobi())
    same = DenseNetConfig(3, (4, 4), 6, 4, (8, 8, 1), bn_size=2, stem="small", pixel_mean=(0.4,), pixel_std=(0.2,))
    network = DenseNet(same, rngs=nnx.Rngs(0)).fold()
    alike = DenseNetSystem.of(network, jnp.zeros((1, *same.image_shape)))
    assert Segmented(GSJacobi()).resolved(alike) == Segmented(GSJacobi(block_size=2))


# Defaults of the base class, and the table.


@pytest.mark.parametrize("name", SOLVERS)
def test_a_solver_has_a_name_and_a_default_for_everything(name: str) -> None:
    solver = SOLVERS[name]()
    assert isinstance(solver, Solver)
    assert solver_name(solver) == name
    assert hash(solver) == hash(SOLVERS[name]())
    assert solver.with_tol(0.25) == replace(solver, tol=0.25)
    assert solver.with_tol(None) is solver
    with pytest.raises(ValueError, match=r"tol must be at least 0, not nan"):
        solver.with_tol(float("nan"))


def test_a_solver_of_ones_own_has_its_class_s_name() -> None:
    @dataclass(frozen=True)
    class Mine(Jacobi):
        """Jacobi by another name."""

    assert solver_name(Mine()) == "Mine"


def test_memory_is_stated_by_those_that_need_it() -> None:
    stating = [name for name, kind in SOLVERS.items() if kind().floats_per_equation(3) is not None]
    assert stating == ["newton", "quasi_newton", "picard", "elk", "quasi_elk"]
    assert [name for name, kind in SOLVERS.items() if Windowed.admits(kind())] == stating
    assert [name for name, kind in SOLVERS.items() if not Segmented.admits(kind())] == ["segmented"]


def test_an_inner_solver_is_held_to_the_tolerance_of_the_whole() -> None:
    assert Windowed(Picard(), tol=1e-3).inner == Picard(tol=1e-3)
    assert Segmented(Windowed(Newton(tol=0.5)), tol=0.25).inner == Windowed(Newton(tol=0.5), tol=0.25)
    assert Segmented(CachedSequential(3)).inner == CachedSequential(3)

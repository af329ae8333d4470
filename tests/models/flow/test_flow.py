"""Flows: their inverse, their likelihood, and the same images by every solver."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.flow.model import FlowConfig
from models.flow.system import to_noise
from solvers import CachedSequential, GSJacobi, Jacobi, JacobiGS, Segmented, Sequential, SlidingGSJacobi, solve
from tests.kit.bank import tiny_flow

MAF = {"block": "made", "patch_size": 1, "hidden_sizes": (6,)}
KINDS = {"transformer": {}, "made": MAF}
everywhere = pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)


@everywhere
def test_every_solver_gives_the_same_images(options):
    system = tiny_flow(0, **options).equations(jax.random.key(0), 2)
    exact = solve(system, Segmented(CachedSequential())).value
    assert not np.allclose(exact[-1], system.noise, atol=0.1)
    for solver in (Sequential(), Jacobi(), Segmented(Jacobi()), Segmented(GSJacobi(2))):
        solution = solve(system, solver)
        for found, expected in zip(solution.value, exact, strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-4, err_msg=str(solver))
        assert int(solution.stats.num_steps) <= solver.max_steps(system)


@pytest.mark.parametrize("inside", [GSJacobi(1), GSJacobi(3), SlidingGSJacobi(2), Jacobi(), JacobiGS(2)], ids=str)
def test_a_block_is_done_when_all_of_it_is_within_the_tolerance(inside):
    """A window of it that is settled says nothing of those to come."""
    system = tiny_flow(0).equations(jax.random.key(0), 2)
    exact = solve(system, Segmented(CachedSequential())).value
    for found, expected in zip(solve(system, Segmented(inside, tol=1e-3)).value, exact, strict=True):
        np.testing.assert_allclose(found, expected, atol=0.02)


@everywhere
def test_images_go_back_to_the_noise_that_they_are_of(options):
    model = tiny_flow(1, **options)
    system = model.equations(jax.random.key(1), 3)
    data = solve(system, Segmented(CachedSequential())).value[-1]
    noise, _ = to_noise(model.networks(), data)
    np.testing.assert_allclose(noise, system.noise, atol=1e-4)


@everywhere
def test_the_log_jacobian_is_that_of_the_whole_map(options):
    model = tiny_flow(2, image_shape=(2, 2, 1) if options else (4, 4, 1), **options)
    data = model.equations(jax.random.key(2), 1).noise
    _, told = jax.jit(to_noise)(model.networks(), data)
    inverse = jax.jit(lambda x: to_noise(model.networks(), x.reshape(data.shape))[0].ravel())
    full = jax.jit(jax.jacobian(inverse))(data.ravel())
    assert float(told[0]) == pytest.approx(float(jnp.linalg.slogdet(full)[1]), abs=1e-4)
    assert abs(float(told[0])) > 1e-3


def test_bits_of_a_flow_that_changes_nothing_are_those_of_normal_logits():
    model = tiny_flow(3)
    for block in model.blocks:
        block.readout[...] = jnp.zeros_like(block.readout[...])
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 1), np.uint8)
    bits, key = model.bits_per_dim(jnp.asarray(images), jax.random.key(7)), jax.random.split(jax.random.key(7))[0]
    model.eval()
    x = (images + np.asarray(jax.random.uniform(key, images.shape), np.float64)) / 256
    squeezed = 1e-6 + (1 - 2e-6) * x
    y = np.log(squeezed / (1 - squeezed)) / 6
    log_density = -0.5 * y**2 - 0.5 * math.log(2 * math.pi) + np.log((1 - 2e-6) / (squeezed * (1 - squeezed)) / 6)
    expected = 8 - log_density.mean(axis=(1, 2, 3)) / math.log(2)
    np.testing.assert_allclose(bits, expected, rtol=1e-4)


def test_training_adds_noise_where_the_config_says_so_and_evaluation_does_not():
    plain, noisy = tiny_flow(4), tiny_flow(4, noise_std=20.0)
    images, key = jnp.full((2, 4, 4, 1), 128, jnp.uint8), jax.random.key(0)
    for model in (plain, noisy):
        model.eval()
    np.testing.assert_array_equal(plain.bits_per_dim(images, key), noisy.bits_per_dim(images, key))
    for model in (plain, noisy):
        model.train()
    assert float(jnp.max(jnp.abs(plain.bits_per_dim(images, key) - noisy.bits_per_dim(images, key)))) > 1e-3


@everywhere
def test_pixels_come_back_from_their_logits(options):
    model = tiny_flow(5, **options)
    images = np.random.default_rng(1).integers(0, 256, (3, 4, 4, 1), np.uint8)
    squeezed = 1e-6 + (1 - 2e-6) * (images + 0.5) / 256
    state = model._laid_out(jnp.asarray(np.log(squeezed / (1 - squeezed)) / 6, jnp.float32))
    np.testing.assert_array_equal(model.images((state,)), images)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"patch_size": 3}, "patch_size 3 does not divide images of 28 x 28 pixels"),
        ({"num_blocks": 0}, "num_blocks must be at least 1, not 0"),
        ({"block": "made"}, "patch_size of block: made must be 1, a pixel an equation, not 4"),
        ({"noise_std": -1.0}, "noise_std must be 0 or more, not -1.0"),
        ({"clamp_lambda": 0.6}, r"clamp_lambda must be in \(0, 0.5\), not 0.6"),
    ],
)
def test_an_architecture_that_cannot_be_is_refused_in_a_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        FlowConfig(**options)

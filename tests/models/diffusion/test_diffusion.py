"""Samplers of diffusion models: their steps against the papers' formulas, their Jacobians, and every solver."""

import dataclasses
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.diffusion import schedule
from models.diffusion.model import DiffusionConfig, DiffusionOptions
from models.diffusion.schedule import SCHEDULES
from models.diffusion.system import DiffusionSystem, RememberingDiffusionSystem
from solvers import CachedSequential, Jacobi, Newton, TriangularAnderson, solve
from solvers.trees.pytree import pytree
from tests.kit.bank import tiny_diffusion

METHODS = ("ddim", "ddpm", "dpm_solver")


@pytree
@dataclass(frozen=True)
class NormalImages:
    """The exact velocity of images whose numbers are normal, independent and of one variance."""

    angle: jax.Array  # by step
    time: jax.Array
    variance: float

    def image(self, x, angle):
        alpha, sigma = jnp.cos(angle), jnp.sin(angle)
        return alpha * self.variance / (alpha**2 * self.variance + sigma**2) * x

    def __call__(self, x, time):
        angle = jnp.interp(time, self.time[::-1], self.angle[::-1])[:, None, None]
        return (jnp.cos(angle) * x - self.image(x, angle)) / jnp.sin(angle)


@pytree
@dataclass(frozen=True)
class OneImage(NormalImages):
    """The velocity of a distribution with one image alone, all of whose numbers are ``variance``."""

    def image(self, x, angle):
        return self.variance


def normal_system(method, num_steps, variance, told=None):
    steps = getattr(schedule, method)("cosine", num_steps)
    first, noise = (jax.random.normal(jax.random.key(i), (*shape, 2, 3)) for i, shape in enumerate(((), (num_steps,))))
    kind = RememberingDiffusionSystem if method == "dpm_solver" else DiffusionSystem
    images = NormalImages(steps.angle, steps.time, variance)
    return kind(images, steps, noise if method == "ddpm" else None, first, variance if told is None else told)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_go_from_images_to_noise(name):
    angles = np.asarray(SCHEDULES[name](jnp.linspace(0, 1, 50)))
    assert angles[0] == pytest.approx(0, abs=1e-6)
    assert angles[-1] > 1.55
    assert (np.diff(angles) > 0).all()


def test_ddim_takes_normal_images_of_variance_one_nowhere():
    """Noise and images have one distribution then, and the velocity is 0."""
    system = normal_system("ddim", 10, 1.0)
    x = solve(system, CachedSequential()).value
    turned = np.cumprod(np.asarray(system.steps.on_x))
    np.testing.assert_allclose(x, turned[:, None, None] * system.first, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_many_steps_give_normal_images_of_their_variance(method):
    """Numbers of an image are linear functions of noise; the steps should give them the variance of the images."""
    variance = 0.3
    system = normal_system(method, 400, variance)
    steps, images = system.steps, system.denoiser
    slopes = np.asarray(steps.slopes(variance), np.float64)
    if method == "ddpm":
        left = np.cumprod(slopes[::-1])[::-1]
        after = np.append(left[1:], 1.0)
        total = left[0] ** 2 + np.sum((after * np.asarray(steps.on_noise)) ** 2)
    else:
        x = solve(system, CachedSequential()).value
        last = jax.tree.leaves(x)[0][-1]
        total = float(jnp.mean((last / system.first) ** 2))
    assert total == pytest.approx(variance, rel=0.03), images


def test_dpm_solver_is_the_papers():
    """Against the recursion as Lu et al. write it, with the image that the network sees."""
    system = normal_system("dpm_solver", 12, 0.3)
    steps = system.steps
    angles = np.append(np.asarray(steps.angle, np.float64), 0.0)
    alpha, sigma = np.cos(angles), np.sin(angles)
    x, before, last_growth = np.asarray(system.first, np.float64), None, None
    for t in range(12):
        seen = np.asarray(system.denoiser.image(x, angles[t]))
        first_or_last = t in (0, 11)
        if t < 11:
            growth = np.log(alpha[t + 1] / sigma[t + 1]) - np.log(alpha[t] / sigma[t])
        ratio = 0.0 if first_or_last else growth / (2 * last_growth)
        mixed = seen if before is None else (1 + ratio) * seen - ratio * before
        shrink = 1.0 if t == 11 else 1.0 - np.exp(-growth)
        x = sigma[t + 1] / sigma[t] * x + alpha[t + 1] * shrink * mixed
        before, last_growth = seen, growth
    np.testing.assert_allclose(solve(system, CachedSequential()).value[0][-1], x, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_what_stands_for_the_jacobians_is_exact_for_normal_images(method):
    system = normal_system(method, 6, 0.3)
    x = jax.tree.map(lambda a: jax.random.normal(jax.random.key(5), a.shape), system.initial_guess())
    _, told = system.structured_jacobians(x, 0)

    def one(flat, t):  # of the first sample and number
        parts = jax.tree.leaves(jax.tree.map(lambda a: a[t], x))
        parts = [part.at[0, 0].set(value) for part, value in zip(parts, flat, strict=True)]
        state = jax.tree.unflatten(jax.tree.structure(x), parts)
        return jnp.stack([leaf[0, 0] for leaf in jax.tree.leaves(system.transition(state, t))])

    for t in range(6):
        flat = jnp.stack([leaf[t, 0, 0] for leaf in jax.tree.leaves(x)])
        exact = jax.jacobian(one)(flat, jnp.int32(t))
        np.testing.assert_allclose(told[t, 0, 0].reshape(exact.shape), exact, atol=1e-4)
    assert int(solve(system, Newton(jacobian="system", tol=1e-4)).stats.num_steps) <= 3


@pytest.mark.parametrize("method", METHODS)
def test_every_solver_draws_the_same_images(method):
    model = tiny_diffusion(0)
    options = DiffusionOptions(method, 8, guidance=1.5, classes=(0, 2))
    system = model.equations(jax.random.key(0), 2, options)
    exact = solve(system, CachedSequential()).value
    newton = Newton(jacobian="system")
    for solver in (Jacobi(), newton, TriangularAnderson(newton)):
        solution = solve(system, solver)
        for found, expected in zip(jax.tree.leaves(solution.value), jax.tree.leaves(exact), strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-4, err_msg=str(solver))
    assert model.images(exact).shape == (2, 4, 4, 1)


def test_noise_and_classes_reach_the_images():
    model = tiny_diffusion(1)

    def drawn(key, **options):
        system = model.equations(jax.random.key(key), 2, DiffusionOptions("ddpm", 4, **options))
        return np.asarray(solve(system, CachedSequential()).value[-1])

    base = drawn(0, classes=(0,))
    assert not np.allclose(base, drawn(1, classes=(0,)))
    assert not np.allclose(base, drawn(0, classes=(1,)))
    assert not np.allclose(base, drawn(0))
    np.testing.assert_allclose(drawn(0, classes=(0, 1))[0], base[0], atol=1e-5)


def test_guidance_goes_on_from_no_class_past_the_class():
    model = tiny_diffusion(2)
    x, time = jax.random.normal(jax.random.key(0), (3, 2, 16)), jnp.array([0.2, 0.5, 0.9])

    def velocity(**options):
        denoiser = model.equations(jax.random.key(0), 2, DiffusionOptions(num_steps=3, **options)).denoiser
        return jax.jit(lambda denoiser: denoiser(x, time))(denoiser)

    none, told = velocity(), velocity(classes=(1,))
    guided = velocity(classes=(1,), guidance=3.0)
    np.testing.assert_allclose(guided, none + 3.0 * (told - none), atol=1e-5)


def test_an_image_is_drawn_again_from_its_noise():
    model = tiny_diffusion(3)
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (2, 4, 4, 1), np.uint8))
    options = DiffusionOptions(num_steps=300)
    noise = solve(model.inversion(images, options), CachedSequential()).value[-1]
    system = model.equations(jax.random.key(0), 2, options)
    again = solve(DiffusionSystem(system.denoiser, system.steps, None, noise, 1.0), CachedSequential()).value
    assert np.max(np.abs(np.asarray(model.images(again), int) - np.asarray(images, int))) <= 4


def test_the_loss_of_a_network_that_says_nothing_is_the_velocitys_own():
    model = tiny_diffusion(4)
    model.readout[...] = jnp.zeros_like(model.readout[...])
    images, labels = jnp.full((400, 4, 4, 1), 255, jnp.uint8), jnp.zeros(400, jnp.int32)
    loss = float(jnp.mean(jax.jit(lambda model: model.denoising_loss(images, labels, jax.random.key(0)))(model)))
    assert loss == pytest.approx(1.0, abs=0.05)  # of cos^2 + sin^2, as all pixels are 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"num_steps": 0}, "num_steps must be at least 1, not 0"),
        ({"guidance": 2.0}, "guidance 2 needs classes, towards which it guides"),
        ({"variance": 0.0}, "variance must be more than 0, not 0.0"),
    ],
)
def test_options_that_cannot_be_are_refused_in_a_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        DiffusionOptions(**options)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"patch_size": 5}, "patch_size 5 does not divide images of 28 x 28 pixels"),
        ({"schedule": "cosin"}, "unknown schedule 'cosin'; did you mean 'cosine'"),
        ({"num_classes": -1}, "num_classes must be 0 or more, not -1"),
        ({"class_dropout": 1.5}, "class_dropout must be from 0 to 1, not 1.5"),
    ],
)
def test_an_architecture_that_cannot_be_is_refused_in_a_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        DiffusionConfig(**options)


def test_a_class_that_the_model_does_not_know_is_refused():
    with pytest.raises(ValueError, match="classes must be from 0 to 2, not"):
        tiny_diffusion(0).equations(jax.random.key(0), 2, DiffusionOptions(classes=(3,)))


@pytest.mark.parametrize("method", METHODS)
def test_a_coarse_step_of_one_is_a_step(method):
    system = normal_system(method, 5, 0.3)
    state = jax.tree.map(lambda leaf: leaf[2], solve(system, CachedSequential()).value)
    expected = system.transition(state, jnp.int32(3))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), system.coarse(state, 3, 1), expected)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_foreseen_is_exact_where_the_network_sees_one_image_always(method):
    """v = (alpha x - y) / sigma, whatever x and the time."""
    system = normal_system(method, 6, 0.3)
    seeing = dataclasses.replace(system, denoiser=OneImage(system.steps.angle, system.steps.time, jnp.float32(0.7)))
    x = solve(seeing, CachedSequential()).value
    before, after = (jax.tree.map(lambda leaf, t=t: leaf[t], x) for t in (1, 4))
    found = seeing.coarse(before, jnp.int32(2), 3)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), found, after)


def test_ddim_foresees_by_one_larger_step():
    fine, large = normal_system("ddim", 6, 0.3), normal_system("ddim", 2, 0.3)
    np.testing.assert_allclose(fine.coarse(fine.first, 0, 3), large.transition(large.first, jnp.int32(0)), atol=1e-5)


def test_an_image_that_is_inverted_is_foreseen_though_it_begins_without_noise():
    system = tiny_diffusion(0).inversion(jnp.full((2, 4, 4, 1), 200, jnp.uint8), DiffusionOptions(num_steps=4))
    turn = jnp.arctan2(-system.steps.on_v, system.steps.on_x)[:2].sum()
    v = system.denoiser(system.first[None], system.steps.time[:1])[0]
    held = system.coarse(system.first, 0, 2)
    np.testing.assert_allclose(held, jnp.cos(turn) * system.first - jnp.sin(turn) * v, atol=1e-5)

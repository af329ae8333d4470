"""The discretized mixture of logistics: likelihood, both ways from noise to samples, and the way back."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solvers.heads.logistic_mixture import DiscretizedLogisticMixture
from solvers.systems.autoregressive import Head
from tests.kit.inversion import inverted

S, B, M = 256, 4, 3  # one shape for most tests, as every other one compiles anew
PIXELS = np.arange(256) / 127.5 - 1.0
GRAY, RGB = 1, 3
FORMS = ("gumbel", "inverse_cdf")
HEADS = [DiscretizedLogisticMixture(channels, M, form) for channels in (GRAY, RGB) for form in FORMS]

log_prob = jax.jit(DiscretizedLogisticMixture.log_prob, static_argnums=0)
sample = jax.jit(DiscretizedLogisticMixture.sample, static_argnums=0)
invert = jax.jit(inverted, static_argnums=0)


@partial(jax.jit, static_argnums=0)
def gradients(head, params, values):
    return jax.grad(lambda p, v: jnp.sum(head.log_prob(p, v)), argnums=(0, 1))(params, values)


def pack(logits, *colours):
    """Network outputs from their parts, as documented: logits, then every colour's own."""
    return np.concatenate([logits, *(part for colour in colours for part in colour)], axis=-1)


def random_params(channels, seed, shape=(S, B), log_scale=-2.0):
    random = np.random.RandomState(seed)
    size = (*shape, M)
    parts = [
        [random.normal(0, 0.6, size), random.normal(log_scale, 0.7, size), random.normal(0, 1, size)]
        for _ in range(channels)
    ]
    return pack(random.normal(0, 1, size), *(colour if channels == RGB else colour[:2] for colour in parts))


def random_pixels(channels, seed, shape=(S, B)):
    """8-bit values, a quarter of them at the ends."""
    random = np.random.RandomState(seed)
    return PIXELS[np.clip(random.randint(-85, 341, (*shape, channels)), 0, 255)]


def unpack(params, channels, temperature=1.0):
    """(log weights, means, scales, coefficients) in float64; colours lead."""
    params = np.asarray(params, np.float64)
    logits = params[..., :M] / temperature
    log_weights = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    parts = np.moveaxis(params[..., M:].reshape(*params.shape[:-1], channels, -1, M), (-3, -2), (0, 1))
    scales = np.exp(np.maximum(parts[:, 1], -7)) * temperature
    return log_weights, parts[:, 0], scales, np.tanh(parts[:, 2]) if channels == RGB else None


def shifted_means(means, coefficients, x):
    """Means (C, S, B, M) given the pixel's values x (C, S, B, 1), colour by colour."""
    if coefficients is None:
        return means
    red, green, _ = x
    return np.stack(
        [means[0], means[1] + coefficients[0] * red, means[2] + coefficients[1] * red + coefficients[2] * green]
    )


def log_sigmoid(z):
    return -np.logaddexp(0.0, -z)


def reference_log_prob(params, values, channels, temperature=1.0, colours=None):
    """In float64, by log(sigmoid(b) - sigmoid(a)) from the logs of both, on the side where they are small."""
    log_weights, means, scales, coefficients = unpack(params, channels, temperature)
    x = np.moveaxis(np.asarray(values, np.float64), -1, 0)[..., None]
    centred = x - shifted_means(means, coefficients, x)
    a, b = (centred - 1 / 255) / scales, (centred + 1 / 255) / scales
    a, b = np.where(centred > 0, -b, a), np.where(centred > 0, -a, b)
    log_small, log_large = log_sigmoid(a), log_sigmoid(b)
    bins = log_large + np.log(-np.expm1(log_small - log_large))
    bins = np.where(x < -0.999, log_sigmoid((centred + 1 / 255) / scales), bins)
    bins = np.where(x > 0.999, log_sigmoid(-(centred - 1 / 255) / scales), bins)
    return np.logaddexp.reduce(log_weights + bins[:colours].sum(axis=0), axis=-1)


def extreme_params(channels):
    """Means and scales far outside of what a trained network gives, one combination a row."""
    params = random_params(channels, 5)
    grid = [(m, s) for m in (-50.0, -1.0, 0.0, 1.0, 50.0) for s in (-100.0, -7.0, -3.0, 0.0, 7.0, 10.0)]
    width = 2 if channels == GRAY else 3
    for row, (mean, log_scale) in enumerate(grid):
        parts = params[row, :, M:].reshape(B, channels, width, M)
        parts[:, :, 0], parts[:, :, 1] = mean, log_scale
    params[len(grid) : len(grid) + 8, :, 0] = 200.0  # one component has all the weight
    return params


@pytest.mark.parametrize("channels", [GRAY, RGB])
@pytest.mark.parametrize("params_of", [lambda c: random_params(c, 0), extreme_params], ids=["usual", "extreme"])
def test_log_prob_against_float64(channels, params_of):
    params, values = params_of(channels), random_pixels(channels, 1)
    expected = reference_log_prob(params, values, channels)
    head = DiscretizedLogisticMixture(channels, M)
    single = log_prob(head, jnp.asarray(params, jnp.float32), jnp.asarray(values, jnp.float32))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, expected, rtol=1e-5, atol=2e-3)
    assert np.median(np.abs(single - expected)) < 2e-6
    slopes = gradients(head, jnp.asarray(params, jnp.float32), jnp.asarray(values, jnp.float32))
    assert all(np.isfinite(slope).all() for slope in slopes)
    with jax.enable_x64(True):
        np.testing.assert_allclose(log_prob(head, params, values), expected, rtol=1e-8, atol=1e-8)  # the reference's


def test_flat_and_overflowing_scales():
    """The mass of a bin at the centre of a wide logistic is its width over 4 s."""
    params = jnp.broadcast_to(jnp.asarray([0.0] * M + [0.0] * M + [30.0] * M), (S, B, 9))
    values = jnp.zeros((S, B, 1))
    np.testing.assert_allclose(log_prob(HEADS[0], params, values), math.log(2 / 255 / 4) - 30, rtol=1e-5)
    params = params.at[..., 2 * M :].set(1000.0)
    assert np.isfinite(log_prob(HEADS[0], params, values)).all()
    assert all(np.isfinite(slope).all() for slope in gradients(HEADS[0], params, values))


@pytest.mark.parametrize("channels", [GRAY, RGB])
def test_gradient_against_float64_differences(channels):
    params, values = random_params(channels, 2), random_pixels(channels, 3)
    params[..., M:][np.abs(params[..., M:]) < 1e-3] = 0.1
    direction = np.random.RandomState(4).normal(size=params.shape)
    step = 1e-5
    ahead, behind = (reference_log_prob(params + sign * step * direction, values, channels) for sign in (1, -1))
    slope = gradients(
        DiscretizedLogisticMixture(channels, M), jnp.asarray(params, jnp.float32), jnp.asarray(values, jnp.float32)
    )[0]
    ours = np.sum(np.asarray(slope, np.float64) * direction, axis=-1)
    np.testing.assert_allclose(ours, (ahead - behind) / (2 * step), rtol=1e-3, atol=1e-3)


def test_probabilities_of_gray_values_sum_to_one():
    values = np.broadcast_to(PIXELS[:, None, None], (S, B, 1))
    params = random_params(GRAY, 6)[:1]
    params[0, 1, 2 * M :], params[0, 2, 2 * M :], params[0, 3, M : 2 * M] = -9.0, 6.0, 3.0
    log_p = log_prob(HEADS[0], jnp.asarray(np.repeat(params, S, 0), jnp.float32), jnp.asarray(values, jnp.float32))
    np.testing.assert_allclose(np.exp(np.asarray(log_p, np.float64)).sum(axis=0), 1.0, atol=2e-5)


@pytest.mark.parametrize("params_seed", [7, 8])
def test_blue_sums_out_to_the_joint_of_red_and_green(params_seed):
    params = np.repeat(random_params(RGB, params_seed)[:1], S, 0)
    red_green = np.array([[0, 255], [100, 101], [255, 3], [200, 0]])  # one pair a column of the batch
    values = np.concatenate(
        [np.broadcast_to(PIXELS[red_green], (S, B, 2)), np.broadcast_to(PIXELS[:, None, None], (S, B, 1))], axis=-1
    )
    ours = log_prob(HEADS[2], jnp.asarray(params, jnp.float32), jnp.asarray(values, jnp.float32))
    joint = reference_log_prob(params, values, RGB, colours=2)[0]
    np.testing.assert_allclose(np.log(np.exp(np.asarray(ours, np.float64)).sum(axis=0)), joint, atol=5e-5)


def reference_gumbel_sample(params, noise, channels):
    """The published formula, pixel by pixel."""
    log_weights, means, scales, coefficients = unpack(params, channels)
    mixture_u, logistic_u = (np.asarray(noise[name], np.float64) for name in ("mixture_u", "logistic_u"))
    x = np.zeros((S, B, channels))
    for at in np.ndindex(S, B):
        k = np.argmax(log_weights[at] - np.log(-np.log(mixture_u[at])))
        for c in range(channels):
            mean = means[c][at][k]
            if c == 1:
                mean += coefficients[0][at][k] * x[at][0]
            if c == 2:
                mean += coefficients[1][at][k] * x[at][0] + coefficients[2][at][k] * x[at][1]
            u = logistic_u[at][c]
            x[at][c] = np.clip(mean + scales[c][at][k] * (np.log(u) - np.log(1 - u)), -1, 1)
    return x


@pytest.mark.parametrize("channels", [GRAY, RGB])
def test_gumbel_sample_is_the_published_formula(channels):
    head = DiscretizedLogisticMixture(channels, M)
    params = random_params(channels, 9)
    noise = head.draw_noise(jax.random.key(0), S, B)
    expected = reference_gumbel_sample(params, noise, channels)
    assert 0.02 < np.mean(np.abs(expected) == 1.0) < 0.5
    np.testing.assert_allclose(sample(head, jnp.asarray(params, jnp.float32), noise), expected, atol=2e-5)
    with jax.enable_x64(True):
        noise = {name: jnp.asarray(np.asarray(u, np.float64)) for name, u in noise.items()}
        np.testing.assert_allclose(sample(head, jnp.asarray(params), noise), expected, atol=1e-12)


def test_equal_gumbels_choose_one_component():
    params = pack(np.zeros((S, B, M)), [np.broadcast_to([0.1, 0.2, 0.3], (S, B, M)), np.full((S, B, M), -7.0)])
    noise = {"mixture_u": jnp.full((S, B, M), 0.5), "logistic_u": jnp.full((S, B, 1), 0.5)}
    np.testing.assert_allclose(sample(HEADS[0], jnp.asarray(params, jnp.float32), noise), 0.1, atol=1e-6)


def many(head, params_seed, seed, count=1 << 16):
    """Samples of one pixel's distribution, (count, C), and their noise."""
    params = random_params(head.num_channels, params_seed, (1, 1), -1.5)
    params = jnp.asarray(np.broadcast_to(params, (S, count // S, params.shape[-1])), jnp.float32)
    noise = head.draw_noise(jax.random.key(seed), S, count // S)
    return params, noise, sample(head, params, noise)


def chi_square(counts, expected):
    """In standard deviations above what chance gives."""
    return (np.sum((counts - expected) ** 2 / expected) - counts.size + 1) / math.sqrt(2 * (counts.size - 1))


@pytest.mark.parametrize("head", HEADS[:2], ids=FORMS)
def test_rounded_gray_samples_have_the_discretized_distribution(head):
    params, _, x = many(head, 10, 1)
    counts = np.bincount(np.rint((np.asarray(x).ravel() + 1) * 127.5).astype(int), minlength=256)
    p = np.exp(reference_log_prob(np.broadcast_to(params[:1, :1], (256, 1, 9)), PIXELS[:, None, None], GRAY))[:, 0]
    assert chi_square(counts, p * counts.sum()) < 4.0
    assert min(counts[0], counts[255]) > 100


def test_both_forms_have_the_same_distribution_of_colours():
    """Cells by whether each colour is clamped low, dark, light, or clamped high."""

    def cells(head, seed):
        x = np.asarray(many(head, 12, seed)[2]).reshape(-1, 3)
        cell = np.searchsorted([-0.9999, 0.0, 0.9999], x) @ np.array([16, 4, 1])
        return np.bincount(cell, minlength=64)

    first, second = cells(HEADS[2], 2), cells(HEADS[3], 3)
    met = first + second > 20
    first, second = first[met], second[met]
    assert first.size > 30
    excess = (np.sum((first - second) ** 2 / (first + second)) - first.size) / math.sqrt(2 * first.size)
    assert excess < 4.0


@pytest.mark.parametrize("head", HEADS, ids=lambda head: f"{head.num_channels}-{head.component}")
def test_inverted_noise_gives_the_sample_again_and_has_the_noise_distribution(head):
    params, noise, x = many(head, 14, 4)
    back = invert(head, params, x, jax.random.key(5))
    assert {name: u.shape for name, u in back.items()} == {name: u.shape for name, u in noise.items()}
    head.check_noise(back)
    off = np.abs(sample(head, params, back) - x)
    assert np.mean(off > 1e-4) < 1e-4  # float32's u does not tell all the unlikely values apart
    assert off.max() < (1e-4 if head.component == "gumbel" else 1e-2)
    u = np.concatenate([np.asarray(a).reshape(-1, a.shape[-1]) for a in back.values()], axis=-1)
    for column in u.T:
        assert chi_square(np.histogram(column, 32, (0, 1))[0], np.full(32, len(column) / 32)) < 4.0
    off_diagonal = np.corrcoef(u.T) - np.eye(u.shape[1]) if u.shape[1] > 1 else np.zeros(1)
    assert np.abs(off_diagonal).max() < 5 / math.sqrt(len(u))


@pytest.mark.parametrize("head", HEADS, ids=lambda head: f"{head.num_channels}-{head.component}")
def test_noise_for_any_picture(head, x64):
    """Pixels that have nothing to do with the parameters, but within reach of all components."""
    params = jnp.asarray(random_params(head.num_channels, 15, log_scale=-0.5))
    x = jnp.asarray(random_pixels(head.num_channels, 16))
    back = invert(head, params, x, jax.random.key(6))
    assert all(u.min() >= 1e-5 and u.max() <= 1 - 1e-5 for u in back.values())
    np.testing.assert_allclose(sample(head, params, back), x, atol=1e-4)


def test_a_component_that_reaches_the_value_is_preferred():
    """The first component's density at 0.25 is the larger, weight included, but u would be 1 - 1.2e-6."""
    logits, means, log_scales = [0.0, -13.0, -30.0], [0.0, 0.25, 0.0], [-4.0, 0.0, -4.0]
    params = jnp.broadcast_to(jnp.asarray([*logits, *means, *log_scales]), (S, B, 9))
    x = jnp.full((S, B, 1), 0.25)
    back = invert(HEADS[0], params, x, jax.random.key(7))
    np.testing.assert_allclose(sample(HEADS[0], params, back), x, atol=1e-4)


def test_a_component_too_rare_for_the_noise_is_not_chosen():
    """The second component has the value, but no u in the range makes its Gumbel the largest."""
    logits, means, log_scales = [0.0, -20.0, -30.0], [0.0, 0.5, 0.0], [-7.0, -7.0, -7.0]
    params = jnp.broadcast_to(jnp.asarray([*logits, *means, *log_scales]), (S, B, 9))
    back = invert(HEADS[0], params, jnp.full((S, B, 1), 0.5), jax.random.key(7))
    np.testing.assert_allclose(sample(HEADS[0], params, back), math.exp(-7) * math.log(1e5 - 1), rtol=1e-2)


def test_gumbels_that_all_but_tie_keep_their_winner(monkeypatch):
    monkeypatch.setattr(jax.random, "exponential", lambda _, shape, dtype: jnp.full(shape, shape[-1] == 1, dtype))
    params = random_params(GRAY, 22)
    params[..., M : 2 * M], params[..., 2 * M :] = [-0.5, 0.0, 0.5], -6.0
    params[: S // 2, :, 0] += 9.0
    params = jnp.asarray(params, jnp.float32)
    x = jnp.broadcast_to(jnp.asarray([-0.5, 0.0, 0.5, 0.5])[:, None], (S, B, 1))
    back = jax.jit(lambda *given: inverted(HEADS[0], *given))(params, x, jax.random.key(17))
    np.testing.assert_allclose(sample(HEADS[0], params, back), x, atol=1e-4)


@pytest.mark.parametrize("head", HEADS[:2], ids=FORMS)
def test_a_value_out_of_reach_is_approached(head):
    params = jnp.broadcast_to(jnp.asarray([0.0] * M + [0.1] * M + [-5.0] * M), (S, B, 9))
    for value, end in ((0.9, 1 - 1e-5), (1.0, 1 - 1e-5), (-1.0, 1e-5)):
        back = invert(head, params, jnp.full((S, B, 1), value), jax.random.key(8))
        nearest = 0.1 + math.exp(-5) * math.log(end / (1 - end))
        np.testing.assert_allclose(sample(head, params, back), nearest, atol=1e-3)


def test_quantiles_invert_the_cdf_and_rise_with_u():
    head = HEADS[1]
    params = np.repeat(random_params(GRAY, 17, log_scale=-3.0)[:1], S, 0)
    params[:, 3, 3 * M - 1], params[:, 3, 2 * M - 1] = 7.0, 50.0  # one component far away and wide
    u = np.linspace(1e-5, 1 - 1e-5, S)
    noise = {"logistic_u": jnp.broadcast_to(jnp.asarray(u, jnp.float32)[:, None, None], (S, B, 1))}
    x = np.asarray(sample(head, jnp.asarray(params, jnp.float32), noise), np.float64)
    assert np.diff(x, axis=0).min() >= 0
    log_weights, means, scales, _ = unpack(params, GRAY)
    cdf = np.sum(np.exp(log_weights + log_sigmoid((x - means[0]) / scales[0])), axis=-1)
    inside = np.abs(x[..., 0]) < 1
    assert inside.mean() > 0.5
    np.testing.assert_allclose(cdf[inside], np.broadcast_to(u[:, None], (S, B))[inside], atol=2e-6)


def test_later_channels_are_quantiles_of_the_conditional_mixture(x64):
    head = HEADS[3]
    params = random_params(RGB, 18, log_scale=-3.0)
    noise = head.draw_noise(jax.random.key(9), S, B)
    x = np.asarray(sample(head, jnp.asarray(params), noise))
    log_weights, means, scales, coefficients = unpack(params, RGB)
    z = (
        np.moveaxis(x, -1, 0)[..., None] - shifted_means(means, coefficients, np.moveaxis(x, -1, 0)[..., None])
    ) / scales
    unclamped = np.abs(x).max(axis=-1) < 1
    assert unclamped.mean() > 0.3
    for c in range(RGB):
        posterior = np.exp(log_weights - np.logaddexp.reduce(log_weights, axis=-1, keepdims=True))
        u = np.sum(posterior / (1 + np.exp(-z[c])), axis=-1)
        np.testing.assert_allclose(u[unclamped], np.asarray(noise["logistic_u"])[..., c][unclamped], atol=1e-9)
        log_weights = log_weights + log_sigmoid(z[c]) + log_sigmoid(-z[c]) - np.log(scales[c])


@pytest.mark.parametrize("head", HEADS[1::2], ids=["gray", "rgb"])
def test_quantiles_have_the_slopes_of_their_differences(head, x64):
    params = jnp.asarray(random_params(head.num_channels, 19, log_scale=-2.5))
    noise = head.draw_noise(jax.random.key(10), S, B)
    noise = {"logistic_u": 0.1 + 0.8 * noise["logistic_u"]}
    keys = jax.random.split(jax.random.key(11))
    direction = (
        jax.random.normal(keys[0], params.shape),
        {"logistic_u": jax.random.normal(keys[1], (S, B, head.num_channels))},
    )
    weights = jax.random.normal(jax.random.key(12), (S, B, head.num_channels))

    @jax.jit
    def total(params, noise):
        """One number a pixel."""
        return jnp.sum(weights * head.sample(params, noise), axis=-1)

    def moved(step):
        return jax.tree.map(lambda a, d: a + step * d, (params, noise), direction)

    step = 1e-6
    differences = (total(*moved(step)) - total(*moved(-step))) / (2 * step)
    slopes = jax.jit(jax.grad(lambda *a: jnp.sum(total(*a)), argnums=(0, 1)))(params, noise)
    along = sum(
        jnp.sum(slope * d, axis=-1)
        for slope, d in zip(jax.tree.leaves(slopes), jax.tree.leaves(direction), strict=True)
    )
    steep = np.abs(differences) > 1e3  # a colour is about to be clamped, or between two components
    assert np.mean(steep) < 0.05
    off = np.abs(along - differences) > 1e-4 * (1 + np.abs(differences))
    assert np.mean(off) < 0.005  # those clamped on one side of the difference only


@pytest.mark.parametrize("head", HEADS, ids=lambda head: f"{head.num_channels}-{head.component}")
def test_temperature_divides_logits_and_multiplies_scales(head):
    cool = DiscretizedLogisticMixture(head.num_channels, M, head.component, temperature=0.5)
    params = random_params(head.num_channels, 20)
    same = params.copy()
    same[..., :M] /= 0.5
    parts = same[..., M:].reshape(S, B, head.num_channels, -1, M)
    parts[..., 1, :] += math.log(0.5)
    params, same = jnp.asarray(params, jnp.float32), jnp.asarray(same, jnp.float32)
    noise = head.draw_noise(jax.random.key(13), S, B)
    np.testing.assert_allclose(sample(cool, params, noise), sample(head, same, noise), atol=5e-5)
    x = jnp.asarray(random_pixels(head.num_channels, 21), jnp.float32)
    np.testing.assert_allclose(log_prob(cool, params, x), log_prob(head, same, x), rtol=1e-5, atol=1e-3)
    params = jnp.where(params < -2.0, -9.0, params)  # the least scale is that of temperature 1
    np.testing.assert_allclose(
        log_prob(cool, params, x), reference_log_prob(params, x, head.num_channels, 0.5), rtol=1e-5, atol=1e-3
    )


@pytest.mark.parametrize("head", HEADS, ids=lambda head: f"{head.num_channels}-{head.component}")
def test_noise_and_first_guess(head):
    assert isinstance(head, Head)
    assert hash(head) == hash(DiscretizedLogisticMixture(head.num_channels, M, head.component, 1.0))
    noise = head.draw_noise(jax.random.key(14), S, B)
    widths = {"mixture_u": M, "logistic_u": head.num_channels}
    if head.component == "inverse_cdf":
        del widths["mixture_u"]
    assert {name: u.shape for name, u in noise.items()} == {name: (S, B, width) for name, width in widths.items()}
    for u in noise.values():
        assert 1e-5 * 0.999 <= u.min() < 0.01 < 0.99 < u.max() <= 1 - 1e-5 * 0.99
    head.check_noise(noise)
    jax.jit(lambda noise: head.check_noise(noise))(noise)
    np.testing.assert_array_equal(head.initial_guess(noise), np.zeros((S, B, head.num_channels)))


@pytest.mark.parametrize("value", [0.0, 1.0, -0.25, 3.5, math.nan])
def test_noise_outside_its_range_is_named(value):
    noise = HEADS[0].draw_noise(jax.random.key(15), S, B)
    noise["logistic_u"] = noise["logistic_u"].at[3, 1, 0].set(value)
    with pytest.raises(ValueError, match=rf"'logistic_u' must lie between 0 and 1, both excluded; it holds {value}"):
        HEADS[0].check_noise(noise)


def test_missing_noise_is_named():
    noise = HEADS[1].draw_noise(jax.random.key(16), S, B)
    with pytest.raises(ValueError, match="noise must hold 'mixture_u'; it holds 'logistic_u'"):
        HEADS[0].check_noise(noise)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"num_channels": 2}, r"num_channels must be 1 \(gray\) or 3 \(RGB\), not 2"),
        ({"num_mixtures": 0}, "num_mixtures must be at least 1, not 0"),
        ({"temperature": 0.0}, "temperature must be a positive finite number, not 0.0"),
        ({"temperature": math.nan}, "temperature must be a positive finite number, not nan"),
    ],
)
def test_bad_heads(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        DiscretizedLogisticMixture(**{"num_channels": 1, "num_mixtures": M, **options})


def test_unknown_form():
    """Set from behind, as these tests check annotations before the head does."""
    head = DiscretizedLogisticMixture(1, M)
    object.__setattr__(head, "component", "gumble")
    with pytest.raises(ValueError, match="component must be one of gumbel, inverse_cdf, not 'gumble'"):
        head.__post_init__()


def test_outputs_of_the_wrong_width():
    assert [head.num_params for head in HEADS] == [9, 9, 30, 30]
    with pytest.raises(ValueError, match="params must hold 9 numbers a pixel for 1 channels of 3 .* not 30"):
        HEADS[0].log_prob(jnp.zeros((S, B, 30)), jnp.zeros((S, B, 1)))

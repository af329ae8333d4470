"""Each layer by rows, by blocks of rows and by pixels against its definition, at every phase of the strides."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models.pixelcnnpp.dense import Dense
from models.pixelcnnpp.gated_block import GatedBlock, concat_elu, elu
from models.pixelcnnpp.network import OpenRow, PixelCNNPPNetwork
from models.pixelcnnpp.pixel_conv import PixelConv, PixelGrow
from models.pixelcnnpp.row_conv import RowConv, RowGrow
from models.pixelcnnpp.rows_walk import RowsWalk, spans
from models.pixelcnnpp.skips import Skips
from models.pixelcnnpp.stack import LEVELS, Stack
from models.pixelcnnpp.weight_norm import WeightNorm

H, W, B, C, F = 6, 8, 2, 3, 4


def rngs(seed=0):
    return nnx.Rngs(seed)


def noise(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def randomized(module, seed=0):
    """The module with every parameter random, biases too."""
    state = nnx.state(module)
    leaves, treedef = jax.tree.flatten(state)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    drawn = [0.5 * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    nnx.update(module, jax.tree.unflatten(treedef, drawn))
    return module


def loops_correlate(x, kernel, bias, stride, up, left):
    """y[i, j] = sum kernel[a, b] x[stride i + a - up, stride j + b - left] in plain loops."""
    x, kernel, bias = (np.asarray(a, np.float64) for a in (x, kernel, bias))
    height, width = x.shape[:2]
    y = np.zeros((height // stride, width // stride, x.shape[2], kernel.shape[-1])) + bias
    for i in range(height // stride):
        for j in range(width // stride):
            for a in range(kernel.shape[0]):
                for b in range(kernel.shape[1]):
                    r, c = stride * i + a - up, stride * j + b - left
                    if 0 <= r < height and 0 <= c < width:
                        y[i, j] += x[r, c] @ kernel[a, b]
    return y


def loops_transposed(x, kernel, bias, left):
    """Each pixel adds its kernel to a canvas, stride 2; the canvas is cut to 2H x 2W from the top and from ``left``."""
    x, kernel, bias = (np.asarray(a, np.float64) for a in (x, kernel, bias))
    height, width = x.shape[:2]
    canvas = np.zeros((2 * height + 2, 2 * width + 2, x.shape[2], kernel.shape[-1]))
    for i in range(height):
        for j in range(width):
            for a in range(kernel.shape[0]):
                for b in range(kernel.shape[1]):
                    canvas[2 * i + a, 2 * j + b] += x[i, j] @ kernel[a, b]
    return canvas[: 2 * height, left : left + 2 * width] + bias


def with_above(x):
    return jnp.concatenate([jnp.zeros_like(x[:1]), x])


CONVS = [(RowConv, 1), (RowConv, 2), (PixelConv, 1), (PixelConv, 2)]


@pytest.mark.parametrize(("kind", "stride"), CONVS)
def test_convolution_against_loops(kind, stride):
    layer, x = randomized(kind(C, F, rngs=rngs())), noise(H, W, B, C)
    weight = layer.weight.folded()
    expected = loops_correlate(x, weight.kernel[...], weight.bias[...], stride, up=1, left=1)
    np.testing.assert_allclose(layer(with_above(x), stride), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kind", "size"), [(RowConv, {"height": 1}), (PixelConv, {"width": 1})])
def test_flat_convolution_against_loops(kind, size):
    layer, x = randomized(kind(C, F, **size, rngs=rngs())), noise(H, W, B, C)
    weight = layer.weight.folded()
    up, left = (0, 1) if kind is RowConv else (1, 0)
    expected = loops_correlate(x, weight.kernel[...], weight.bias[...], 1, up, left)
    frame = x if kind is RowConv else with_above(x)
    np.testing.assert_allclose(layer(frame), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kind", "left"), [(RowGrow, 1), (PixelGrow, 0)])
def test_transposed_convolution_against_loops(kind, left):
    layer, x = randomized(kind(F, rngs=rngs())), noise(H, W, B, F)
    kernel = np.asarray(layer.weight.folded().kernel[...])
    # The full transpose of a (2, 3) convolution puts column j's kernel at 2j, 2j + 1, 2j + 2; ours is cut around it.
    expected = loops_transposed(x, kernel, layer.weight.folded().bias[...], left)
    np.testing.assert_allclose(layer(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
def test_pixel_convolution_in_steps_equals_its_full_form(stride):
    layer, x = randomized(PixelConv(C, F, rngs=rngs())), noise(2, W, B, C)
    full = layer(x, stride)[0]  # the frame is the row above and one row
    shares = layer.from_above(x[0], stride)
    for j in range(W // stride):
        column = stride * j
        left = x[1, column - 1] if column else jnp.zeros_like(x[1, 0])
        np.testing.assert_allclose(layer.step(shares[j], left, x[1, column]), full[j], rtol=1e-5, atol=1e-5)


def test_grown_pixels_equal_the_full_form_at_every_phase():
    layer, x = randomized(PixelGrow(F, rngs=rngs())), noise(H, W, B, F)
    full, step = layer(x), jax.jit(lambda layer, *args: layer.step(*args))
    for row in range(2 * H):
        for column in range(0, 2 * W, 3):
            one = step(layer, x[row // 2, column // 2], jnp.int32(row), jnp.int32(column))
            np.testing.assert_allclose(one, full[row, column], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("shape", "axis"), [((2, 3, C, F), -1), ((2, 2, F, F), 2), ((C, F), -1)])
def test_weight_norm(shape, axis):
    layer = randomized(WeightNorm(shape, axis=axis, rngs=rngs()))
    v, scale, kernel = (np.asarray(a, np.float64) for a in (layer.v[...], layer.scale[...], layer.folded().kernel[...]))
    for i in range(shape[axis]):
        part = np.take(v, i, axis)
        np.testing.assert_allclose(
            np.take(kernel, i, axis), scale[i] * part / np.sqrt((part**2).sum()), rtol=1e-5, atol=1e-6
        )
    np.testing.assert_array_equal(layer.folded().folded().kernel[...], layer.folded().kernel[...])


def test_activations():
    x = np.concatenate([np.linspace(-30, 30, 41), [-1e-6, 0.0, 1e-6]])
    np.testing.assert_allclose(elu(jnp.asarray(x)), np.where(x > 0, x, np.expm1(np.minimum(x, 0))), rtol=1e-5)
    both = np.concatenate([elu(jnp.asarray(x)), elu(-jnp.asarray(x))])
    np.testing.assert_allclose(concat_elu(jnp.asarray(x)), both, rtol=1e-6)
    gradient = jax.vmap(jax.grad(lambda x: concat_elu(x[None]).sum()))(jnp.asarray(x))
    assert np.all(np.isfinite(gradient))


def test_gated_block_against_its_equation():
    block = randomized(GatedBlock(PixelConv, F, has_side=True, has_skip=True, rngs=rngs()))
    x, side, skip = (noise(H, W, B, F, seed=i) for i in range(3))
    above = (noise(W, B, 2 * F, seed=3), noise(W, B, 2 * F, seed=4))
    (extra,) = Skips.of([block.skip]).rows([[concat_elu(side), concat_elu(skip)]])
    y, _ = block.rows(x, extra, above, lambda x: x)
    h = block.first(jnp.concatenate([above[0][None], concat_elu(x)]))
    h = h + block.skip(jnp.concatenate([concat_elu(side), concat_elu(skip)], -1))
    ab = block.second(jnp.concatenate([above[1][None], concat_elu(h)]))
    np.testing.assert_allclose(y, x + ab[..., :F] / (1 + np.exp(-ab[..., F:])), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("has_skip", [False, True])
def test_gated_block_in_steps_equals_its_rows(has_skip):
    block = randomized(GatedBlock(PixelConv, F, has_side=True, has_skip=has_skip, rngs=rngs()))
    x, side, skip = (noise(1, W, B, F, seed=i) for i in range(3))
    above = (noise(W, B, 2 * F, seed=3), noise(W, B, 2 * F, seed=4))
    layers, sources = Skips.of([block.skip]), [side, skip] if has_skip else [side]
    (extra,) = layers.rows([[concat_elu(source) for source in sources]])
    full, frames = block.rows(x, extra, above, lambda x: x)
    shares = block.shares(above, concat_elu(side[0]))
    left = jax.tree.map(lambda a: jnp.zeros_like(a[0]), above)
    for j in range(W):
        here = jax.tree.map(lambda a: a[j], shares)  # noqa: B023
        extra = layers.pixels([concat_elu(skip[0, j])])[0] if has_skip else None
        y, left = block.step(x[0, j], extra, here, left)
        np.testing.assert_allclose(y, full[0, j], rtol=1e-5, atol=1e-5)
        for seen, frame in zip(left, frames, strict=True):
            np.testing.assert_allclose(seen, frame[1, j], rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module", params=[False, True], ids=["vertical", "horizontal"])
def stack(request):
    return randomized(Stack(1, F, horizontal=request.param, rngs=rngs()), seed=5), request.param


ROWS = 8


def walked(stack, horizontal, x, sides, lines, first, height):
    """Rows [first, first + height) of a stack, from the lines above; and the lines behind."""
    tile = spans(first, height)
    walk = RowsWalk(tile, lines, sides if horizontal else None, lambda x: x)
    y = stack(x, walk)
    kept = walk.kept()
    return y, kept.lines, kept.seen


walk_rows = jax.jit(walked, static_argnames=("horizontal", "height", "first"))
walk_somewhere = jax.jit(walked, static_argnames=("horizontal", "height"))


def side_rows(level, first, height):
    """Random sides, on the rows that a level has of a tile, padded to the tile's height."""
    counts = [2, 3, 3][::-1] if level == LEVELS - 1 else [3, 3, 3]
    begin = -(-first // 2**level)
    size = -(-height // 2**level)
    full = [noise(ROWS, W >> level, B, 2 * F, seed=10 * level + i) for i in range(counts[0])]
    return [jnp.pad(a, ((0, size), (0, 0), (0, 0), (0, 0)))[begin : begin + size] for a in full]


@pytest.mark.parametrize("height", [1, 2, 3, 5])
def test_stack_in_blocks_of_rows_equals_the_whole_at_every_phase(stack, height):
    """Blocks in order, whose starts run through all phases modulo 4, with starts that are not known when compiling."""
    layers, horizontal = stack
    x = noise(ROWS, W, B, F, seed=9)
    empty = layers.empty_lines(W, B, jnp.float32)
    sides = tuple(side_rows(level, 0, ROWS) for level in range(LEVELS))
    whole, _, _ = walk_rows(layers, horizontal, x, sides, empty, 0, ROWS)
    lines, padded = empty, jnp.pad(x, ((0, height), (0, 0), (0, 0), (0, 0)))
    for first in range(0, ROWS, height):
        sides = tuple(side_rows(level, first, height) for level in range(LEVELS))
        part, lines, _ = walk_somewhere(
            layers, horizontal, padded[first : first + height], sides, lines, jnp.int32(first), height
        )
        count = min(height, ROWS - first)
        np.testing.assert_allclose(part[:count], whole[first : first + count], rtol=2e-5, atol=2e-5)


def test_a_row_in_steps_equals_the_row_by_rows():
    """The horizontal stack pixel by pixel, in rows of all four phases."""
    network = randomized(PixelCNNPPNetwork((ROWS, W, 1), 1, F, 6, rngs=rngs()), seed=6)
    x = 0.5 * noise(ROWS, W, B, 1)
    by_rows = jax.jit(lambda net, x: net.rows(x, net.init_cache(B, x.dtype), 0)[0])(network, x)

    @jax.jit
    def in_steps(network, cache, row, values):
        block = network.open_block(cache, row * W, W)

        def step(block: OpenRow, i):
            params, block = network.step_block(block, i)
            return network.record_step(block, values[i][None], i), params[0]

        block, params = jax.lax.scan(step, block, jnp.arange(W))
        return params, network.close_block(cache, block)[1]

    cache = network.init_cache(B, x.dtype)
    for row in range(ROWS):
        params, cache = in_steps(network, cache, jnp.int32(row), x[row])
        np.testing.assert_allclose(params, by_rows[row], rtol=2e-5, atol=2e-5)


def test_dense():
    layer, x = randomized(Dense(C, F, rngs=rngs())), noise(H, W, B, C)
    weight = layer.weight.folded()
    np.testing.assert_allclose(layer(x), x @ weight.kernel[...] + weight.bias[...], rtol=1e-5, atol=1e-5)


def test_levels_of_a_tile():
    """For every start and height: static and traced spans agree, and the padded heights suffice."""
    for first in range(8):
        for height in range(1, 9):
            exact = spans(first, height)
            traced = jax.tree.map(int, spans(jnp.int32(first), height))
            for level, (a, b) in enumerate(zip(exact, traced, strict=True)):
                rows = [r for r in range(first, first + height) if r % 2**level == 0]
                assert a.height == a.valid == b.valid == len(rows) <= b.height
                assert a.odd == b.odd
                if rows:
                    assert rows[0] // 2**level % 2 == a.odd

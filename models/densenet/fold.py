"""The way from a DenseNet's parameters and running statistics to the inference form.

On the host, by numpy: jax would compile a program for every layer's width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from models.densenet.batch_norm import EPSILON
from models.densenet.block import FoldedBlock, Reader
from models.densenet.network import DenseNetNetwork, FoldedTransition

# Layers whose products are one: fewer are padded less, more are larger. Measured with 1, 4, 8, 12 and 16 groups of 48.
GROUP_SIZE = 4


class _Layer(NamedTuple):
    """A dense layer: relu(scale * x + shift) @ kernel + bias, relu, and the matrices of the 3x3 convolution."""

    scale: Float[np.ndarray, " C"]
    shift: Float[np.ndarray, " C"]
    kernel: Float[np.ndarray, "C N"]
    bias: Float[np.ndarray, " N"]
    taps: Float[np.ndarray, "N F"]


def fold_densenet(model: Any, group_size: int) -> DenseNetNetwork:
    """The inference form of a DenseNet; layers are padded to a common width by groups of ``group_size``."""
    blocks = [[_fold_layer(layer) for layer in layers] for layers in model.blocks]
    scale, shift = _fold_norm(model.norm)
    return DenseNetNetwork(
        stem=model.stem.fold(),
        blocks=tuple(_fold_block(layers, group_size) for layers in blocks),
        transitions=tuple(_fold_transition(transition) for transition in model.transitions),
        scale=jnp.asarray(scale),
        shift=jnp.asarray(shift),
        kernel=model.kernel[...],
        bias=model.bias[...],
        image_shape=model.image_shape,
    )


def _fold_norm(norm: Any) -> tuple[Float[np.ndarray, " C"], Float[np.ndarray, " C"]]:
    """(scale, shift) of a BatchNorm with its running statistics."""
    scale, bias, mean, var = (np.asarray(variable[...]) for variable in (norm.scale, norm.bias, norm.mean, norm.var))
    factor = scale / np.sqrt(var + np.float32(EPSILON))
    return factor, bias - mean * factor


def _fold_transition(transition: Any) -> FoldedTransition:
    scale, shift = _fold_norm(transition.norm)
    return FoldedTransition(jnp.asarray(scale), jnp.asarray(shift), transition.conv.kernel[...])


def _fold_layer(layer: Any) -> _Layer:
    """A DenseLayer with its second norm in the first kernel."""
    scale, shift = _fold_norm(layer.norm1)
    factor, bias = _fold_norm(layer.norm2)
    kernel = np.asarray(layer.conv1.kernel[...]) * factor
    taps = np.asarray(layer.conv2.kernel[...]).transpose(2, 0, 1, 3)
    return _Layer(scale, shift, kernel, bias, taps.reshape(taps.shape[0], -1))


def _fold_block(layers: Sequence[_Layer], group_size: int) -> FoldedBlock:
    """The block's layers stacked, with what they read of its input apart."""
    width = layers[0].kernel.shape[0]
    groups = [layers[i : i + group_size] for i in range(0, len(layers), group_size)]
    return FoldedBlock(
        input=_stacked(layers, 0, width),
        bias=jnp.asarray(np.stack([layer.bias for layer in layers])),
        groups=tuple(_stacked(group, width, group[-1].kernel.shape[0]) for group in groups),
        taps=jnp.asarray(np.stack([layer.taps for layer in layers])),
    )


def _stacked(layers: Sequence[_Layer], begin: int, end: int) -> Reader:
    """The readers of features [begin, end), one above the other; a layer that has fewer is padded with zeros."""

    def stack(arrays: Sequence[np.ndarray]) -> Any:
        result = np.zeros((len(arrays), end - begin, *arrays[0].shape[1:]), np.float32)
        for row, array in zip(result, arrays, strict=True):
            part = array[begin:end]
            row[: len(part)] = part
        return jnp.asarray(result)

    parts = ([layer.scale for layer in layers], [layer.shift for layer in layers], [layer.kernel for layer in layers])
    return Reader(*map(stack, parts))

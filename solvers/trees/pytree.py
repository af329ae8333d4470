"""Frozen dataclasses as pytrees, and the precision of what is in a pytree."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

T = TypeVar("T")


def pytree(kind: type[T]) -> type[T]:
    """Register a dataclass: fields are children, but for those with ``metadata={"static": True}``.

    Unlike jax.tree_util.register_dataclass it rebuilds instances without calling the constructor: under transformations
    leaves are batched, or no arrays at all, which checks of shapes in a constructor would refuse.
    """
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    children = [field.name for field in fields if not field.metadata.get("static")]
    static = [field.name for field in fields if field.metadata.get("static")]

    def flatten_with_keys(instance: T) -> tuple[list[tuple[Any, Any]], tuple[Any, ...]]:
        keyed = [(jax.tree_util.GetAttrKey(name), getattr(instance, name)) for name in children]
        return keyed, tuple(getattr(instance, name) for name in static)

    def flatten(instance: T) -> tuple[list[Any], tuple[Any, ...]]:
        return [getattr(instance, name) for name in children], tuple(getattr(instance, name) for name in static)

    def unflatten(constants: tuple[Any, ...], values: Any) -> T:
        instance = object.__new__(kind)
        for name, value in zip([*children, *static], [*values, *constants], strict=True):
            object.__setattr__(instance, name, value)
        return instance

    jax.tree_util.register_pytree_with_keys(kind, flatten_with_keys, unflatten, flatten)
    return kind


def in_jax_precision(tree: T) -> T:
    """The tree with its floating-point arrays in the type that JAX gives floats: float32, or float64 with x64."""
    wanted = jnp.result_type(float)

    def cast(leaf: Any) -> Any:
        return leaf.astype(wanted) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(cast, tree)

"""Arrays that are divided among devices: solvers know no mesh, and leave to the compiler what its axes let it decide.

On axes of the type Auto the compiler decides everywhere. On Explicit ones, which ``jax.make_mesh`` makes by default,
the layout of an array is part of its type and every operation has to fit; a solve takes them for Auto ones inside, and
gives its answer on the mesh that it was given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

Result = TypeVar("Result")


def on_auto_axes(function: Callable[..., Result], *operands: Any) -> Result:
    """function(*operands), inside which every axis of a mesh of Explicit axes is an Auto one.

    Concrete arrays are relabelled, which copies nothing. Where an operand is traced, a result is laid out as the first
    operand of the same equations and samples is, where there is one, and else whole on every device.
    """
    leaves = [leaf for leaf in jax.tree.leaves(operands) if isinstance(leaf, jax.Array)]
    meshes = [sharding.mesh for leaf in leaves if (sharding := _explicit(leaf)) is not None]
    if not meshes:
        return function(*operands)
    if any(isinstance(leaf, jax.core.Tracer) for leaf in (*leaves, jnp.zeros(()))):  # zeros are traced inside of jit
        return _traced(function, operands, leaves, meshes[0])
    mesh: Any = next(leaf.sharding for leaf in leaves if _explicit(leaf) is not None)
    mesh = mesh.mesh  # which has devices, where that of the type has names alone
    automatic = Mesh(mesh.devices, mesh.axis_names, axis_types=(AxisType.Auto,) * len(mesh.axis_names))
    with jax.set_mesh(automatic):
        result = function(*_relabelled(operands, AxisType.Explicit, automatic))
    back: Result = _relabelled(result, AxisType.Auto, mesh)
    return back


def shapes(tree: Any) -> Any:
    """Arrays and numbers as shapes alone, which lie on no mesh."""

    def shape(leaf: Any) -> jax.ShapeDtypeStruct:
        kind = jax.typeof(leaf)
        return jax.ShapeDtypeStruct(kind.shape, kind.dtype, weak_type=kind.weak_type)

    return jax.tree.map(shape, tree)


def _explicit(leaf: jax.Array) -> NamedSharding | None:
    """How an array is laid out, if that is on a mesh with an axis of the type Explicit."""
    found = jax.typeof(leaf).sharding
    return found if found.mesh is not None and AxisType.Explicit in found.mesh.axis_types else None


def _relabelled(tree: Any, before: AxisType, mesh: Any) -> Any:
    """The arrays of a tree that lie on a mesh with axes of the type ``before`` as arrays on ``mesh``."""

    def relabel(leaf: Any) -> Any:
        sharding = getattr(leaf, "sharding", None)
        if not isinstance(sharding, NamedSharding) or before not in sharding.mesh.axis_types:
            return leaf
        return jax.device_put(leaf, NamedSharding(mesh, sharding.spec))

    return jax.tree.map(relabel, tree)


def _traced(function: Callable[..., Result], operands: Any, leaves: list[jax.Array], mesh: Any) -> Result:
    """The same for traced operands, by JAX's ``auto_axes``, which asks how the results are laid out."""
    names = tuple(
        name for name, kind in zip(mesh.axis_names, mesh.axis_types, strict=True) if kind == AxisType.Explicit
    )
    known = {leaf.shape[:2]: sharding.spec[:2] for leaf in leaves[::-1] if (sharding := _explicit(leaf)) is not None}

    def layout(leaf: Any) -> NamedSharding:
        spec = known.get(leaf.shape[:2], ()) if len(leaf.shape) > 1 else ()
        return NamedSharding(mesh, PartitionSpec(*spec))

    layouts = jax.tree.map(layout, jax.eval_shape(function, *shapes(operands)))
    inside = jax.sharding.auto_axes(function, axes=names, out_sharding=layouts)
    result: Result = jax.jit(inside)(*operands)
    return result

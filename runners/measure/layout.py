"""How a system and a solve of it lie on a mesh: by what the system says of itself, else by the shapes of arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from solvers import Progress, Solver
from solvers.equations import batch_size
from solvers.system import BATCH, EQUATIONS, Divisible


def partition_specs(system: Any) -> Any:
    """The layout of a system's arrays: what it says itself, else by their shapes."""
    return system.partition_specs() if isinstance(system, Divisible) else _by_shape(system)


def state_of(system: Any) -> Any:
    """A state of the system as shapes; its own arrays may be shapes too."""
    return jax.eval_shape(lambda system: system.initial_guess(), system)


def _by_shape(system: Any) -> Any:
    """The layout of a system that does not say it: what is laid out as its state is divided."""
    num_equations, samples = system.num_equations, batch_size(state_of(system))

    def spec(leaf: Any) -> PartitionSpec:
        found = _of_state(jnp.shape(leaf), num_equations, samples)
        return PartitionSpec() if found is None else found

    return jax.tree.map(spec, system)


def _of_state(shape: tuple[int, ...], num_equations: int, samples: int) -> PartitionSpec | None:
    """The layout of what begins with axes of equations and samples; None for anything else."""
    if shape == (num_equations,) and samples == 1:
        return PartitionSpec(EQUATIONS)
    return PartitionSpec(EQUATIONS, BATCH) if shape[:2] == (num_equations, samples) else None


@dataclass(frozen=True)
class Layout:
    """How a solve of a divided system lies on its mesh: the compiler would keep constants whole on every device."""

    mesh: Mesh | None
    num_equations: int
    samples: int

    @classmethod
    def of(cls, system: Any) -> Layout:
        """The layout for the mesh that the system's arrays are on, if they are on one."""
        found = (getattr(leaf, "sharding", None) for leaf in jax.tree.leaves(system))
        mesh = next((each.mesh for each in found if isinstance(each, NamedSharding) and each.mesh.size > 1), None)
        return cls(mesh, system.num_equations, batch_size(state_of(system)))  # type: ignore[arg-type]

    def on(self, tree: Any) -> Any:
        """States, numbers of each sample, and traces, laid out; whatever else there is stays."""
        return tree if self.mesh is None else jax.tree.map(self._placed, tree)

    def guess(self, system: Any) -> Any:
        """The system's first guess, laid out."""
        if self.mesh is None:
            return system.initial_guess()
        return jax.jit(lambda system: self.on(system.initial_guess()))(system)

    def keeping(self, advance: Callable[..., Progress], system: Any, solver: Solver, progress: Progress) -> Any:
        """``advance`` lowered, so that the layout after it is that before it, and it can be called again.

        In a function of its own: JAX keeps the programs of one as long as the function lives, and ``advance`` lives as
        long as the process, which has no memory maps left after some hundred programs.
        """
        layouts = None if self.mesh is None else jax.tree.map(lambda leaf: leaf.sharding, progress)

        def go_on(system: Any, progress: Progress, until: Any) -> Progress:
            return advance(system, solver, progress, until)

        return jax.jit(go_on, out_shardings=layouts).lower(system, progress, np.int32(0))

    def sharding(self, shape: tuple[int, ...]) -> NamedSharding | None:
        """Where an array of that shape lies: states, numbers of each sample, traces. None: the compiler decides."""
        spec = _of_state(shape, self.num_equations, self.samples)
        if spec is None and shape == (self.samples,):
            spec = PartitionSpec(BATCH)
        if spec is None and len(shape) > 1 and shape[1] == self.samples:
            spec = PartitionSpec(None, BATCH)
        return None if spec is None or self.mesh is None else NamedSharding(self.mesh, spec)

    def _placed(self, leaf: Any) -> Any:
        sharding = self.sharding(jnp.shape(leaf))
        return leaf if sharding is None else lax.with_sharding_constraint(leaf, sharding)

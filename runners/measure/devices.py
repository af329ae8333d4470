"""The devices of a run as a mesh, made of a config's ``mesh``, and arrays put where they belong on it.

Solvers know no mesh: the compiler adds what devices have to tell each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from runners.config.schema import MeshChoice, UsageError
from runners.measure.layout import partition_specs, state_of
from runners.measure.processes import several
from solvers.equations import batch_size, is_segmented
from solvers.system import BATCH, EQUATIONS, Undivided

_NO_EQUATIONS = MappingProxyType({EQUATIONS: "there are none here; divide the batch: mesh: {batch: N}"})


@dataclass(frozen=True)
class Devices:
    """The devices that share a run's work; without a mesh it is one."""

    mesh: Mesh | None = None

    @classmethod
    def for_system(cls, choice: MeshChoice | None, system: Any) -> Devices:
        """The devices that a config asks for, for the state of ``system``. Raises UsageError as ``for_batch``."""
        guess = state_of(system)
        undivided = dict(system.undivided) if isinstance(system, Undivided) else {}
        if is_segmented(guess, system.num_equations):
            undivided.setdefault(EQUATIONS, "they are segments of several shapes; divide the batch: mesh: {batch: N}")
        return cls.for_batch(choice, batch_size(guess), system.num_equations, undivided)

    @classmethod
    def for_batch(
        cls,
        choice: MeshChoice | None,
        samples: int,
        num_equations: int = 1,
        undivided: Mapping[str, str] = _NO_EQUATIONS,
    ) -> Devices:
        """The devices that a config asks for; by default all, where they divide the ``samples``, else one.

        ``undivided``: by an axis that cannot be divided the reason. Raises UsageError where the devices are not there,
        do not divide the work evenly, or some of several processes would have nothing to do.
        """
        count = jax.device_count()
        if choice is None:
            choice = MeshChoice(batch=count if samples % count == 0 or jax.process_count() > 1 else 1)
        if choice.equations > 1 and EQUATIONS in undivided:
            raise UsageError(f"mesh: equations cannot be divided: {undivided[EQUATIONS]}")
        used = choice.batch * choice.equations
        if used > count:
            raise UsageError(
                f"mesh: batch {choice.batch} times equations {choice.equations} is {used} devices, JAX finds {count}; "
                f"try {{batch: {_divisor(samples, count)}}}"
            )
        if samples % choice.batch:
            raise UsageError(
                f"mesh: batch {choice.batch} does not divide a batch of {samples} evenly; the nearest that does: "
                f"{_divisor(samples, choice.batch)}"
            )
        if num_equations % choice.equations:
            raise UsageError(
                f"mesh: equations {choice.equations} does not divide {num_equations} equations evenly; the nearest "
                f"that does: {_divisor(num_equations, choice.equations)}"
            )
        if used < count and jax.process_count() > 1:
            raise UsageError(
                f"mesh: several processes need all of their {count} devices, not {used}; change batch_size"
            )
        if used == 1:
            return cls()
        shape, names = (choice.batch, choice.equations), (BATCH, EQUATIONS)
        devices = jax.devices()[:used]
        return cls(jax.make_mesh(shape, names, axis_types=(AxisType.Auto, AxisType.Auto), devices=devices))

    @property
    def record(self) -> dict[str, int]:
        """How many devices share each axis; empty where there is one."""
        return {} if self.mesh is None else dict(self.mesh.shape)

    def divide(self, system: Any) -> Any:
        """The system with its arrays where they belong: see Divisible."""
        if self.mesh is None:
            return system
        return jax.tree.map(self._put, system, partition_specs(system))

    def whole(self, tree: Any) -> Any:
        """Arrays that every device has all of."""
        return tree if self.mesh is None else jax.tree.map(lambda leaf: self._put(leaf, PartitionSpec()), tree)

    def samples(self, tree: Any) -> Any:
        """Arrays whose leading axis, that of samples, is divided."""
        return tree if self.mesh is None else jax.tree.map(lambda leaf: self._put(leaf, PartitionSpec(BATCH)), tree)

    def by_sample(self, tree: Any) -> Any:
        """Traced arrays whose leading axis, that of samples, is divided."""
        return self._constrained(tree, PartitionSpec(BATCH))

    def by_equation(self, tree: Any) -> Any:
        """Traced arrays that are laid out as a state is, with the axes of equations and samples divided."""
        return self._constrained(tree, PartitionSpec(EQUATIONS, BATCH))

    def replicating(self, function: Callable[..., Any]) -> Any:
        """The function compiled, its results whole on every device."""
        return jax.jit(function, out_shardings=None if self.mesh is None else NamedSharding(self.mesh, PartitionSpec()))

    def _constrained(self, tree: Any, spec: PartitionSpec) -> Any:
        return tree if self.mesh is None else lax.with_sharding_constraint(tree, NamedSharding(self.mesh, spec))

    def _put(self, leaf: Any, spec: PartitionSpec) -> jax.Array:
        sharding = NamedSharding(self.mesh, spec)  # type: ignore[arg-type]  # there is one here
        if not several():
            return jax.device_put(leaf, sharding)
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            return jax.jit(lambda array: array, out_shardings=sharding)(leaf)
        if jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key):
            return jax.random.wrap_key_data(self._put(jax.random.key_data(leaf), spec), impl=jax.random.key_impl(leaf))
        # Every process has made all of it, from the same seed or file, and keeps the part of its own devices.
        return jax.make_array_from_callback(jnp.shape(leaf), sharding, lambda index: np.asarray(leaf)[index])


ONE_DEVICE = Devices()


def on_one_device(tree: Any) -> Any:
    """This process's own copy of arrays that every device has all of."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


def _divisor(number: int, at_most: int) -> int:
    """The largest divisor of a number that is no more than another."""
    return next(divisor for divisor in range(min(number, at_most), 0, -1) if number % divisor == 0)

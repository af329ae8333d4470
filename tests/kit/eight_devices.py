"""Solves on eight virtual devices, for tests in a process of their own: python -m tests.kit.eight_devices [all]."""

import json
import os
import sys

os.environ["XLA_FLAGS"] = (
    "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
)
# Collectives that do not depend on each other wait for each other where there are few threads, as on two cores.
os.environ["NPROC"] = "64"

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from benchmarks.scaling import collective_bytes
from common.errors import UserError
from runners.config.schema import MeshChoice
from runners.measure.devices import Devices
from runners.measure.layout import partition_specs
from runners.measure.timing import CompiledSolve, follow
from solvers import SOLVERS, GSJacobi, Jacobi, Newton, fits, from_function, solve
from tests.kit.bank import affine_chain, tiny_gru, tiny_made, tiny_pixelcnnpp, tiny_wavenet

LOWER = jnp.tril(jax.random.normal(jax.random.key(0), (16, 16)), -1) / 4
SYSTEMS = {
    "made": lambda: tiny_made(16, 8, 0),
    "wavenet": lambda: tiny_wavenet(16, 8, 0),
    "gru": lambda: tiny_gru(48, 8, 0),
    "affine": lambda: affine_chain(48, 8, 0),
}


def plain(x, lower):
    first = x[0] * 0.0 + 1.0
    return (lower @ jnp.tanh(x)).at[0].set(first)


def apart(a, b):
    return float(np.max(np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64))))


def explicit(axis, spec):
    """A solve of a plain function on a mesh as ``jax.make_mesh`` makes it, against one device."""
    mesh = jax.make_mesh((8,), (axis,))
    guess = jnp.ones((16, 8))
    one = solve(from_function(plain, guess, LOWER, check=False), Jacobi())
    divided = jax.device_put(guess, NamedSharding(mesh, spec))
    whole = jax.device_put(LOWER, NamedSharding(mesh, PartitionSpec()))
    eight = solve(from_function(plain, divided, whole, check=False), Jacobi())
    traced = jax.jit(lambda x: solve(from_function(plain, x, whole, check=False), Jacobi()).value)(divided)
    return {
        "apart": max(apart(one.value, eight.value), apart(one.value, traced)),
        "divided": axis in str(eight.value.sharding.spec) and axis in str(traced.sharding.spec),
        "types": str(eight.value.sharding.mesh.axis_types),
    }


def explicit_systems(**solvers):
    """Library systems on a mesh of Explicit axes: eager, and under jit with the system closed over."""
    mesh = jax.make_mesh((4, 2), ("batch", "equations"))
    found = {}
    for name, solver in solvers.items():
        system = SYSTEMS[name]()
        one = solve(system, solver)
        specs = partition_specs(system)
        divided = jax.tree.map(lambda leaf, spec: jax.device_put(leaf, NamedSharding(mesh, spec)), system, specs)
        eight = solve(divided, solver)
        with jax.set_mesh(mesh):
            closed_over = jax.jit(lambda system=divided, solver=solver: solve(system, solver).value)()
        found[name] = max(apart(one.value, eight.value), apart(one.value, closed_over))
    return found


def by_config(system, solver, choice):
    """A solve as runners have it, and the collectives of a step."""
    compiled = CompiledSolve(Devices.for_system(choice, system).divide(system), solver)
    followed = follow(compiled, lambda piece: None)
    swept = jax.jit(lambda system, x: system.sweep(x))(system, jax.tree.map(np.asarray, followed.solution.value))
    return followed.solution, {
        "residual": max(
            apart(a, b) for a, b in zip(*map(jax.tree.leaves, (swept, followed.solution.value)), strict=True)
        ),
        "status": followed.solution.outcome.label,
        "collectives": len(collective_bytes(compiled._advance.as_text())),
    }


def refusal(choice, system):
    try:
        Devices.for_system(choice, system)
    except UserError as error:
        return str(error)
    return None


def few():
    made = tiny_made(16, 16, 0)
    batch, of_batch = by_config(made, Jacobi(), None)
    _, of_equations = by_config(made, Jacobi(), MeshChoice(equations=8))
    share = type(made)(made.network, made.head, jax.tree.map(lambda noise: noise[:, :2], made.noise))
    own = solve(share, Jacobi())
    return {
        "explicit, batch": explicit("batch", PartitionSpec(None, "batch")),
        "explicit, equations": explicit("equations", PartitionSpec("equations")),
        "explicit systems": explicit_systems(made=Jacobi()),
        "batch": {**of_batch, "of_a_share": apart(np.asarray(batch.value)[:, :2], own.value)},
        "equations": of_equations,
        "refusals": {
            "too_many": refusal(MeshChoice(batch=4, equations=4), made),
            "uneven_batch": refusal(MeshChoice(batch=5), made),
            "uneven_equations": refusal(MeshChoice(equations=5), made),
            "pixelcnnpp": refusal(MeshChoice(equations=2), tiny_pixelcnnpp((4, 4, 1), 2, 0)),
        },
        "default": Devices.for_system(None, tiny_made(4, 3, 0)).record,
    }


def everything():
    found = {}
    for name, difference in explicit_systems(made=GSJacobi(8), wavenet=Jacobi(), gru=Newton()).items():
        found[f"{name}, explicit"] = {"apart": difference, "residual": 0.0, "status": "converged", "one": "converged"}
    for name, make in SYSTEMS.items():
        system = make()
        for solver_name, kind in SOLVERS.items():
            solver = kind()
            if not fits(solver, system):
                continue
            try:
                one = solve(system, solver, throw=False)
            except ValueError:  # class ids have no derivatives
                continue
            for axis in ("batch", "equations"):
                solution, record = by_config(system, solver, MeshChoice(**{axis: 8}))
                pairs = zip(*map(jax.tree.leaves, (one.value, solution.value)), strict=True)
                record["apart"] = max(apart(a, b) for a, b in pairs)
                found[f"{name}, {solver_name}, {axis}"] = {**record, "one": one.outcome.label}
    return found


if __name__ == "__main__":
    print(json.dumps(everything() if "all" in sys.argv else few()))

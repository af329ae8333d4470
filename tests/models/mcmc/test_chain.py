"""Chains with bound noise: kernels, targets, and the same samples and decisions in parallel as one by one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.options import build_options
from models import PROBLEMS
from models.mcmc import KERNELS, TARGETS
from models.mcmc.kernels import HMC, MALA, RandomWalk
from models.mcmc.targets import LogisticRegression, Whitened, whitened
from solvers import Newton, Status, solve
from solvers.systems.recurrence import shifted


class Normal:
    """A standard normal."""

    num_features = 3

    def log_density(self, x: Any) -> Any:
        return -jnp.sum(x**2, axis=-1) / 2


def chain(**options: Any) -> Any:
    return build_options(PROBLEMS["mcmc"], {"target": {"name": "two_wells"}, **options}).system(0)


def along(system: Any) -> Any:
    return jax.jit(lambda s: s.forward_substitution(s.init_cache(), 0, s.num_equations)[0])(system)


def log_ratio_by_hand(name: str, h: float, steps: int, x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, float]:
    """The proposal and the log ratio on a standard normal, in float64."""

    def log_p(x: np.ndarray) -> float:
        return float(-(x**2).sum() / 2)

    def log_q(to: np.ndarray, start: np.ndarray) -> float:
        return float(-((to - start * (1 - h**2 / 2)) ** 2).sum() / (2 * h**2))

    if name == "random_walk":
        new = x + h * z
        return new, log_p(new) - log_p(x)
    if name == "mala":
        new = x - h**2 / 2 * x + h * z
        return new, log_p(new) - log_p(x) + log_q(x, new) - log_q(new, x)
    new, p = x, z
    for _ in range(steps):
        p = p - h / 2 * new
        new = new + h * p
        p = p - h / 2 * new
    return new, log_p(new) - log_p(x) + float((z**2).sum() - (p**2).sum()) / 2


@pytest.mark.parametrize(
    ("name", "kernel"), [("random_walk", RandomWalk(0.5)), ("mala", MALA(0.5)), ("hmc", HMC(0.4, leapfrog_steps=3))]
)
def test_proposals_and_ratios_are_those_worked_out_by_hand(name: str, kernel: Any) -> None:
    x, z = np.random.default_rng(0).normal(size=(2, 5, 3))
    proposals, ratios = kernel.propose(Normal(), jnp.asarray(x, jnp.float32), jnp.asarray(z, jnp.float32))
    for i in range(5):
        proposal, ratio = log_ratio_by_hand(name, kernel.step_size, 3, x[i], z[i])
        np.testing.assert_allclose(proposals[i], proposal, rtol=1e-5, atol=1e-5)
        assert float(ratios[i]) == pytest.approx(ratio, abs=1e-5)
    slope = jax.jacfwd(lambda x: kernel.propose(Normal(), x, jnp.asarray(z[0], jnp.float32))[0])(jnp.ones(3))
    np.testing.assert_allclose(slope, kernel.normal_slope * np.eye(3), atol=1e-6)


@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel_leaves_two_wells_as_they_are(name: str) -> None:
    sizes = {"random_walk": 1.0, "mala": 0.6, "hmc": 0.4}
    system = chain(num_steps=3000, batch_size=8, kernel={"name": name, "step_size": sizes[name]})
    x = np.asarray(along(system))[100:]
    grid = np.linspace(-2.5, 2.5, 2001)
    weights = np.exp(-2.0 * (grid**2 - 1) ** 2)
    assert np.mean(x[..., 0] ** 2) == pytest.approx(np.sum(weights * grid**2) / np.sum(weights), abs=0.04)
    assert np.mean(x[..., 0]) == pytest.approx(0, abs=0.2)
    assert np.var(x[..., 1]) == pytest.approx(1, abs=0.1)


def test_a_sample_takes_as_many_kernel_steps_as_it_is_thinned_by() -> None:
    thinned = chain(num_steps=6, batch_size=2, thin=3, kernel={"name": "mala"})
    x = thinned.first
    for t in range(6):
        for k in range(3):
            proposal, ratio = thinned.kernel.propose(thinned.target, x, thinned.normals[t, :, k])
            x = jnp.where((thinned.log_uniforms[t, :, k] < ratio)[:, None], proposal, x)
    np.testing.assert_allclose(along(thinned)[-1], x, rtol=1e-5, atol=1e-6)


def test_chains_are_the_same_in_parallel_and_decide_the_same() -> None:
    wells = chain(num_steps=300, batch_size=3, target={"name": "two_wells", "features": 3})
    system = dataclasses.replace(wells, target=regression(np.random.default_rng(3)), kernel=HMC(0.4, leapfrog_steps=4))
    exact, found = along(system), solve(system, Newton(jacobian="system"))
    assert found.outcome is Status.CONVERGED
    assert int(found.stats.num_steps) < 30
    np.testing.assert_allclose(found.value, exact, atol=1e-4)
    one, other = (system.accepted(shifted(system.initial_state, x)) for x in (exact, found.value))
    np.testing.assert_array_equal(one, other)
    assert 0.3 < float(jnp.mean(one)) < 1


def regression(rng: np.random.Generator) -> Whitened:
    inputs = rng.normal(size=(40, 3))
    classes = np.where(inputs[:, 0] + rng.normal(size=40) > 0, 1.0, -1.0)
    return whitened(LogisticRegression(jnp.asarray(inputs), jnp.asarray(classes), jnp.asarray(1.0)))


def test_a_logistic_regression_is_about_standard_normal_where_it_is_whitened() -> None:
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(40, 3)) @ np.diag([1.0, 5.0, 0.2])
    classes = np.where(inputs @ [1.0, -0.3, 2.0] + rng.normal(size=40) > 0, 1.0, -1.0)
    target = LogisticRegression(jnp.asarray(inputs), jnp.asarray(classes), jnp.asarray(2.0))
    x = rng.normal(size=3)
    expected = -np.log1p(np.exp(-classes * (inputs @ x))).sum() - (x**2).sum() / 8
    assert float(target.log_density(jnp.asarray(x))) == pytest.approx(expected, rel=1e-5)
    white = whitened(target)
    origin = jnp.zeros(3)
    np.testing.assert_allclose(jax.grad(white.log_density)(origin), 0, atol=1e-4)
    np.testing.assert_allclose(jax.hessian(white.log_density)(origin), -np.eye(3), atol=1e-3)
    np.testing.assert_allclose(white.outside(origin), white.center)


def test_eight_schools_by_numpy() -> None:
    target = TARGETS["eight_schools"]().target()
    assert isinstance(target, Whitened)
    x = np.random.default_rng(2).normal(size=10)
    y, s = np.asarray(target.target.effects), np.asarray(target.target.errors)
    mean, scale = x[0], np.exp(x[1])
    expected = -((y - mean - scale * x[2:]) ** 2 / (2 * s**2)).sum() - (x[2:] ** 2).sum() / 2
    expected += -(mean**2) / 50 - np.log(1 + scale**2 / 25) + x[1]
    assert float(target.target.log_density(jnp.asarray(x))) == pytest.approx(expected, rel=1e-5)


OWN = """
import jax.numpy as jnp

class Square:
    num_features = 2
    def __init__(self, scale):
        self.scale = scale
    def log_density(self, x):
        return -jnp.sum((x / self.scale) ** 4, axis=-1)

def flat(): return 3
"""


def test_a_plain_class_of_ones_own_is_a_target(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    own = {"path": str(tmp_path / "own.py"), "name": "Square", "scale": 1.5}
    system = chain(num_steps=4, batch_size=2, target=own)
    assert jax.tree.leaves(system.target) == []
    assert along(system).shape == (4, 2, 2)
    np.testing.assert_allclose(system.target.log_density(jnp.full((3, 2), 1.5)), -2.0)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"target": {"name": "two_well"}}, "unknown target 'two_well'; did you mean 'two_wells'?"),
        ({"target": {}}, "target needs a name, one of breast_cancer"),
        ({"target": {"name": "two_wells", "barrier": 0}}, "target two_wells: barrier should be more than 0, not 0"),
        ({"kernel": {"name": "nuts"}}, "unknown kernel 'nuts'"),
        ({"kernel": {"name": "mala", "step_size": -0.1}}, "kernel mala: step_size should be more than 0, not -0.1"),
        ({"kernel": {"name": "hmc", "leapfrog_steps": 0}}, "leapfrog_steps should be at least 1, not 0"),
        ({"batch_size": 0}, "batch_size should be at least 1, not 0"),
        ({"thin": 0}, "thin should be at least 1, not 0"),
        ({"target": {"path": "own.py", "name": "flat"}}, "target: flat should make what has num_features"),
        ({"target": {"path": "own.py", "name": "Square"}}, "target: Square: option scale is missing"),
    ],
)
def test_mistakes_are_one_sentence(
    options: Any, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=sentence.replace("?", r"\?")):
        chain(num_steps=3, **options)

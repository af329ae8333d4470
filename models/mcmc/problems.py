"""Targets by name with their options, and chains of any kernel on them, as a config states them."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import Field

from common.code import load_object
from common.errors import UserError
from common.options import arguments_for, build_options
from models.mcmc import KERNELS, TARGETS
from models.mcmc.chain import Chain
from models.mcmc.kernels import Kernel
from models.mcmc.targets import EightSchools, LogisticRegression, Plain, Target, TwoWell, Whitened, whitened
from models.problem import Count, Positive, Problem


class ChainError(UserError):
    """A target or a kernel that cannot be had."""


@dataclass(frozen=True)
class TargetOptions(ABC):
    """The options of a target, every one with a default."""

    @abstractmethod
    def target(self) -> Any:
        """The Target, in coordinates of about unit scale."""


@dataclass(frozen=True)
class BreastCancer(TargetOptions):
    """Logistic regression of 569 tumours, benign or malignant, on 30 measurements and a constant; D = 31."""

    prior_scale: Positive = 0.5  # standard deviation of the weights of standardized measurements

    def target(self) -> Whitened:
        """The posterior of the weights, in coordinates in which it is about standard normal.

        The data are those of scikit-learn, which must be installed (Wolberg, Mangasarian, Street and Street, "Breast
        cancer Wisconsin (diagnostic)", UCI Machine Learning Repository, 1995, CC BY 4.0).
        """
        from sklearn.datasets import load_breast_cancer

        found = load_breast_cancer()
        standard = (found.data - found.data.mean(axis=0)) / found.data.std(axis=0)
        inputs = jnp.asarray(np.concatenate([np.ones((len(standard), 1)), standard], axis=1), float)
        return whitened(
            LogisticRegression(inputs, jnp.asarray(2.0 * found.target - 1.0), jnp.asarray(self.prior_scale, float))
        )


@dataclass(frozen=True)
class TwoWells(TargetOptions):
    """Two wells with a barrier between them."""

    barrier: Positive = 2.0  # in units of temperature
    features: Annotated[Count, Field(le=10_000)] = 2

    def target(self) -> TwoWell:
        """As it is: wells are at -1 and 1."""
        return TwoWell(jnp.asarray(self.barrier, float), jnp.zeros(self.features - 1))


@dataclass(frozen=True)
class Schools(TargetOptions):
    """The effects of coaching in eight schools; D = 10."""

    def target(self) -> Whitened:
        """Around typical values of the mean effect, 4, and of the effects' scale, e, of whose posterior they are."""
        effects = jnp.asarray([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
        errors = jnp.asarray([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
        center = jnp.asarray([4.0, 1.0, *(0.0 for _ in effects)])
        scales = jnp.asarray([3.0, 1.0, *(1.0 for _ in effects)])
        return Whitened(EightSchools(effects, errors), center, jnp.diag(scales))


@dataclass(frozen=True)
class ChainProblem(Problem):
    """Chains of Markov chain Monte Carlo, whose noise is bound beforehand; see MCMCRunner."""

    num_steps: Count = 10_000  # samples of each chain
    batch_size: Count = 4  # chains
    # {name: ...}, one of models.mcmc.TARGETS; or {path: my_target.py, name: MyTarget, ...options}, run as code.
    target: dict[str, Any] = field(default_factory=lambda: {"name": "breast_cancer"})
    kernel: dict[str, Any] = field(default_factory=lambda: {"name": "hmc"})  # {name: ...}, one of models.mcmc.KERNELS
    thin: Count = 1  # kernel steps from a sample to the next

    def __post_init__(self) -> None:
        kernel = {"name": self.kernel.get("name"), **dataclasses.asdict(self._kernel())}
        object.__setattr__(self, "kernel", kernel)
        if self.target.get("path") is None:
            options = dataclasses.asdict(_named("target", TARGETS, self.target))
            object.__setattr__(self, "target", {"name": self.target.get("name"), **options})

    def system(self, seed: int) -> Chain:
        """Chains from normal first states, with normal and uniform noise."""
        target = self._target()
        keys = jax.random.split(jax.random.key(seed), 3)
        shape = (self.num_steps, self.batch_size, self.thin)
        least = float(jnp.finfo(float).tiny)  # a uniform number may be 0
        return Chain(
            target,
            self._kernel(),
            jax.random.normal(keys[0], (*shape, target.num_features)),
            jnp.log(jax.random.uniform(keys[1], shape, minval=least)),
            jax.random.normal(keys[2], (self.batch_size, target.num_features)),
        )

    def _kernel(self) -> Kernel:
        kernel: Kernel = _named("kernel", KERNELS, self.kernel)
        return kernel

    def _target(self) -> Any:
        if self.target.get("path") is None:
            return _named("target", TARGETS, self.target).target()
        source = f"target: {self.target.get('name')}"
        options = {key: value for key, value in self.target.items() if key not in ("path", "name")}
        make = load_object(self.target["path"], self.target.get("name"))
        try:
            arguments = arguments_for(make, options, source)
        except ValueError as error:
            raise ChainError(str(error)) from None
        target = make(**arguments)
        if not isinstance(target, Target):
            raise ChainError(f"{source} should make what has num_features and log_density(x), not {target!r:.50}")
        found = jax.eval_shape(target.log_density, jnp.zeros((2, 3, target.num_features)))
        if getattr(found, "shape", None) != (2, 3):
            raise ChainError(f"{source}: log_density of states (2, 3, D) should give (2, 3) numbers, not {found}")
        return Plain(target) if any(leaf is target for leaf in jax.tree.leaves(target)) else target


def _named(kind: str, table: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    """An instance of a table's class with the other options. Raises ValueError, one sentence."""
    if options.get("name") is None:
        raise ValueError(f"{kind} needs a name, one of {', '.join(table)}")
    rest = {key: value for key, value in options.items() if key not in ("path", "name")}
    try:
        return build_options(table[options["name"]], rest)
    except ValueError as error:
        raise ValueError(f"{kind} {options['name']}: {error}") from None

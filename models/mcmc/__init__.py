"""Chains of Markov chain Monte Carlo whose noise is bound beforehand: states that follow from one another."""

from __future__ import annotations

from typing import Any

from common.table import Table

# What chains sample from, and how they propose a next state.
TARGETS: Table[Any] = Table(
    "target",
    {
        "breast_cancer": "models.mcmc.problems:BreastCancer",
        "two_wells": "models.mcmc.problems:TwoWells",
        "eight_schools": "models.mcmc.problems:Schools",
    },
)
KERNELS: Table[Any] = Table(
    "kernel",
    {
        "random_walk": "models.mcmc.kernels:RandomWalk",
        "mala": "models.mcmc.kernels:MALA",
        "hmc": "models.mcmc.kernels:HMC",
    },
)

"""Twelve random systems of all dtypes and layouts; ``python -m tests.fuzz.solvers 5000`` runs many more."""

from solvers import SOLVERS
from tests.fuzz.solvers import programs, run


def test_random_systems_by_random_solvers():
    outcome = run(12, seed=0)
    assert not outcome.faults, "\n".join(outcome.faults)
    assert outcome.cases == 12
    assert outcome.ends["converged"] > 4


def test_every_solver_is_tried():
    assert {type(solver) for _, solver in programs()} == set(SOLVERS.values())

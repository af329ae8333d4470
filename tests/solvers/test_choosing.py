"""The choice of a solver: candidates, pilots, and what is told from a part of a solve."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solvers import (
    ELK,
    CachedSequential,
    DenseNewton,
    GSJacobi,
    Jacobi,
    JacobiGS,
    Newton,
    PairingError,
    ParallelScan,
    Parareal,
    Picard,
    QuasiELK,
    QuasiNewton,
    Segmented,
    Windowed,
    choose,
    from_function,
    kept_choice,
    solve,
)
from solvers.choosing import search
from solvers.choosing.candidates import candidates, floats_of
from solvers.choosing.facts import Facts, Spread, Sweep, Sweeps, unknown
from solvers.choosing.forgetting import apart
from solvers.choosing.known import Known
from solvers.choosing.model import modelled, products_s, steps_of_a_round
from solvers.choosing.pilot import Flight, Pilot, Point, _flies_on
from solvers.choosing.prediction import (
    EXTRAPOLATED,
    FAILED,
    HURRIED,
    MEASURED,
    MODELLED,
    SCOUTED,
    SWEPT,
    Prediction,
    measured,
    scouted,
)
from solvers.choosing.program import CompileTimes, Program, operations, side_by_side
from tests.kit.bank import (
    Chain,
    Driven,
    affine_chain,
    chain,
    contractive_link,
    linear_link,
    tiny_flow,
    tiny_flow_block,
    tiny_gru,
    tiny_made,
)

FACTS = Facts(100, 1, 0.01, (1.0, 1.0, 1.0), False, 6.0)


def pilot_of(system, solver, quick=False) -> Pilot:
    return Pilot(Program(system, solver), quick)


def sweeps_of(system, limit_s: float) -> Sweeps:
    sweep = Sweep(system)
    return Sweeps(sweep, sweep.compile(quick=False), limit_s)


def unfinished(*points: Point) -> Flight:
    return Flight(list(points), converged=False, failed=False, seconds=None, x=None)


def test_candidates_are_told_apart_and_fit() -> None:
    found = candidates(tiny_made(12, 2, 0))
    assert {"sequential", "cached_sequential", "jacobi", "anderson", "dense_newton"} <= set(found)
    sizes = [solver.block_size for solver in found.values() if isinstance(solver, GSJacobi)]
    assert len(sizes) == len(set(sizes)) > 1
    assert all(1 < size <= 6 for size in sizes)
    assert not {"newton", "segmented", "parallel_scan"} & set(found)
    assert "windowed(solver=picard, slide=True)" in candidates(tiny_gru(12, 2, 0))


def test_candidates_are_those_that_are_wanted_and_have_room() -> None:
    gru = tiny_gru(12, 2, 0)
    without = candidates(gru, without=["picard", "sequential"])
    assert "sequential" not in without
    assert not [label for label in without if "picard" in label]  # inside others neither
    small = candidates(gru, memory_bytes=1000)
    assert "jacobi" in small
    assert "newton" not in small
    loose = candidates(gru, tol=1e-3)
    assert {solver.tol for solver in loose.values()} == {1e-3}
    assert not [label for label in candidates(gru, also=[Jacobi(tol=0.1)]) if "tol" in label]  # it is content with less
    assert "newton" not in candidates(gru, allowed=lambda solver: not isinstance(solver, Newton))
    with pytest.raises(ValueError, match="without: there is no solver 'jacoby'; there are sequential, "):
        candidates(gru, without=["jacoby"])


@pytest.mark.parametrize("num_equations", [0, 1])
@pytest.mark.parametrize("blocks", [False, True])
def test_a_system_of_no_equation_or_one_is_solved(num_equations: int, blocks: bool) -> None:
    plain = from_function(lambda x: jnp.zeros_like(x), jnp.zeros((num_equations, 1)))
    system = chain(linear_link, num_equations, 2, 0) if blocks else plain
    chosen = choose(system, without=["anderson", "triangular_anderson", "dense_newton"], budget_s=0.5)
    assert solve(system, chosen.solver).status == 0


def test_whole_numbers_of_order_one_have_candidates_without_derivatives() -> None:
    counting = Driven(lambda x, s, _: x + s, jnp.ones((10, 2), jnp.int32), jnp.zeros(2, jnp.int32))
    found = candidates(counting)
    assert {"sequential", "cached_sequential", "jacobi"} <= set(found)
    assert [label for label in found if label.startswith("gs_jacobi")]
    assert not [label for label in found if "newton" in label or "elk" in label]


def test_what_is_chosen_for_the_fewest_steps_takes_the_fewest() -> None:
    system = tiny_made(12, 2, 0)
    others = ["dense_newton", "anderson", "triangular_anderson", "jacobi_gs", "sliding_gs_jacobi"]
    chosen = choose(system, objective="steps", without=others, also=[GSJacobi(block_size=5)], budget_s=60.0)
    steps = int(solve(system, chosen.solver).stats.num_steps)
    assert chosen.prediction.num_steps == steps
    assert steps <= int(solve(system, Jacobi()).stats.num_steps)
    assert chosen.predictions[0].label == chosen.label
    assert "gs_jacobi(block_size=5)" in chosen.candidates
    assert chosen.label in str(chosen)
    assert {each.label for each in chosen.predictions} == set(chosen.candidates)


def test_a_choice_is_kept_as_plain_values() -> None:
    system = tiny_made(8, 2, 0)
    chosen = choose(system, budget_s=0.01)
    again = kept_choice(json.loads(json.dumps(chosen.record)), system)
    assert replace(again, pilot_s=chosen.pilot_s) == replace(chosen, candidates=again.candidates)
    with pytest.raises(KeyError):
        kept_choice({**chosen.record, "solver": "jacoby"}, system)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"objective": "speed"}, ValueError, "objective must be one of time, steps, memory, not 'speed'"),
        ({"budget_s": 0.0}, ValueError, "budget_s must be positive, not 0.0"),
        (
            {"without": ["jacobi", "sequential", "anderson", "triangular_anderson", "dense_newton"]},
            PairingError,
            "no solver is left for FunctionSystem without anderson, dense_newton, jacobi",
        ),
    ],
)
def test_mistakes_are_told(options, error, message) -> None:
    system = from_function(lambda x: jnp.zeros_like(x), jnp.zeros((4, 1)))
    with pytest.raises(error, match=message):
        choose(system, **options)


def test_a_program_that_fails_is_no_candidate(monkeypatch) -> None:
    class Broken(Pilot):
        def __init__(self, program, quick):
            if isinstance(program.solver, Jacobi):
                raise RuntimeError("no room")
            super().__init__(program, quick)

    monkeypatch.setattr(search, "Pilot", Broken)
    system = from_function(lambda x: jnp.zeros_like(x), jnp.zeros((4, 1)))
    chosen = choose(system, objective="steps", without=["anderson", "triangular_anderson"], budget_s=2.0)
    basis = {each.label: each.basis for each in chosen.predictions}
    assert basis["jacobi"] in (FAILED, MODELLED)
    assert chosen.label != "jacobi"


@pytest.mark.parametrize("hurry", [False, True])
def test_what_fails_in_full_stays_failed_and_what_fails_in_a_hurry_is_not_condemned(monkeypatch, hurry) -> None:
    class Broken(Pilot):
        def __init__(self, program, quick):
            if isinstance(program.solver, Picard) and quick == hurry:
                broken.append(program.solver)
                raise RuntimeError("no room")
            super().__init__(program, quick)

    broken: list[Picard] = []
    monkeypatch.setattr(search, "Pilot", Broken)
    few, objective = (CachedSequential, Jacobi, Picard), "time" if hurry else "memory"  # by memory all are run in full
    system = chain(contractive_link, 30, 2, 0)
    chosen = choose(system, objective=objective, allowed=lambda solver: type(solver) in few, budget_s=30.0)
    basis = {each.label: each.basis for each in chosen.predictions}
    assert len(broken) == 1
    assert (basis["picard"] == FAILED) == (not hurry)
    assert hurry or chosen.label != "picard"


def test_a_pilot_stops_in_time_and_at_the_end() -> None:
    system = chain(lambda x, b: x + b + 1.0, 40, 2, 0)
    pilot = pilot_of(system, Jacobi())
    begun, done = pilot.fly(1e-9), pilot.fly(60.0)
    assert not begun.converged
    assert begun.points[-1].num_steps == 1
    assert done.converged
    assert done.points[-1].num_steps == 41
    assert (done.points[-1].frontier, done.points[-1].slowest) == (40, 40)
    np.testing.assert_array_equal(done.x, solve(system, Jacobi()).value)
    told = measured("jacobi", begun, 40, 0.0, 41, pilot.memory_bytes)
    assert told.basis == EXTRAPOLATED
    assert told.num_steps == pytest.approx(41, abs=1)
    assert measured("jacobi", done, 40, 0.0, 41, None).basis == MEASURED


def test_a_scout_counts_steps_and_leaves_the_time_to_the_model() -> None:
    system = tiny_gru(30, 2, 0)
    scout, pilot = (pilot_of(system, Newton(), quick).fly(60.0) for quick in (True, False))
    assert scout.points[-1].num_steps == pilot.points[-1].num_steps
    said = Prediction("newton", MODELLED, 10, (5, 20), 1.0, (0.5, 2.0))
    found = replace(said, basis=EXTRAPOLATED, num_steps=4, steps_range=(4, 6), time_s=9.0, memory_bytes=7)
    told = scouted(said, found, certain=False)
    assert (told.basis, told.num_steps, told.steps_range, told.memory_bytes) == (SCOUTED, 4, (4, 6), 7)
    assert (told.time_s, told.time_range) == (pytest.approx(0.4), pytest.approx((0.2, 1.2)))
    assert scouted(said, replace(found, basis=FAILED), certain=True).basis == FAILED


@pytest.mark.parametrize(("modelled_s", "expected_s"), [(0.01, 1.0), (2.0, 2.0), (100.0, 8.0 / 2**0.5)])
def test_a_scout_that_came_to_its_end_bounds_the_time(modelled_s: float, expected_s: float) -> None:
    said = Prediction("newton", MODELLED, 4, (1, 9), modelled_s, (modelled_s / 3, 3 * modelled_s))
    found = replace(said, basis=MEASURED, steps_range=(4, 4), time_s=8.0)
    told = scouted(said, found, certain=True)
    assert (told.basis, told.num_steps) == (HURRIED, 4)
    assert told.time_s == pytest.approx(expected_s)
    assert told.time_range == (1.0, 8.0)
    part = scouted(said, replace(found, basis=EXTRAPOLATED), certain=True)  # of forward substitution, some of it
    assert (part.basis, part.time_s) == (SCOUTED, told.time_s)


def test_a_pilot_that_went_on_has_more_steps_before_it_than_behind() -> None:
    found = Prediction("parareal", EXTRAPOLATED, 100, (50, 200), 10.0, (5.0, 20.0))
    said = Prediction("parareal", MODELLED, 30, (10, 90), 7.0, (1.0, 50.0))
    told = found.with_steps_of(said, at_least=4)
    assert (told.basis, told.num_steps, told.steps_range) == (EXTRAPOLATED, 30, (10, 90))
    assert (told.time_s, told.time_range) == (pytest.approx(3.0), pytest.approx((1.0, 9.0)))
    assert found.with_steps_of(said, at_least=40).steps_range == (41, 90)


def test_a_kind_of_solver_that_is_not_flown_is_scouted(monkeypatch) -> None:
    few = (CachedSequential, Jacobi, Newton, Picard)
    system = chain(contractive_link, 40, 2, 0)
    monkeypatch.setattr(search, "_NEAR", 0.0)  # nothing is near the best
    chosen = choose(system, allowed=lambda solver: type(solver) in few, budget_s=60.0)
    basis = {each.label: each.basis for each in chosen.predictions}
    assert basis == {"cached_sequential": MEASURED, "jacobi": SWEPT, "newton": HURRIED, "picard": HURRIED}
    steps = {each.label: each.num_steps for each in chosen.predictions}
    assert steps["newton"] == int(solve(system, Newton()).stats.num_steps)


def test_a_solver_that_was_only_scouted_is_chosen_where_it_is_surely_faster() -> None:
    flown = Prediction("parallel_scan", MEASURED, 1, (1, 1), 0.28, (0.27, 0.29))
    jacobi = Prediction("jacobi", SCOUTED, 28, (28, 28), 0.02, (0.01, 0.2))
    perhaps = Prediction("newton", SCOUTED, 9, (2, 100), 0.01, (0.001, 0.5))
    guessed = Prediction("picard", MODELLED, 3, (3, 3), 0.001, (0.001, 0.001))

    solved = Prediction("elk", HURRIED, 9, (9, 9), 0.1, (0.05, 0.4))

    def best(*expected: Prediction, objective: str = "time") -> str:
        found = object.__new__(Known)
        found.objective, found.expected = objective, {each.label: each for each in expected}
        return found.best.label

    assert best(flown, solved, guessed) == "elk"
    assert best(flown, replace(solved, time_s=0.2), guessed) == "parallel_scan"  # that may be an error of the model
    assert best(solved, guessed) == "elk"
    assert best(flown, jacobi, perhaps, guessed) == "jacobi"
    assert best(flown, perhaps, guessed) == "parallel_scan"
    assert best(flown, jacobi, guessed, objective="memory") == "parallel_scan"


def test_steps_go_on_as_the_prefix_grew_or_as_the_residual_fell() -> None:
    nothing = Point(0, 0, 0.0, 0.0, 0, math.inf, 0.0)
    half, last = Point(5, 5, 5.0, 8.0, 6, 1.0, 0.5), Point(10, 10, 10.0, 18.0, 16, 1.0, 1.0)
    by_prefix = measured("a", unfinished(nothing, half, last), 100, 0.0, 101, None)
    assert by_prefix.num_steps == 10 + 42  # 84 are left of the slowest sample, and 2 come with each step
    assert by_prefix.time_s == pytest.approx(5.2)
    assert by_prefix.steps_range[0] <= 52 <= by_prefix.steps_range[1]
    falling = unfinished(nothing, half, last._replace(residual=0.1))
    assert measured("a", falling, 1000, 1e-3, 1001, None).num_steps == 20  # ten times less in five steps
    stuck = unfinished(nothing, half, last._replace(frontier=8.0, residual=2.0))
    assert measured("a", stuck, 100, 0.0, 50, None).num_steps == 50  # 8 in 10 steps would be more than its bound


def test_a_solve_that_ends_without_a_solution_is_none() -> None:
    flight = Flight([Point(3, 3, 3.0, 1.0, 1, math.inf, 0.1)], converged=False, failed=True, seconds=None, x=None)
    told = measured("a", flight, 10, 0.0, 11, 5)
    assert told.basis == FAILED
    assert told.cost("time") == told.cost("memory") == math.inf


def test_spreading_tells_steps_of_blocks_and_of_the_whole() -> None:
    grown = np.array([[2.0, 1.0], [4.0, 2.0], [6.0, 3.0]])
    spread = Spread(grown, np.array([75.0, 25.0]))
    assert spread.steps_through(4).tolist() == [2.0, 5 - 1]
    assert spread.steps_through(50).tolist() == [25.0, 25.0]  # the second has 25 equations left
    facts = replace(FACTS, warm=spread, cold=spread)
    assert facts.jacobi_steps(0.0) == pytest.approx(1 + 100 * (25 + 25) / (50 + 25))
    assert facts.steps_through(4) == pytest.approx(3.0)
    assert replace(facts, settled=True).jacobi_steps(0.0) == 3
    assert replace(facts, gaps=(1e3, 1e2, 1e1, 1.0, 0.1, 0.01)).jacobi_steps(1e-5) == pytest.approx(6 + 3)
    assert replace(facts, gaps=(1.0, 0.1, 0.01)).fading(1e-5) == math.inf  # too few to tell


def test_blocks_that_were_solved_tell_of_others() -> None:
    one = replace(FACTS, blocks=((10, 4.0),))
    assert one.steps_through(20) == pytest.approx(8.0)  # as the prefix grew at the beginning: twice the length
    two = replace(FACTS, blocks=((40, 6.0), (10, 3.0)))
    assert two.steps_through(20) == pytest.approx(3 * 2**0.5)  # twice the sweeps for four times the length
    assert two.steps_through(100) == pytest.approx(6 * 2.5**0.5)
    assert two.steps_through(2) == pytest.approx(3 * 0.2**0.5)
    assert two.jacobi_steps(0.0) == pytest.approx(6 * 2.5**0.5 + 1)
    three = replace(FACTS, blocks=((50, 5.0), (10, 5.0), (25, 5.0)))
    assert [three.steps_through(length) for length in (4, 12, 30, 100)] == [4.0, 5.0, 5.0, 5.0]


def test_differences_fade_to_the_tolerance_or_to_rounding() -> None:
    falling = replace(FACTS, gaps=(8.0, 4.0, 2.0, 1.0, 1e-1, 1e-2, 1e-3))
    assert falling.fading(0.0) == pytest.approx(7 + 4)  # ten times less in each
    assert falling.fading(1e-5) == pytest.approx(7 + 2)
    assert falling.fading(0.1) == 5  # this was seen
    assert FACTS.fading(0.0) == math.inf
    assert replace(FACTS, gaps=(1.0, 0.5, 0.0)).fading(0.0) == 3
    assert replace(FACTS, gaps=(1.0, math.nan, math.nan)).fading(0.0) == math.inf


def test_sweeps_see_what_the_system_does() -> None:
    system = chain(contractive_link, 60, 2, 0)
    sweeps = sweeps_of(system, 60.0)
    assert sweeps.facts.settled
    assert sweeps.facts.jacobi_steps(Jacobi().tol) == int(solve(system, Jacobi()).stats.num_steps)
    steady = chain(lambda x, b: x + b + 1.0, 90, 2, 0)
    seen = sweeps_of(steady, 1e-9)
    assert not seen.facts.settled
    seen.look(solve(steady, Jacobi()).value, 1e-9)
    assert seen.facts.cold.grown.shape == (2, 1)  # at one place each, as there is no time for more
    assert not seen.look(solve(steady, Jacobi()).value, 1e-9)
    assert seen.look(solve(steady, Jacobi()).value, 60.0)
    assert seen.facts.cold.grown.shape == seen.facts.warm.grown.shape == (64, 6)
    assert seen.facts.jacobi_steps(0.0) == pytest.approx(91, abs=1)
    assert seen.facts.steps_through(10) == pytest.approx(10, abs=1)


def test_a_batch_looks_at_both_kinds_of_places_in_the_same_sweeps() -> None:
    steady = chain(lambda x, b: x + b + 1.0, 90, 16, 0)
    seen = sweeps_of(steady, 1e-9)
    assert seen.look(solve(steady, Jacobi()).value, 60.0)
    assert seen.facts.cold.room.tolist() == [90.0 - i * 90 // 8 for i in range(8)]
    assert seen.facts.warm.room[0] == 90 - int(seen.facts.frontier)
    np.testing.assert_array_equal(seen.facts.cold.grown[:, 0], np.arange(1, 65))


def test_no_fewer_sweeps_are_expected_than_were_made_in_vain() -> None:
    at_once = Spread(np.full((2, 1), 100.0), np.array([100.0]))  # nearly solved by the sweeps before
    facts = replace(FACTS, warm=at_once, cold=at_once)
    assert facts.jacobi_steps(0.0) == 4


def test_a_tolerance_that_sweeps_have_met_tells_the_steps() -> None:
    seen = replace(FACTS, gaps=(1.0, 1e-3, 1e-5, 1e-6))
    assert seen.ends(1e-4) == seen.jacobi_steps(1e-4) == 3
    assert seen.ends(1e-7) is None
    system = affine_chain(40, 2, 0)
    assert modelled("a", Jacobi(tol=1e-4), system, seen).basis == SWEPT
    assert modelled("a", Jacobi(tol=1e-7), system, seen).basis == MODELLED


def test_a_system_forgets_where_it_began_as_fast_as_distances_fall() -> None:
    halving = chain(lambda x, b: 0.5 * x + b, 200, 2, 0)
    zeros = jnp.zeros_like(halving.initial_guess())
    far = apart(halving, zeros, zeros + 1.0, 1e-3, 60.0)
    assert 16 <= len(far) <= 64
    assert far[-1] == 0.0
    np.testing.assert_allclose(far[:8], 0.5 ** np.arange(1, 9), rtol=0.2)  # values are rounded, and may exceed one
    facts = replace(FACTS, apart=tuple(0.5**i for i in range(1, 65)))
    assert facts.forgetting(1e-3) == 10
    assert facts.jacobi_steps(1e-3) == 11
    assert replace(facts, gaps=(1.0,) * 40).jacobi_steps(1e-3) == 41  # which it was not after so many sweeps
    assert apart(halving, zeros, zeros, 1e-3, 60.0) == ()  # what never differed tells nothing
    assert apart(halving, zeros, zeros.at[150:].set(1.0), 1e-3, 60.0) == ()
    rising = chain(lambda x, b: 2.0 * x + b, 200, 2, 0)
    assert replace(FACTS, apart=apart(rising, zeros, zeros + 1.0, 1e-3, 60.0)).forgetting(1e-3) == math.inf
    assert apart(chain(linear_link, 12, 2, 0), zeros[:12], zeros[:12], 1e-3, 60.0) == ()


def test_whole_numbers_and_truths_are_apart_until_they_are_equal() -> None:
    either = Driven(lambda x, s, _: x & s, jnp.arange(100)[:, None] % 20 != 0, jnp.zeros(1, bool))
    far = apart(either, jnp.zeros((100, 1), bool), jnp.ones((100, 1), bool), 1e-3, 60.0)
    assert set(far) == {0.0, math.inf}
    counting = Driven(lambda x, s, _: x + s, jnp.ones((100, 2), jnp.uint32), jnp.zeros(2, jnp.uint32))
    zeros = jnp.zeros((100, 2), jnp.uint32)
    assert set(apart(counting, zeros, zeros + 1, 1e-3, 60.0)) == {math.inf}
    assert choose(counting, budget_s=1.0).label


def test_a_transition_that_cannot_be_taken_at_many_places_is_no_mistake() -> None:
    def on_the_host(x, b, _):
        return jax.pure_callback(lambda x, b: np.asarray(0.5 * x + b), jax.ShapeDtypeStruct(x.shape, x.dtype), x, b)

    system = Driven(on_the_host, jnp.ones((40, 1, 1)), jnp.zeros((1, 1)))
    zeros = jnp.zeros((40, 1, 1))
    assert apart(system, zeros, zeros + 1.0, 1e-3, 60.0) == ()


def test_what_fades_ever_slower_is_not_said_to_end() -> None:
    assert replace(FACTS, apart=tuple(3.0 / n for n in range(1, 65))).forgetting(0.0) == math.inf
    assert replace(FACTS, apart=tuple(0.9**n for n in range(1, 65))).forgetting(1e-6) == pytest.approx(131, abs=1)


def test_jacobi_of_a_long_system_that_forgets_is_told_from_few_sweeps() -> None:
    system = chain(lambda x, b: 0.5 * x + b, 4000, 2, 0)
    seen = sweeps_of(system, 1e-9)
    assert len(seen.facts.gaps) == 2
    took = int(solve(system, Jacobi(tol=1e-6)).stats.num_steps)
    assert seen.facts.jacobi_steps(1e-6) == pytest.approx(took, rel=0.3)


def test_what_was_found_of_one_corrects_what_is_expected_of_its_kind() -> None:
    told = Prediction("a", MODELLED, 10, (5, 20), 1.0, (0.5, 2.0))
    found = replace(told, basis=MEASURED, num_steps=40, time_s=2.0)
    failed = replace(told, basis=FAILED, num_steps=1)
    other = replace(told, num_steps=100, time_s=3.0)
    better = other.corrected([(told, found), (told, failed)])
    assert (better.num_steps, better.time_s) == (pytest.approx(400), pytest.approx(6.0))
    assert better.basis == MODELLED
    assert other.corrected([]) == other
    assert replace(other, basis=SWEPT).corrected([(told, found)]).num_steps == 100


@pytest.mark.parametrize("make", [tiny_made, tiny_gru, tiny_flow_block])
def test_a_model_stands_for_every_candidate(make) -> None:
    system = make(8, 2, 0)
    facts = replace(FACTS, num_equations=system.num_equations)
    for label, solver in candidates(system).items():
        told = modelled(label, solver, system, facts)
        assert told.basis == (SWEPT if label == "sequential" else MODELLED)
        assert told.steps_range[0] <= told.num_steps <= told.steps_range[1]
        assert 0 < told.time_range[0] <= told.time_s <= told.time_range[1] < math.inf
        if label in ("sequential", "cached_sequential"):
            assert told.steps_range == (system.num_equations,) * 2


def test_a_segment_is_modelled_as_a_block_and_blocks_in_it_as_several() -> None:
    system = tiny_flow(0, image_shape=(4, 8, 1)).equations(jax.random.key(0), 2)
    segments = [segment.num_equations for segment, _ in Segmented(solver=Jacobi()).parts(system)]
    facts = replace(FACTS, num_equations=sum(segments), frontier=3.0)  # one more with every sweep
    whole = modelled("a", Segmented(solver=Jacobi()), system, facts)
    assert whole.num_steps == sum(length + 1 for length in segments)
    halves = modelled("a", Segmented(solver=GSJacobi(block_size=2)), system, facts)
    assert halves.num_steps == sum(round((2 + 1) * length / 2) for length in segments)


def test_what_is_inside_corrects_a_solver_that_was_not_tried() -> None:
    system = tiny_gru(40, 2, 0)
    known = object.__new__(Known)
    known.found = {"newton": Newton(), "windowed": Windowed()}
    known.scouts, known.flown = {"newton": Prediction("newton", MEASURED, 4, (4, 4), 1.0, (1.0, 1.0))}, set()
    assert known._kin(Windowed()) == []
    assert known._kin(Windowed().inner) == ["newton"]
    assert steps_of_a_round(Windowed(), system) == 1


def test_a_pilot_tells_what_steps_take_beside_their_sweeps() -> None:
    system = tiny_gru(40, 2, 0)
    known = Known(
        system, {"gs_jacobi": GSJacobi(block_size=10), "jacobi": Jacobi()}, "time", sweeps_of(system, 1e-9), 0.0
    )
    points = [Point(0, 0, 0.0, 0.0, 0, math.inf, 0.0), Point(20, 20, 5.0, 40.0, 40, 0.0, 9.0)]
    flight = Flight(points, converged=True, failed=False, seconds=9.0, x=system.initial_guess())
    known.add("gs_jacobi", flight, None, quick=False)
    assert known.facts.beside_s == known.facts.block_s == pytest.approx((9.0 - 5 * known.facts.sweep_s) / 20)
    assert known.expected["gs_jacobi"].time_s == 9.0
    assert known.expected["jacobi"].basis == MODELLED
    assert replace(FACTS, cached_s=5.0).block_s == pytest.approx(0.05)
    assert replace(FACTS, cached_s=5.0, beside_s=0.01).block_s == pytest.approx(0.05)


def test_what_a_hurried_program_has_solved_fast_is_flown_before_others_are_scouted() -> None:
    system = chain(contractive_link, 40, 2, 0)
    found = candidates(system, without=["cached_sequential"])
    searched = search.Search(system, found, "time", 60.0, time.perf_counter())
    known = searched.known
    known.expected["jacobi"] = Prediction("jacobi", MEASURED, 9, (9, 9), 5e-7, (4e-7, 6e-7))
    known.flown.add("jacobi")
    known.expected["newton"] = Prediction("newton", HURRIED, 3, (3, 3), 4e-7, (2e-7, 1e-6))
    known.expected["picard"] = Prediction("picard", HURRIED, 3, (3, 3), 6e-7, (2e-7, 1e-6))
    assert known.promising == ["newton"]
    assert searched._next() == search.Turn(("newton",), False)


def test_products_of_dense_matrices_count_on_a_processor() -> None:
    facts = replace(FACTS, num_features=100)
    assert products_s(Newton(), facts) == pytest.approx(3e-11 * 100 * 100**3)
    assert products_s(ELK(), facts) == pytest.approx(10 * products_s(Newton(), facts))
    assert products_s(QuasiELK(), facts) == products_s(Picard(), facts) == products_s(Jacobi(), facts) == 0.0


def test_a_whole_jacobian_has_a_column_for_each_number_of_a_state() -> None:
    """With 8 features, not one for each equation: a pilot that was told so took 11 seconds for a step."""
    state = (jnp.zeros((100, 3, 8)), jnp.zeros((100, 3), jnp.int32), jnp.zeros((100, 3), jnp.complex64))
    assert floats_of(state) == 1000
    system = chain(contractive_link, 100, 2, 0)
    size = floats_of(system.initial_guess())
    assert unknown(system).num_floats == sweeps_of(system, 1e-9).facts.num_floats == size > 0
    facts = replace(FACTS, num_floats=800)
    told = modelled("dense_newton", DenseNewton(), system, facts)
    assert told.time_s / told.num_steps > 0.3 * 800 * facts.sweep_s
    filled = modelled("dense_newton", DenseNewton(), system, replace(facts, sweep_s=1e-9, batch_size=10))
    assert filled.time_s / filled.num_steps > 1e-9 * 10 * 800**2  # however fast a sweep is


def test_newton_takes_few_steps_where_a_system_forgets_fast() -> None:
    """A GRU of 1,000 equations took 33 of Jacobi's steps, 5 with Jacobians, 11 with diagonals, 6 and 12 of ELK."""
    system = tiny_gru(1000, 2, 0)
    facts = replace(FACTS, num_equations=1000, gaps=tuple(0.65**i for i in range(33)))
    solvers = {"newton": Newton(), "quasi_newton": QuasiNewton(), "elk": ELK(), "quasi_elk": QuasiELK()}
    took = {"newton": 5, "quasi_newton": 11, "elk": 6, "quasi_elk": 12}
    for label, solver in solvers.items():
        assert modelled(label, solver, system, facts).num_steps == pytest.approx(took[label], rel=0.2)
    told = [modelled("newton", each, system, facts).num_steps for each in (Newton(), Newton(jacobian="system"))]
    assert told[0] == told[1]  # so that one that was flown corrects what is expected of the other
    assert modelled("picard", Picard(), system, facts).num_steps == 14
    remembers = replace(facts, gaps=(1.0,) * 33)
    assert modelled("newton", Newton(), system, remembers).num_steps == 14
    assert modelled("newton", Newton(), affine_chain(40, 2, 0), replace(FACTS, num_equations=40)).num_steps == 2


def test_operations_are_counted_wherever_they_stand() -> None:
    def twice(x):
        return jnp.sin(x) + 1.0

    plain = operations(jax.make_jaxpr(twice)(1.0).jaxpr)
    assert plain == 2
    called = jax.make_jaxpr(lambda x: jax.jit(twice)(jax.jit(twice)(x)))(1.0).jaxpr
    assert operations(called) == 2 * plain + 2
    looped = jax.make_jaxpr(lambda x: jax.lax.fori_loop(0, 9, lambda i, x: twice(x), x))(1.0).jaxpr
    assert operations(looped) > plain
    assert operations(jax.make_jaxpr(lambda x: x)(1.0).jaxpr) == 0


def test_compiling_is_expected_to_take_as_long_for_each_operation_as_it_did() -> None:
    times = CompileTimes()
    assert times.expected(100, quick=True) == 0.0
    times.add(100, True, 1.0)
    assert times.expected(200, quick=True) == pytest.approx(2.0)
    assert times.expected(10, quick=True) == 1.0  # no less than any other
    assert times.expected(None, quick=True) == 1.0
    assert times.expected(100, quick=False) == pytest.approx(4.0)
    times.add(300, False, 6.0)
    assert times.expected(100, quick=False) == 6.0
    assert times.expected(600, quick=False) == pytest.approx(12.0)
    times.add(300, False, 0.01)  # found in a cache
    assert times.expected(600, quick=False) == pytest.approx(12.0)


def test_what_fails_beside_others_spoils_nothing() -> None:
    def fails() -> int:
        raise MemoryError("no room")

    (failed, _), (done, seconds) = side_by_side([fails, lambda: 7])
    assert isinstance(failed, MemoryError)
    assert done == 7
    assert seconds >= 0.0
    assert side_by_side([]) == []
    with pytest.raises(KeyError):
        side_by_side([lambda: {}["mistake"]])


class Timed:
    """A pilot of which only its times are asked, one after another and then the last for ever."""

    def __init__(self, *seconds: float) -> None:
        self.seconds, self.asked = list(seconds), 0

    def time(self) -> float:
        self.asked += 1
        return self.seconds[min(self.asked, len(self.seconds)) - 1]


def timed_in_turn(begin: float, **pilots: Timed) -> tuple[str, dict[str, float]]:
    """Which is best of pilots, by the names of solvers, that seemed to take the first of their times; and all times."""
    system = Chain(lambda x, b: 0.5 * x + b, jnp.ones((4, 1)), jnp.zeros((4, 1)))
    found = {label: each for label, each in candidates(system).items() if label in pilots}
    searched = search.Search(system, found, "time", 1e3, begin)
    for label, pilot in pilots.items():
        first = pilot.seconds.pop(0)
        searched.known.expected[label] = Prediction(label, MEASURED, 4, (4, 4), first, (first, first))
    searched.pilots = dict(pilots)
    searched.compare_the_best()
    return searched.outcome()[0], {each.label: each.time_s for each in searched.known.expected.values()}


def test_those_close_to_the_best_are_timed_in_turn() -> None:
    jacobi, newton = Timed(0.01, 0.001, 0.02), Timed(0.018, 0.09, 0.015, 0.001, 0.09, 0.09, 0.015)
    picard = Timed(0.022, 0.001)
    best, seconds = timed_in_turn(time.perf_counter(), jacobi=jacobi, newton=newton, picard=picard)
    assert best == "newton"  # and not the one that a lucky pilot preferred
    assert (seconds["jacobi"], seconds["newton"], seconds["picard"]) == (0.02, 0.015, 0.022)
    assert jacobi.asked == newton.asked == 2 * 50  # short ones often; of two runs the second counts
    assert picard.asked == 0  # too far from the best
    jacobi, newton = Timed(1.0, 2.0), Timed(1.8, 1.5)
    assert timed_in_turn(time.perf_counter(), jacobi=jacobi, newton=newton)[0] == "newton"
    assert jacobi.asked == newton.asked == 50  # long ones do not care what the caches hold
    alone = Timed(0.01, 0.02)
    assert timed_in_turn(time.perf_counter(), jacobi=alone)[1]["jacobi"] == 0.02
    assert alone.asked == 3  # it is the best however long it takes


def test_the_next_is_traced_while_one_is_compiled() -> None:
    begun, traced = threading.Event(), threading.Event()

    def compiles() -> bool:
        begun.set()
        return traced.wait(60.0)

    def jobs() -> Iterator[Callable[[], bool]]:
        yield compiles
        assert begun.wait(60.0), "a job waits until all were traced"
        traced.set()
        yield lambda: True

    assert [done for done, _ in side_by_side(jobs())] == [True, True]


def test_a_hurried_sweep_that_takes_long_is_made_once() -> None:
    system = chain(lambda x, b: x + b + 1.0, 90, 2, 0)
    sweep = Sweep(system)
    swept = sweep.compile(quick=True)
    once = Sweeps(sweep, swept, 1e-9, hurried=True)
    assert len(once.facts.gaps) == 1
    assert not once.look(solve(system, Jacobi()).value, 1e-9)
    assert once.facts.frontier == 4.0  # a guess, as one sweep does not tell
    assert len(Sweeps(sweep, swept, 1e-9).facts.gaps) == 2  # by a program in full: the second is warm


@pytest.mark.parametrize(
    ("left_s", "objective", "flies"), [(60.0, "time", True), (10.0, "time", False), (10.0, "memory", True)]
)
def test_a_pilot_for_which_compiling_left_no_time_is_not_flown(
    monkeypatch: pytest.MonkeyPatch, left_s: float, objective: str, flies: bool
) -> None:
    system = tiny_gru(40, 2, 0)
    found = {"newton": Newton(), "jacobi": Jacobi()}
    searched = search.Search(system, found, objective, 1e3, time.perf_counter())
    searched.known.flown.add("newton")  # something is known
    monkeypatch.setattr(searched, "_step_s", lambda label, quick: 30.0)

    def slowly(jobs: Iterable[Callable[[], Pilot]]) -> list[tuple[Pilot | Exception, float]]:
        done = side_by_side(jobs)
        searched.budget_s = searched.spent_s + left_s
        return done

    monkeypatch.setattr(search, "side_by_side", slowly)
    searched._try(search.Turn(("jacobi",), True))
    assert ("jacobi" in searched.known.scouts) is flies
    assert (("jacobi", True) in searched.late) is not flies


@pytest.mark.parametrize(
    ("without", "likely"),
    [
        ([], "cached_sequential"),
        (["cached_sequential"], "sliding_gs_jacobi(block_size=4)"),
        (["sequential", "cached_sequential", "gs_jacobi", "sliding_gs_jacobi", "jacobi_gs"], "jacobi"),
    ],
)
def test_what_is_likely_to_be_flown_first_is_compiled_beside_the_sweep(without: list[str], likely: str) -> None:
    system = tiny_made(64, 2, 0)
    found = candidates(system, without=[*without, "dense_newton", "anderson", "triangular_anderson"])
    searched = search.Search(system, found, "time", 60.0, time.perf_counter())
    assert searched._likely() == [likely]
    assert set(searched.programs) == {likely}


@pytest.mark.parametrize(
    ("without", "expected_s", "share"),
    [([], 1e9, 1.0), ([], 0.0, 0.5), (["cached_sequential"], 1e9, 1.0), (["cached_sequential"], 0.0, 0.0)],
)
def test_what_was_compiled_beside_the_sweep_flies_as_long_as_nothing_else_could(
    monkeypatch: pytest.MonkeyPatch, without: list[str], expected_s: float, share: float
) -> None:
    limits: list[tuple[float, float]] = []
    fly = Pilot.fly

    def flies(pilot: Pilot, limit_s: float, most_s: float) -> Flight:
        limits.append((limit_s, most_s))
        return fly(pilot, 1e-3, most_s)

    monkeypatch.setattr(Pilot, "fly", flies)
    monkeypatch.setattr(CompileTimes, "expected", lambda self, size, quick: expected_s if quick else 1e9)
    found = candidates(tiny_made(12, 2, 0), without=[*without, "dense_newton", "anderson", "triangular_anderson"])
    searched = search.Search(tiny_made(12, 2, 0), found, "time", 1e4, time.perf_counter())
    assert len(searched.known.scouts) == 1
    ((limit_s, most_s),) = limits
    assert limit_s == pytest.approx(share * 0.95e4, rel=0.05, abs=1e3)
    assert most_s == pytest.approx(0.95e4, rel=0.01)


def test_a_pilot_of_few_steps_flies_on_while_there_is_time() -> None:
    one = Point(num_iterations=1, num_steps=1, sweeps=1.0, frontier=1.0, slowest=1, residual=1.0, seconds=1.5)
    assert _flies_on(one, 1.0, math.inf)
    assert not _flies_on(one, 1.0, 1.2)
    assert not _flies_on(one._replace(num_iterations=3), 1.0, math.inf)
    assert _flies_on(one._replace(num_iterations=0), 1.0, 1.2), "of no step nothing is known"
    pilot = pilot_of(chain(lambda x, b: x + b + 1.0, 90, 2, 0), Jacobi())
    assert not pilot.fly(30.0, 1e-9).converged
    assert pilot.fly(30.0).converged


def test_for_memory_nothing_is_compiled_beside_the_sweep() -> None:
    system = tiny_made(12, 2, 0)
    searched = search.Search(system, candidates(system), "memory", 60.0, time.perf_counter())
    assert not searched.programs


def test_tracing_takes_time_too() -> None:
    system = chain(contractive_link, 40, 2, 0)
    searched = search.Search(system, candidates(system), "time", 60.0, time.perf_counter())
    assert searched._turn(["newton"], True, 0.95) is not None
    searched.traced_s = [100.0]
    assert searched._turn(["newton"], True, 0.95) is None
    searched.programs["newton"] = Program(system, searched.found["newton"])  # as this one is traced
    assert searched._turn(["newton"], True, 0.95) is not None


def test_without_time_for_some_rounds_pilots_count() -> None:
    late = time.perf_counter() - 1e3
    assert timed_in_turn(late, jacobi=Timed(1.0, 5.0), newton=Timed(1.8, 0.1))[0] == "jacobi"


def test_where_compiling_takes_long_forward_substitution_is_known_from_a_hurry(monkeypatch) -> None:
    system = tiny_made(12, 2, 0)
    monkeypatch.setattr(CompileTimes, "expected", lambda self, size, quick: 0.0 if quick else 1e9)
    found = candidates(system, without=["dense_newton", "anderson", "triangular_anderson"])
    searched = search.Search(system, found, "time", 5.0, time.perf_counter())
    searched.fly(lambda label: None)
    best, predictions = searched.outcome()
    told = {each.label: each for each in predictions}
    assert told["cached_sequential"].basis == HURRIED
    assert told["cached_sequential"].num_steps == 12
    assert not searched.known.flown
    assert told[best].basis in (HURRIED, SWEPT)


@pytest.mark.parametrize("without", [[], ["cached_sequential"]])
def test_something_is_run_where_everything_would_take_too_long(monkeypatch, without: list[str]) -> None:
    system = tiny_made(12, 2, 0)
    monkeypatch.setattr(CompileTimes, "expected", lambda self, size, quick: 1e9)
    found = candidates(system, without=[*without, "dense_newton", "anderson", "triangular_anderson"])
    searched = search.Search(system, found, "time", 60.0, time.perf_counter())
    searched.fly(lambda label: None)
    assert len(searched.known.scouts) == 1
    assert not searched.known.flown


def test_solvers_that_were_asked_about_are_scouted_first() -> None:
    system = chain(contractive_link, 40, 2, 0)
    asked = "picard"
    found = candidates(system)
    searched = search.Search(system, found, "time", 60.0, time.perf_counter(), [asked])
    searched.known.flown.add("cached_sequential")
    turn = searched._next()
    assert turn is not None
    assert turn.quick
    assert turn.labels[0] == asked
    assert len(turn.labels) == 2


def test_what_is_no_sweep_of_jacobi_is_not_modelled_as_one() -> None:
    settled = replace(FACTS, settled=True)
    system = affine_chain(40, 2, 0)
    assert modelled("a", Jacobi(), system, settled).basis == SWEPT
    assert modelled("a", Jacobi(damping=0.5), system, settled).basis == MODELLED
    assert modelled("a", ParallelScan(), system, FACTS).num_steps == 1
    one, other = (modelled("a", solver, tiny_gru(40, 2, 0), FACTS) for solver in (ELK(), QuasiELK()))
    assert one.num_steps == other.num_steps


def test_residuals_are_told_in_the_units_of_tolerances() -> None:
    system = chain(lambda x, b: 0.1 * x + 900.0, 40, 2, 0)
    progress = pilot_of(system, Jacobi()).fly(1e-9)
    own = solve(system, Jacobi(), max_steps=1, throw=False).stats.residual
    assert progress.points[-1].residual == pytest.approx(float(np.max(own)) / float(np.max(np.abs(progress.x))))


def test_a_round_of_several_steps_is_reckoned_as_one() -> None:
    system = chain(contractive_link, 40, 2, 0)
    assert steps_of_a_round(JacobiGS(block_size=8), system) == 9
    assert steps_of_a_round(Parareal(num_blocks=4), system) == 10 + 4
    assert steps_of_a_round(CachedSequential(chunk_size=10), system) == 10
    assert steps_of_a_round(Windowed(), system) == steps_of_a_round(Jacobi(), system) == 1


def test_samples_that_are_done_do_not_tell_how_fast_others_go_on() -> None:
    def link(x, b, _):  # the second sample is done at once, the first takes a step for each equation
        return jnp.where(jnp.arange(2)[:, None] == 0, x + b + 1.0, jnp.zeros_like(x))

    system = Driven(link, jnp.ones((40, 2, 1)), jnp.zeros((2, 1)))
    begun = pilot_of(system, Jacobi()).fly(1e-9)
    assert begun.points[-1].frontier == begun.points[-1].slowest == 1
    assert measured("jacobi", begun, 40, 0.0, 41, None).num_steps == pytest.approx(41, abs=1)

"""How near a solver's gradient comes to the reference, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from runners.config.solvers import SolverEntry
from solvers import Trace, TraceOptions, solve
from solvers.equations import magnitude

TOLERANCE = 1e-5  # the relative error from which on a gradient counts as found


@dataclass(frozen=True)
class GradientErrors:
    """max |g - reference| / max |reference| over all states' gradients, after each iteration, for N sequences."""

    num_steps: Int[np.ndarray, " S"]  # sequential steps so far
    error: Float[np.ndarray, "S N"]

    def steps_to(self, tolerance: float) -> list[int | None]:
        """For each sequence the steps after which its error is, and stays, at most ``tolerance``; None: never."""
        return [self._steps_until(errors <= tolerance) for errors in self.error.T]

    def mean_after(self, num_steps: int) -> float:
        """The mean error once so many steps are done; 1, that of the first guess, zero, before the first."""
        done = np.searchsorted(self.num_steps, num_steps, side="right")
        return float(self.error[done - 1].mean()) if done else 1.0

    def _steps_until(self, good: np.ndarray) -> int | None:
        """The steps from which on all is good."""
        if not len(good) or not good[-1]:
            return None
        bad = np.flatnonzero(~good)
        return int(self.num_steps[bad[-1] + 1 if len(bad) else 0])

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays of traces.npz."""
        return {"num_steps": self.num_steps, "error": self.error.astype(np.float32)}


class ErrorTracer:
    """One solver with a trace, compiled once for all systems of a shape."""

    def __init__(self, entry: SolverEntry) -> None:
        def traced(system: Any, reference: Any) -> tuple[Trace | None, Float[Array, " N"]]:
            options = TraceOptions(reference)
            solution = solve(system, entry.solver, max_steps=entry.max_steps, trace=options, throw=False)
            return solution.trace, magnitude(reference)

        self._solve = jax.jit(traced)

    def errors(self, system: Any, reference: Any) -> GradientErrors:
        """The errors against ``reference`` on the way to the answer of ``system``."""
        trace, size = jax.tree.map(np.asarray, self._solve(system, reference))
        written = trace.num_steps >= 0
        error = trace.error[written].astype(float)
        # Where the whole gradient is zero, whatever else is found is infinitely wrong.
        relative = np.divide(error, size, out=np.full_like(error, np.inf), where=size > 0)
        return GradientErrors(trace.num_steps[written], np.where(error == 0, 0.0, relative))

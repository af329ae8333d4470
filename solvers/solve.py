"""The front door: the pairing is checked, the loop run, and the solution given its derivative."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from .implicit import check_adjoint, default_adjoint, differentiable
from .iterate import iterate
from .progress import Progress, StepReport, TraceOptions
from .solution import Solution, SolveError, Status
from .solver import Solver
from .table import check_pairing
from .trees.meshes import on_auto_axes


def solve(
    system: Any,
    solver: Solver,
    *,
    x0: Any = None,
    max_steps: int | None = None,
    tol: float | None = None,
    trace: TraceOptions | None = None,
    throw: bool = True,
    state: Progress | None = None,
    adjoint: Solver | None = None,
    callback: Callable[[StepReport], None] | None = None,
) -> Solution[Any]:
    """Solve x_t = f_t(x_0 .. x_{t-1}) for all t.

    ``Solution.value`` has derivatives, in both modes, with respect to the floating-point leaves of ``system``: those of
    the exact solution, by one solve of linear equations (see implicit.py). Nothing else in it has any.

    Arrays may be divided among devices, over the batch, over the equations or over both, on a mesh of Auto or of
    Explicit axes: the compiler adds what devices have to tell each other. See docs/scale.md. As with any function of
    JAX, derivatives of arrays on Explicit axes are taken within ``jax.set_mesh(mesh)``, and arrays on them are passed
    to ``from_function`` in its args rather than closed over.

    Products of float32 numbers are in float32 on every device, where a GPU or a TPU by itself would round their factors
    first; ``jax.default_matmul_precision`` around the call, or JAX's setting of that name, says otherwise.

    Args:
        system: what to solve; must satisfy the protocol that ``solver.requires``.
        solver: the algorithm.
        x0: the first guess; default ``system.initial_guess()``.
        max_steps: limit on the solver's steps in all, resumed ones included; default: the number after which the
            solver terminates on any triangular system (finite termination), its check included; never more than that.
        tol: overrides the solver's own; converged means residual <= tol * max(1, |x|), and 0 means bit for bit.
        trace: ask for residual, frontier and error by step. Not with ``state``, which carries its own.
        throw: raise SolveError where the status is not CONVERGED. Under jit and vmap, where no Python error can depend
            on values, it does nothing: look at ``Solution.status`` there, or call ``Solution.check``.
        state: resume from ``Solution.state``.
        adjoint: what solves the adjoint (or tangent) equations, if a derivative is taken; default: parallel_scan where
            a solver of order-one systems found the solution, cached_sequential for other solvers of such a system, else
            jacobi.
        callback: is called with a ``StepReport`` after every step, on the host, under jit and vmap too. A function that
            is made anew for every call has the solve compiled anew.

    Raises:
        PairingError: the system does not satisfy what the solver requires, or its adjoint what ``adjoint`` requires.
        SolveError: see ``throw``.
        ValueError: a limit below 1, a tolerance below 0, or a state laid out wrongly.
    """
    check_pairing(system, solver)
    solver = solver.with_tol(tol)
    adjoint = default_adjoint(system, solver) if adjoint is None else adjoint
    check_adjoint(system, adjoint)
    recorded = trace is not None

    def run(system: Any, x0: Any, state: Progress | None, reference: Any) -> Solution[Any]:
        asked = TraceOptions(reference) if recorded else None
        solution = iterate(system, solver, x0=x0, max_steps=max_steps, trace=asked, state=state, callback=callback)
        return differentiable(system, solution, adjoint)

    solution = on_auto_axes(run, system, x0, state, None if trace is None else trace.reference)
    concrete = not isinstance(solution.status, jax.core.Tracer)
    if callback is not None and concrete:
        jax.effects_barrier()  # calls of the device are not waited for otherwise
    if throw and concrete and solution.outcome is not Status.CONVERGED:
        raise SolveError(solution.outcome)
    return solution

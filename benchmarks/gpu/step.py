"""One step of a solve on a GPU: the facts of its compiled program, and the time that is modelled of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax

from benchmarks.gpu.operations import operations_of_a_step
from benchmarks.gpu.rows import Row
from benchmarks.gpu_programs import GPUS, Part, compile_for, modelled_s, step_of
from solvers import Solver, advance, start


def compiled_row(gpu: str, system: Any, solver: Solver) -> tuple[dict[str, Any], Part]:
    """The facts of one step of a solve on a GPU, the time modelled of them, and what the step launches."""
    steps, progress = _steps(system, solver)
    begin = time.perf_counter()
    compiled = compile_for(gpu, steps, system, progress)
    seconds = time.perf_counter() - begin
    step, memory = step_of(compiled.as_text()), compiled.memory_analysis()
    row = {
        "kernels": step.launched,
        "kernels_least": step.least,
        "library_calls": step.libraries,
        "round_trips": step.round_trips + 1,  # the last is the test whether another step is needed
        **operations_row(system, solver),
        # cuBLAS's workspace is among these, of up to 32 MiB on an H100, and no step moves it. It is not taken off: it
        # may lie where arrays lie at other times, so the compiler's total need not have all of it beside them.
        "temporaries_bytes": memory.temp_size_in_bytes,
        "program_bytes": memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes,
        "compile_s": seconds,
    }
    return {**row, "modelled_step_s": modelled_step_s(gpu, row)}, step


def operations_row(system: Any, solver: Solver) -> dict[str, Any]:
    """The floating-point operations of one step, which are traced and the same for every GPU."""
    steps, progress = _steps(system, solver)
    found = operations_of_a_step(steps, system, progress)
    return {"flops": found.flops, "flops_whole": found.whole}  # not whole: of a loop of unknown length one round


def modelled_step_s(gpu: str, row: Row) -> float:
    """The time of a step of these facts in seconds, a model."""
    return modelled_s(GPUS[gpu], row["flops"], row["program_bytes"], row["kernels"], row["round_trips"])


def _steps(system: Any, solver: Solver) -> tuple[Callable[[Any, Any], Any], Any]:
    """The function of a system and of a progress that takes a solver's steps, and the shapes of its first progress."""

    def steps(system: Any, progress: Any) -> Any:
        return advance(system, solver, progress, 2**30)

    return steps, jax.eval_shape(lambda system: start(system, solver), system)

"""What solvers launch on a GPU, from compiled programs, and how long that may take: python -m benchmarks.accelerator.

No GPU is needed, only JAX's CUDA wheels (requirements-gpu.txt): systems are compiled with their solvers for a GPU of a
data sheet. Five have random weights (``CASES`` in benchmarks/gpu/cases.py), the others are made by the runners of the
shipped configs. Kernels, round trips to the host, operations and temporaries are facts of the programs. Times are
modelled of them, and called a model. All of it takes hours; with names only these are compiled, and what is known of
others stays. Without the wheels a sentence says so, and nothing is written. ``--operations`` counts the operations of
the rows that are known anew, which needs neither wheels nor a compiler.

With ``--measure`` nothing is counted: the solvers run on the GPU of this machine, compiled as for any run there, and
what a step took is put beside the model that is in the results. How each solve ended is in its row, and in how many
equations a sweep of its answer differs from it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

from benchmarks.gpu.cases import (
    CASES,
    case_of,
    compared,
    config_with,
    densenet201,
    names,
    names_to_measure,
    not_counted,
)
from benchmarks.gpu.rows import Row, ended_well, gflop, kernels, modelled_solve_s, row_name, temporaries_mib
from benchmarks.gpu.step import compiled_row, modelled_step_s, operations_row
from benchmarks.gpu_programs import GPUS, KERNEL_S, ROUND_TRIP_S, Part, compile_for, gpu_devices, parse, prepare
from benchmarks.limits import FOLDER, Limit
from common.files import write_atomically
from common.names import unknown
from runners.measure.job import residual_and_mismatches
from runners.measure.timing import CompiledSolve, Times, follow
from runners.report.environment import describe_environment
from solvers import Solver
from solvers.linear.prefix_scan import affine_scan
from solvers.trees.platform import on_cpu

PATH = FOLDER / "accelerator.json"
_AT_ONCE = 8  # programs that are compiled at a time
_RUNS = 3  # that are timed of each solve, after one to warm up
_LIMIT_S = 20.0  # of a run


def system_name(name: str, part: str) -> str:
    """What rows call a system: a case or a config, and which of its systems it is where there are several."""
    return f"{name} ({part})" if part else name


def measure(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """By "system, solver" the seconds of a solve on this machine's device, in the median, and of its steps.

    All solvers of a system are compiled first, many at a time, so ``compile_s`` is longer than it is for one by itself.
    Each runs by itself, for ``_LIMIT_S`` at the most. ``solvers`` is how many are compared on the system.
    """
    for part, system, solvers in compared(name):
        title = system_name(name, part)
        sweep, compiled = _compiled(title, system, solvers)
        for label, solve in compiled.items():
            done = [follow(solve, lambda _: None, limit_s=_LIMIT_S) for _ in range(_RUNS + 1)][1:]
            middle = sorted(done, key=lambda run: run.seconds)[_RUNS // 2]
            times, solution = Times.of([run.seconds for run in done]), middle.solution
            iterations, value = int(solution.stats.num_iterations), solution.value
            print(f"{title}, {label}: {1e3 * times.median:.3f} ms, {iterations} steps", file=sys.stderr, flush=True)
            row = {
                "system": title,
                "solver": label,
                "solvers": len(solvers),
                "compile_s": solve.compile_s,
                "solve_s": times.median,
                "solve_quartiles_s": [times.q1, times.q3],
                "iterations": iterations,
                "step_s": times.median / max(1, iterations),
                "status": solution.outcome.label,
                "mismatched_equations": residual_and_mismatches(sweep(system, value), value)[1],
            }
            yield row_name(title, label), row


def _compiled(
    title: str, system: Any, solvers: Mapping[str, Solver]
) -> tuple[Callable[[Any, Any], Any], dict[str, CompiledSolve]]:
    """The programs of a sweep and of all solvers of a system, these by label, compiled many at a time."""

    def swept() -> Callable[[Any, Any], Any]:
        with jax.default_matmul_precision("float32"):  # which holds for one thread
            program = jax.jit(lambda system, x: system.sweep(x)).lower(system, system.initial_guess())
            return program.compile()

    def compiled(label: str) -> CompiledSolve:
        with jax.default_matmul_precision("float32"):
            solve = CompiledSolve(system, solvers[label])
        print(f"{title}, {label}: compiled in {solve.compile_s:.1f} s", file=sys.stderr, flush=True)
        return solve

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        sweep, solves = pool.submit(swept), pool.map(compiled, solvers)
        return sweep.result(), dict(zip(solvers, solves, strict=True))


def table(gpu: str, name: str) -> Iterator[tuple[str, dict[str, Any], Part]]:
    """The rows of a case or a config by "system, solver", and what a step of each launches."""
    case = CASES.get(name)
    for part, system, solvers in compared(name):
        title = system_name(name, part)
        for label, solver in solvers.items():
            row, step = compiled_row(gpu, system, solver)
            own = {
                "system": title,
                "solver": label,
                "config": None if part else config_with(name, label),
                "published_solve_s": None if case is None else case.published_s.get(label),
            }
            said = f"{row['kernels']} kernels, compiled in {row['compile_s']:.0f} s"
            print(f"{gpu}: {title}, {label}: {said}", file=sys.stderr, flush=True)
            yield row_name(title, label), {**own, **row}, step


def affine_scan_kernels(gpu: str, features: int) -> int:
    """The kernels of an affine scan over 10,000 equations of 16 samples."""
    a, b = jnp.zeros((10_000, 16, features, features)), jnp.zeros((10_000, 16, features))
    return parse(compile_for(gpu, affine_scan, a, b, b[0]).as_text()).launched


def densenet_kernels_a_group(gpu: str) -> float:
    """The kernels of a sweep over all layers of DenseNet-201, for each group of layers."""
    system = densenet201()
    text = compile_for(gpu, lambda system, x: system.sweep(x), system, system.initial_guess()).as_text()
    return parse(text).launched / sum(len(block.groups) for block in system.network.blocks)


def an_equation(part: Part) -> Part:
    """The innermost loop of a step of forward substitution: one equation."""
    while part.loops:
        part = max((body for _, body in part.loops), key=lambda body: body.launched)
    return part


def limits(gpu: str, name: str, parts: Mapping[str, Part]) -> Iterator[Limit]:
    """The figures that this benchmark is held against, of one case."""
    if name == "made":
        yield Limit("kernels a step, made, jacobi", parts["made, jacobi"].launched, 12)
        yield Limit("round trips a step, made, jacobi", parts["made, jacobi"].round_trips, 0)
    if name == "pixelcnnpp":
        yield Limit("kernels a step, pixelcnnpp, jacobi", parts["pixelcnnpp, jacobi"].launched, 330)
        pixel = an_equation(parts["pixelcnnpp, cached_sequential"])
        yield Limit("kernels a cached pixel without the lower levels", pixel.least, 75)
        yield Limit("kernels a cached pixel with both lower levels", pixel.launched, 150)
    if name == "wavenet":
        yield Limit("kernels a step, wavenet, jacobi", parts["wavenet, jacobi"].launched, 110)
        sample = an_equation(parts["wavenet, cached_sequential"])
        yield Limit("kernels a sound sample by queues", sample.launched, 40)
    if name == "gru":
        yield Limit("kernels a step, gru, newton", parts["gru, newton"].launched, 90)
        step = an_equation(parts["gru, cached_sequential"])
        yield Limit("kernels an equation of an RNN by a scan", step.launched, 4)
        for features, bound in ((2, 45), (16, 55)):
            scan = affine_scan_kernels(gpu, features)
            yield Limit(f"kernels an affine scan of {features} features", scan, bound)
    if name == "densenet201":
        group = densenet_kernels_a_group(gpu)
        yield Limit("kernels a group of layers, a sweep of DenseNet-201", group, 4)


def report(gpu: str, rows: Mapping[str, Row], held: list[Limit]) -> None:
    """Print the table of what is modelled, and the limits."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    facts = ("a step of", "kernels", "library", "round trips", "GFLOP", "temporaries, MiB", "program, MiB", "model, ms")
    title = f"{GPUS[gpu].description}: compiled; times are a model"
    shown = Table(*facts, "solve, model", "published", title=title)
    for name, row in rows.items():
        seconds = [modelled_solve_s(row), row["published_solve_s"]]
        shown.add_row(
            name,
            kernels(row),
            str(row["library_calls"]),
            str(row["round_trips"]),
            gflop(row),
            temporaries_mib(row),
            f"{row['program_bytes'] / 2**20:.1f}",
            f"{1e3 * row['modelled_step_s']:.3f}",
            *("" if value is None else f"{value:.4g} s" for value in seconds),
        )
    console.print(shown)
    assumed = f"{1e6 * KERNEL_S:.0f} us a kernel, {1e6 * ROUND_TRIP_S:.0f} us a round trip, the sheet's rates"
    console.print(
        f"Assumed: {assumed}. Operations of loops inside a step are multiplied by their rounds; where unknown, "
        "one is counted (≥). A step is taken to move the whole program's arguments, results and temporaries once, "
        "these with the workspace of cuBLAS (up to 32 MiB on an H100, 4 on an A100), which no step moves."
    )
    for limit in held:
        verdict = "met" if limit.met else "MISSED"
        console.print(f"{limit.what}: {limit.ratio:.3g} (<= {limit.bound:.3g}: {verdict})", highlight=False)


def report_measured(kind: str, rows: Mapping[str, Row], modelled: Mapping[str, Row]) -> None:
    """Print what was measured on a kind of device, beside what is modelled for it, where that is."""
    columns = ("a step of", "kernels", "model, ms", "measured, ms", "steps of a solve", "a solve, ms", "ended")
    shown = Table(*columns, "mismatched", title=f"{kind}: measured")
    for name, row in rows.items():
        model = modelled.get(row_name(case_of(row["system"]), row["solver"]))
        shown.add_row(
            name,
            "" if model is None else kernels(model),
            "" if model is None else f"{1e3 * model['modelled_step_s']:.3f}",
            f"{1e3 * row['step_s']:.3f}",
            str(row["iterations"]),
            f"{1e3 * row['solve_s']:.3f}",
            row["status"],
            str(row["mismatched_equations"]),
        )
    Console(width=None if sys.stdout.isatty() else 140).print(shown)


def measured(wanted: list[str]) -> int:
    """Measure on this machine's GPU, save every row as it comes, print them; 1 where a solve did not end well."""
    if on_cpu():
        print("--measure needs a GPU, and JAX finds none", file=sys.stderr)
        return 2
    kind, rows = jax.devices()[0].device_kind, {}
    for name in wanted:
        for title, row in measure(name):
            rows[title] = {**row, **of_this_run()}
            save_measured(kind, {title: rows[title]})
    record = saved()
    modelled = [record[name]["rows"] for name, gpu in GPUS.items() if gpu.description == kind and name in record]
    report_measured(kind, rows, modelled[0] if modelled else {})
    wrong = [title for title, row in rows.items() if not ended_well(row)]
    for title in wrong:
        row = rows[title]
        print(f"{title}: {row['status']}, {row['mismatched_equations']} equations mismatched", file=sys.stderr)
    return 1 if wrong else 0


def save_measured(kind: str, rows: Mapping[str, Row]) -> None:
    """Add rows to what is known of a kind of device, and whether rows of the cases are still missing."""
    record = saved()
    known = {**record.get("measured", {}).get(kind, {}).get("rows", {}), **rows}
    all_rows = {row_name(name, label) for name, case in CASES.items() for label in case.solvers}
    here = {"matmul_precision": "float32", "is_part": not all_rows <= known.keys(), "rows": known}
    save({**record, "measured": {**record.get("measured", {}), kind: here}})


def of_this_run() -> dict[str, Any]:
    """The versions and the commit of this run, which each row has: others of its table may be of earlier runs."""
    environment = describe_environment()
    return {key: environment[key] for key in ("versions", "git_commit")}


def counted(gpu: str, wanted: list[str]) -> int:
    """Compile for a GPU, save what is known after every system, print; 1 where a limit is missed or one fails."""
    found: dict[str, dict[str, Any]] = {}
    held: list[Limit] = []
    failed = False
    for name in wanted:
        try:
            compiled = list(table(gpu, name))
            new = list(limits(gpu, name, {title: step for title, _, step in compiled}))
        except jax.errors.JaxRuntimeError as error:  # the others are worth something without it
            print(f"{gpu}: {name}: {error}", file=sys.stderr, flush=True)
            failed = True
            continue
        rows = {title: {**row, **of_this_run()} for title, row, _ in compiled}
        save_counted(gpu, rows, new)
        found |= rows
        held += new
    report(gpu, found, held)
    return 0 if not failed and all(limit.met for limit in held) else 1


def save_counted(gpu: str, rows: Mapping[str, Row], held: list[Limit]) -> None:
    """Put rows and limits in the place of those that are known of the same systems."""
    record = saved()
    known, systems = record.get(gpu, {}), {row["system"] for row in rows.values()}
    others = {title: row for title, row in known.get("rows", {}).items() if row["system"] not in systems}
    new = {limit.what: {"count": limit.ratio, "limit": limit.bound, "met": limit.met} for limit in held}
    here = {
        "assumed": {"kernel_s": KERNEL_S, "round_trip_s": ROUND_TRIP_S, "data_sheet": GPUS[gpu]._asdict()},
        "rows": others | dict(rows),
        "limits": {**known.get("limits", {}), **new},
    }
    save({**record, gpu: here})


def recounted(wanted: list[str]) -> int:
    """Trace the solvers' steps, and save their operations in the rows that GPUs have of them; returns 0."""
    for name in wanted:
        for part, system, solvers in compared(name):
            for label, solver in solvers.items():
                save_operations(row_name(system_name(name, part), label), operations_row(system, solver))
    return 0


def save_operations(title: str, found: Mapping[str, Any]) -> None:
    """Put the operations of a step into its rows, with the time modelled of them and the commit of this count."""
    record = saved()
    for gpu in GPUS:
        if row := record.get(gpu, {}).get("rows", {}).get(title):
            row |= found
            row |= {"modelled_step_s": modelled_step_s(gpu, row), "operations_git_commit": of_this_run()["git_commit"]}
    save(record)


def names_with_rows() -> list[str]:
    """The names of which some GPU has rows."""
    missing = not_counted(row for gpu in GPUS for row in saved().get(gpu, {}).get("rows", {}).values())
    return [name for name in names() if name not in missing]


def saved() -> dict[str, Any]:
    """The results so far, by the GPU."""
    found: dict[str, Any] = json.loads(PATH.read_text()) if PATH.is_file() else {}
    return found


def save(record: Mapping[str, Any]) -> None:
    """Write all results."""
    write_atomically(PATH, (json.dumps(record, indent=1) + "\n").encode())


def _gpu() -> str:
    """The kind of device that code is told which asks what it is compiled for."""
    return "gpu"


def main() -> int:
    """Compile or measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        help=f"some of {', '.join(CASES)} and names of shipped configs; default: everything; with --measure the five "
        "cases, and all shipped configs may be named; with --operations what has rows",
    )
    parser.add_argument("--gpu", choices=sorted(GPUS), default="H100", help="whose data sheet")
    others = parser.add_mutually_exclusive_group()
    others.add_argument("--measure", action="store_true", help="time solves on this machine's GPU, and count nothing")
    others.add_argument("--operations", action="store_true", help="count the operations of rows again, compile nothing")
    options = parser.parse_args()
    valid = names_to_measure() if options.measure else names()
    for name in options.names:
        if name not in valid and case_of(name) != name:
            parser.error(f"{name} is counted as the case {case_of(name)!r}; --measure takes it by itself")
        if name not in valid:
            parser.error(unknown("name", name, valid))
    if options.measure:
        return measured(options.names or list(CASES))
    if options.operations:
        jax.default_backend = _gpu
        return recounted(options.names or names_with_rows())
    prepare()
    if gpu_devices(options.gpu) is None:
        print("JAX's CUDA wheels are not installed: .venv/bin/python -m pip install -r requirements-gpu.txt")
        return 0
    jax.default_backend = _gpu
    return counted(options.gpu, options.names or names())


if __name__ == "__main__":
    sys.exit(main())

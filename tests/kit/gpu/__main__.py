"""python -m tests.kit.gpu [--device KIND] [--out FILE] [CASE ...]: the smoke list of a GPU.

Every case of ``smallest`` runs on the GPU and on the processor, by the command line. It has to converge with no
equation mismatched, to the processor's answer within rounding, in about as many steps. Then, unless only some cases are
asked for, promises of equal bits are tried, and ``benchmarks.accelerator --measure`` holds measured times beside
modelled ones. Exit code 1 where something failed or JAX leaves a GPU alone, 0 where nothing failed or there is no GPU.

With ``--device cpu`` the processor stands in for the GPU, without the benchmark.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from common.files import write_atomically
from common.names import unknown
from common.paths import ROOT
from runners.report.console import TextConsole
from runners.report.table import Cells, Column, ResultTable
from tests.kit.gpu.answers import MOST_DIFFERING, Answers, differing, disagreements
from tests.kit.gpu.runs import INSTALLING, BrokenInstallError, Run, describe, last_line, python, run_case
from tests.kit.smallest import CASES

KINDS = ("gpu", "cpu")
NO_GPU = f"No GPU here: JAX finds none, so nothing was run. Where there is an NVIDIA GPU with its driver, {INSTALLING}."
BENCHMARK = ("-m", "benchmarks.accelerator", "--measure")
CORES_EACH = 2  # of a process, which mostly compiles

_CELLS: Cells = (
    (Column("case", align="left"), lambda row: row["case"]),
    (Column("runner", drop=1, align="left"), lambda row: row["runner"]),
    (Column("seconds"), lambda row: f"{row['seconds']['device']:.0f}"),
    (Column("on the CPU", drop=2), lambda row: f"{row['seconds']['cpu']:.0f}"),
    (Column("mismatches"), lambda row: _number(row["mismatched_equations"])),
    (Column("steps"), lambda row: _number(row["num_steps"]["device"])),
    (Column("steps on the CPU"), lambda row: _number(row["num_steps"]["cpu"])),
    (Column("differing", drop=3), lambda row: "-" if row["differing"] is None else f"{row['differing']:.1%}"),
    (Column("verdict", align="left"), lambda row: "FAILED" if row["failures"] else "ok"),
)


def main(arguments: Sequence[str]) -> int:
    """The smoke list; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.kit.gpu", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"some of {', '.join(CASES)}; default: all")
    parser.add_argument("--device", default="gpu", help="gpu, or cpu to try the list itself")
    parser.add_argument("--out", type=Path, help="default benchmarks/gpu_smoke.json for all of the list on a GPU")
    options = parser.parse_args(arguments)
    for kind, names, choices in (("case", options.cases, CASES), ("device", [options.device], KINDS)):
        for name in names:
            if name not in choices:
                print("error:", unknown(kind, name, choices), file=sys.stderr)
                return 2
    try:
        environment = describe(options.device)
    except BrokenInstallError as error:
        print("error:", error, file=sys.stderr)
        return 1
    if environment is None:
        print(NO_GPU)
        return 0
    whole_list = not options.cases
    kind = environment["device"]["kind"]
    record, failures = _compare(options.cases or list(CASES), options.device, kind, whole_list)
    print("\n".join(failures) or "All of it holds.")
    out = options.out
    if whole_list and options.device == "gpu":
        out = out or ROOT / "benchmarks" / "gpu_smoke.json"
        _save(out, environment, {**record, "benchmark_exit_code": None}, failures)  # the benchmark may be stopped
        record["benchmark_exit_code"] = code = subprocess.run([sys.executable, *BENCHMARK], cwd=ROOT).returncode
        if code:
            failures.append(f"python {' '.join(BENCHMARK)} ended with exit code {code}")
            print(failures[-1])
    if out is not None:
        _save(out, environment, record, failures)
    return 1 if failures else 0


def _save(out: Path, environment: dict[str, Any], record: dict[str, Any], failures: list[str]) -> None:
    """Write the record of the list and what failed of it to ``out``, as JSON."""
    content = {"benchmark": "gpu_smoke", **environment, **record, "failures": failures}
    write_atomically(out.absolute(), (json.dumps(content, indent=1) + "\n").encode())


def _compare(cases: Sequence[str], device: str, kind: str, with_bits: bool) -> tuple[dict[str, Any], list[str]]:
    """Run cases on both devices, and the promises of bits; print the table, tell what is known and what failed."""
    sides = {"device": device, "processor": "cpu"}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(_processes()) as pool:
        bits = pool.submit(_bits, device) if with_bits else None
        jobs = [(case, where, Path(folder, side, case)) for case in cases for side, where in sides.items()]
        runs = list(pool.map(lambda job: run_case(*job), jobs))  # which on Ctrl-C starts no more of them
        rows = [_row(case, *pair) for case, *pair in zip(cases, runs[::2], runs[1::2], strict=True)]
        tried: dict[str, Any] = {} if bits is None else {"bits": bits.result()}
    ResultTable.of(f"runners at their smallest on {kind}", _CELLS, rows).print(TextConsole())
    failures = [f"{row['case']}: {failure}" for row in rows for failure in row["failures"]]
    for name, broken in (tried["bits"]["broken"] if tried else {}).items():
        failures += [f"bits, {name}: {each}" for each in broken]
    return {"runs": rows, **tried}, failures


def _processes() -> int:
    return max(1, (os.cpu_count() or 1) // CORES_EACH)


def _bits(device: str) -> dict[str, Any]:
    """What ``bits`` finds on a kind of device, or that it failed."""
    try:
        done = python("-m", "tests.kit.gpu.bits", device=device)
    except subprocess.TimeoutExpired as error:
        return {"broken": {"all": [f"not done after {error.timeout:g} s"]}}
    if done.returncode:
        return {"broken": {"all": [last_line(done)]}}
    try:
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):  # what is known of the runs is not to be lost for it
        return {"broken": {"all": [f"it printed no record: {done.stdout.strip()[-80:]!r}"]}}
    return found


def _row(case: str, on_device: Run, on_cpu: Run) -> dict[str, Any]:
    """What is known of a case, and what is wrong with it."""
    row: dict[str, Any] = {
        "case": case,
        "runner": CASES[case][0],
        "seconds": {"device": on_device.seconds, "cpu": on_cpu.seconds},
        **{"mismatched_equations": None, "num_steps": {"device": None, "cpu": None}, "differing": None},
    }
    ended = {"on the device": on_device, "on the processor": on_cpu}
    failures = [f"exit code {run.code} {place}: {run.last}" for place, run in ended.items() if run.code != 0]
    if not failures:
        found, wanted = Answers.of(on_device.out), Answers.of(on_cpu.out)
        failures = [*found.broken_promises(), *disagreements(found, wanted, MOST_DIFFERING.get(case, 0.0))]
        row["differing"] = differing(found, wanted)
        if found.rows:
            row["mismatched_equations"] = found.mismatches
            row["num_steps"] = {"device": found.num_steps, "cpu": wanted.num_steps}
    return {**row, "failures": failures}


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

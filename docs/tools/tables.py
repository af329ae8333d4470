"""Write the tables of the documentation that are taken from results or from code: ``python -m docs.tools.tables``.

A page names a table between two comments, ``<!-- table NAME -->`` and ``<!-- end of table -->``; what lies between
them is replaced. ``<!-- table solved CONFIG ... -->`` has the solvers of shipped configs. So no number of these tables
is typed, and a test fails where a page and the results differ.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from common.paths import ROOT
from docs.tools.accelerators import gpu_limits, launched, on_gpu, timed
from docs.tools.choice import INSTEAD, advice
from docs.tools.headline import every, gallery, headline, solved
from docs.tools.results import is_cached, is_parallel, markdown, median, results
from docs.tools.survey import survey
from docs.tools.timing import timing
from docs.tools.voice import voice
from runners.cli.flags import parser
from runners.report.shipped import converged
from runners.report.units import format_bytes, format_seconds
from solvers import SOLVERS, Solver
from solvers.table import solver_name

MARKED = re.compile(r"(<!-- table (\w+)((?: \w+)*) -->\n).*?(<!-- end of table -->)", re.DOTALL)

# The systems of the table, by the config whose results are taken.
SYSTEMS = {
    "made_sampler": "MADE, 28 x 28 digits",
    "made_photos32_sampler": "MADE, 32 x 32 colour crops",
    "gs_jacobi_pixelcnnpp_sampler": "PixelCNN++, 28 x 28 digits",
    "pixelcnnpp_photos32_sampler": "PixelCNN++, 32 x 32 colour crops",
    "wavenet_sampler": "WaveNet, likeliest samples",
    "wavenet_gated_sampler": "WaveNet (gated), drawn samples",
    "language_sampler": "language model, drawn characters",
    "language_consistency_sampler": "language model trained for few steps",
    "flow_sampler": "normalizing flow, 6 blocks",
    "maf_sampler": "masked autoregressive flow, 4 blocks",
    "diffusion_sampler": "diffusion, DDIM",
    "diffusion_ddpm": "diffusion, DDPM",
    "diffusion_dpm_solver": "diffusion, DPM-Solver++",
    "diffusion_inversion": "diffusion, from images to noise",
    "densenet": "DenseNet, 48 layers",
    "densenet201": "DenseNet-201",
    "residual_network": "residual network, 48 layers",
    "ode_pendulum": "pendulum",
    "ode_contraction": "contraction",
    "ode_lorenz63": "Lorenz's equations (chaotic)",
    "mcmc_hmc": "Hamiltonian Monte Carlo",
    "mcmc_mala": "MALA",
    "mcmc_eight_schools": "Hamiltonian Monte Carlo, eight schools",
    "mcmc_two_wells": "random walk between two wells",
    "backprop": "RNN, backward pass",
}


def names(solvers: Sequence[str]) -> str:
    """Names of solvers as code."""
    return ", ".join(f"`{name}`" for name in solvers)


def choices() -> str:
    """The tree of questions, a line for each advice, and what to try where it fails."""
    rows = [
        [" → ".join((path[0].split(",")[0], *path[1:])), names(leaf.solvers), leaf.because] for path, leaf in advice()
    ]
    rows += [[trouble, names(solvers), ""] for trouble, solvers in INSTEAD]
    return markdown(["your system", "try", "why"], rows)


def on_cpu() -> str:
    """For every system the cached baseline and the parallel solver with the fewest steps, and who is fastest."""
    lines = []
    for config, title in SYSTEMS.items():
        rows = converged(config)
        baseline = next(row for row in rows if is_cached(row))
        parallel = [row for row in rows if is_parallel(row)]
        fewest, fastest = min(parallel, key=lambda row: row["num_steps"]), min(rows, key=median)
        system = results(config)["system"]
        lines.append(
            [
                f"{title} (`{config}`)",
                f"{system['num_equations']:,}",
                f"`{fewest['label']}`",
                f"{fewest['num_steps']:,}",
                format_seconds(median(fewest)),
                format_seconds(median(baseline)),
                f"`{fastest['label']}`",
            ]
        )
    header = ["system (config)", "T", "fewest steps", "steps", "its time", "time with a cache", "fastest on this CPU"]
    return markdown(header, lines)


def errors() -> str:
    """How exact the answers are: the solvers of two runs, against the reference solver."""
    lines = []
    for config in ("made_sampler", "ode_pendulum"):
        found = results(config)
        for row in converged(config):
            if is_parallel(row) or is_cached(row):
                error = row["max_abs_error"]
                shown = "0" if error == 0 else f"{error:.1e}"
                reference = found["error_reference"]
                lines.append([f"`{config}`", f"`{row['label']}`", shown, str(row["mismatched_equations"]), reference])
    return markdown(["config", "solver", "largest difference", "equations off by more than 0.001", "from"], lines)


def memory() -> str:
    """The memory of a solve by each solver, as the compiler reports it on a CPU."""
    lines = []
    for config in ("made_sampler", "diffusion_sampler", "mcmc_hmc"):
        system = results(config)["system"]
        for row in converged(config):
            shape = f"{system['num_equations']:,} x {system['batch_size']}"
            lines.append([f"`{config}`", shape, f"`{row['label']}`", format_bytes(row["peak_memory_bytes"])])
    return markdown(["config", "equations x batch", "solver", "memory of a solve"], lines)


def blocks() -> str:
    """What the length of a block does to steps, work and time, on PixelCNN++."""
    rows = [row for row in converged("gs_jacobi_pixelcnnpp_sampler") if "gs_jacobi" in row["solver"]]
    lines = [
        [
            f"`{row['solver']}`",
            str(row["options"]["block_size"]),
            str(row["num_steps"]),
            f"{row['sweep_equivalents']:.3g}",
            format_seconds(median(row)),
        ]
        for row in rows
    ]
    return markdown(["solver", "block_size", "steps", "work, in sweeps", "time, 2 CPU cores"], lines)


def made() -> str:
    """Steps, work and time on MADE."""
    lines = [
        [f"`{row['label']}`", str(row["num_steps"]), f"{row['sweep_equivalents']:.3g}", format_seconds(median(row))]
        for row in converged("made_sampler")
        if row["solver"] in ("sequential", "cached_sequential", "jacobi")
    ]
    return markdown(["solver", "steps", "work, in sweeps", "time, 2 CPU cores"], lines)


def fewest_steps() -> str:
    """The fewest steps of a parallel solver on some systems."""
    lines = []
    for config in (
        *("made_sampler", "gs_jacobi_pixelcnnpp_sampler", "wavenet_sampler", "language_sampler"),
        *("language_consistency_sampler", "diffusion_sampler", "ode_contraction", "ode_pendulum", "ode_lorenz63"),
    ):
        fewest = min(filter(is_parallel, converged(config)), key=lambda row: row["num_steps"])
        equations = results(config)["system"]["num_equations"]
        lines.append([SYSTEMS[config], f"{equations:,}", f"{fewest['num_steps']:,}", f"`{fewest['label']}`"])
    return markdown(["system", "equations (T)", "steps", "solver"], lines)


def options() -> str:
    """The options of every solver, with their defaults."""
    lines = []
    for name, kind in SOLVERS.items():
        told = []
        for field in dataclasses.fields(kind):
            default = solver_name(field.default) if isinstance(field.default, Solver) else field.default
            told.append(f"`{field.name}` {default}")
        lines.append([f"`{name}`", ", ".join(told)])
    return markdown(["solver", "options, and their defaults"], lines)


def flags() -> str:
    """The flags of the program, as it knows them itself."""
    lines = []
    for action in parser()._actions:
        value = f" {action.metavar}{' ...' if action.nargs == '+' else ''}" if action.metavar else ""
        lines.append([f"`{action.option_strings[0]}{value}`", str(action.help)])
    return markdown(["flag", "what it does"], lines)


TABLES: dict[str, Callable[..., str]] = {
    "headline": headline,
    "solved": solved,
    "gallery": gallery,
    "every": every,
    "choices": choices,
    "on_cpu": on_cpu,
    "on_gpu": on_gpu,
    "launched": launched,
    "timed": timed,
    "gpu_limits": gpu_limits,
    "errors": errors,
    "memory": memory,
    "blocks": blocks,
    "made": made,
    "fewest_steps": fewest_steps,
    "survey": survey,
    "timing": timing,
    "voice": voice,
    "options": options,
    "flags": flags,
}


def filled(text: str) -> str:
    """A page with its tables written anew."""
    return MARKED.sub(lambda match: f"{match[1]}\n{TABLES[match[2]](*match[3].split())}\n{match[4]}", text)


def pages() -> list[Path]:
    """The pages that have such tables."""
    every_page = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    return [path for path in every_page if MARKED.search(path.read_text())]


if __name__ == "__main__":
    for page in pages():
        page.write_text(filled(page.read_text()))

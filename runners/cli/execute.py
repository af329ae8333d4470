"""Run the experiment of a config, or hold it against its contract, on the device that is asked for."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import jax
from rich.console import Console

from common.paths import RESULTS, user_path
from runners import RUNNERS
from runners.cli.flags import DEVICES, SILENT
from runners.cli.folder import check_folder
from runners.cli.publish import publish
from runners.cli.reference import check_reference
from runners.config.files import anchor_paths, apply_overrides, read_config
from runners.config.schema import UsageError, check_config
from runners.experiment import RunContext, Runner
from runners.measure.processes import by_first, is_first, join, several
from runners.measure.programs import keep_programs, silence_xla
from solvers.trees.platform import on_cpu

# Switches of JAX that cannot be on, and why.
_PASSED_OVER = "values that are not finite are passed over on a solver's way and judged at its end"
_SWITCHES = {
    "jax_debug_nans": _PASSED_OVER,
    "jax_debug_infs": _PASSED_OVER,
    "jax_disable_jit": "solvers are measured as compiled programs",
}


def execute(options: argparse.Namespace, path: Path, name: str, console: Console) -> None:
    """Do what the command line ``options`` ask for with the config at ``path``, by the runner called ``name``."""
    if options.verbose != "debug":
        silence_xla()
    runner: type[Runner] = RUNNERS[name]
    config = anchor_paths(apply_overrides(read_config(path, runner.Config), options.set, runner.Config), path.parent)
    if options.seed is not None:
        config["seed"] = options.seed
    checked = check_config(runner.Config, config, path.name)
    out = user_path(options.out) if options.out else RESULTS / path.stem
    if options.check is None:
        check_reference(out)
    join(options.coordinator, options.num_processes, options.process_id)
    _use_device(options.device)
    _use_precision(checked.precision)
    if several() and not runner.Config.shares_devices:
        raise UsageError(f"{name} runs in one process; leave --coordinator out")
    if options.check is None:
        by_first(lambda: check_folder(out))
    _check_switches()
    keep_programs()
    _set_verbosity(options.verbose, console)
    context = RunContext(name, path.stem, out.absolute(), console, all_columns=options.verbose == "debug")
    if options.check is not None:
        from runners.cli.check import check_contracts  # which takes a while

        check_contracts(runner, checked, context)
        return
    report = runner(checked, context).run()
    by_first(lambda: publish(report, context))


def _set_verbosity(level: str, console: Console) -> None:
    """Below "info" no progress and no messages; with "debug" also what JAX compiles, and for how long."""
    console.quiet = level in SILENT or not is_first()
    logging.basicConfig(level=level.upper(), format="%(levelname)s %(name)s: %(message)s")
    jax.config.update("jax_log_compiles", level == "debug")


def _check_switches() -> None:
    """Refuse switches of JAX under which no solver can work. Raises UsageError."""
    for name, why in _SWITCHES.items():
        if getattr(jax.config, name):
            raise UsageError(f"{name.upper()} is set, and {why}; unset it")


def _use_device(device: str | None) -> None:
    """Start JAX on a kind of device, or on its own choice. Raises UsageError where it is not there."""
    before = jax.config.jax_platforms  # type: ignore[attr-defined]
    if device is not None:
        jax.config.update("jax_platforms", DEVICES[device])
    try:
        found = jax.devices()[0].platform
    except RuntimeError as error:
        if device is None:
            raise UsageError(f"JAX finds no device: {error}") from None
        found = "none"
    if device not in (None, found):
        jax.config.update("jax_platforms", before)
        hint = " or install requirements-gpu.txt" if device == "gpu" else ""
        raise UsageError(f"device {device} is not available to JAX on this machine; use --device cpu{hint}")


def _use_precision(precision: str) -> None:
    """Take all products of float32 numbers in a precision by JAX's name, within solves and beside them.

    A CPU has one alone: its programs are those that they would be without.
    """
    if not on_cpu():
        jax.config.update("jax_default_matmul_precision", precision)

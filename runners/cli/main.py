"""The command line: parse, load and check the config, look the runner up, run, exit code.

Exit codes: 0 done, 1 the run failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import io
import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from rich.console import Console

from common.code import own_traceback
from common.errors import UserError
from common.names import unknown
from common.paths import RESULTS, user_path
from runners import RUNNERS
from runners.cli.choice import choose_runner
from runners.cli.folder import check_folder
from runners.cli.help import print_help
from runners.cli.publish import publish
from runners.config.files import anchor_paths, apply_overrides, find_config, read_config
from runners.config.schema import UsageError, check_config
from runners.experiment import RunContext, RunFailure, Runner
from runners.measure.programs import keep_programs, silence_xla
from runners.report.console import TextConsole, silence
from solvers import __version__

INTERRUPTED = 130  # the exit code after Ctrl-C, as shells have it
LEVELS = ("debug", "info", "warning", "error")
_SILENT = ("warning", "error")
# What JAX is asked for; the processor serves beside an accelerator.
DEVICES = {"cpu": "cpu", "gpu": "cuda,cpu", "tpu": "tpu,cpu"}

# Switches of JAX that cannot be on, and why.
_PASSED_OVER = "values that are not finite are passed over on a solver's way and judged at its end"
_SWITCHES = {
    "jax_debug_nans": _PASSED_OVER,
    "jax_debug_infs": _PASSED_OVER,
    "jax_disable_jit": "solvers are measured as compiled programs",
}

# Flags of the published code bases, and what took their place.
_OLD_FLAGS = {
    **dict.fromkeys(("--doc", "--run", "--image_folder", "--exp", "--comment"), "--out"),
    **dict.fromkeys(("--test", "--sample"), "--runner"),
    "--resume_training": "nothing: TrainRunner resumes by itself",
}


_ABOUT = """\
Solve networks as triangular systems of equations by many solvers, and compare their answers and times.

    python main.py --config made_sampler.yml                       run an experiment; results go to plot_data/
    python main.py --config made_sampler.yml --set batch_size=16   with another value for a key of its config
    python main.py --config made_sampler.yml --help                the keys of its config
    python main.py --list                                          which experiments there are"""


class _Parser(argparse.ArgumentParser):
    """argparse with one sentence for a mistake."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without such letters is no reason to fail
    console = TextConsole(stderr=True)
    try:
        return _main(sys.argv[1:] if arguments is None else arguments, console)
    except UserError as error:
        return _complain(error, 2)
    except RunFailure as error:
        return _complain(error, 1)
    except KeyboardInterrupt as error:
        return _complain(str(error) or "interrupted; nothing was written that was not complete", INTERRUPTED)
    except Exception as error:
        return _fail(error)


def _fail(error: Exception) -> int:
    """Say why a run failed: memory, a user's own file, the disk. Any other exception is a fault of ours, and raised."""
    out_of_memory = isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" in str(error)  # JAX's word for it
    if out_of_memory or isinstance(error, MemoryError):
        return _complain("the device ran out of memory; try a smaller batch_size", 1)
    shown = own_traceback(error)
    if shown is not None:
        with suppress(BrokenPipeError):
            print(shown, file=sys.stderr)
        return _complain("your own code failed, at the place above", 1)
    if isinstance(error, OSError):
        return _complain(error, 1)
    raise error


def _complain(message: object, code: int) -> int:
    try:
        print("error:", " ".join(str(message).splitlines()), file=sys.stderr, flush=True)
    except BrokenPipeError:  # nobody is there to read it
        silence(sys.stderr)
    return code


def _main(arguments: Sequence[str], console: Console) -> int:
    options = _parse(arguments)
    if options.download is not None:
        _check_alone(options)
        from runners.cli.download import run_download

        console.quiet = options.verbose in _SILENT
        run_download(options.download, console)
        return 0
    if options.help or options.version or options.list:
        try:
            _tell(options)
            print(end="", flush=True)
        except BrokenPipeError:
            silence(sys.stdout)
        return 0
    reference = options.config if options.check is None else options.check
    if reference is None:
        raise UsageError("--config is needed, for example --config made_sampler.yml (or --list, to see what there is)")
    path = find_config(reference)
    name = choose_runner(options.runner, path, options.set)
    if options.verbose != "debug":
        silence_xla()
    runner: type[Runner] = RUNNERS[name]
    config = anchor_paths(apply_overrides(read_config(path, runner.Config), options.set, runner.Config), path.parent)
    if options.seed is not None:
        config["seed"] = options.seed
    checked = check_config(runner.Config, config, path.name)
    out = user_path(options.out) if options.out else RESULTS / path.stem
    if options.check is None:
        check_folder(out)
    _use_device(options.device)
    _check_switches()
    keep_programs()
    _set_verbosity(options.verbose, console)
    context = RunContext(name, path.stem, out.absolute(), console, all_columns=options.verbose == "debug")
    if options.check is not None:
        from runners.cli.check import check_contracts  # which takes a while

        check_contracts(runner, checked, context)
        return 0
    publish(runner(checked, context).run(), context)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="main.py",
        description=_ABOUT,
        allow_abbrev=False,
        add_help=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--config", metavar="FILE", help="the experiment: a name in configs/ or a path")
    add("--runner", metavar="NAME", help="who runs it, where the config does not say so; see --list")
    add("--set", metavar="KEY=VALUE", nargs="+", action="extend", default=[], help="override config keys")
    add("--seed", type=int, metavar="N", help="override the config's seed")
    add("--out", metavar="DIR", help="where results go; default plot_data/<config name>/")
    add("--device", metavar="KIND", help=f"one of {', '.join(DEVICES)}; default: JAX's choice")
    add("--verbose", metavar="LEVEL", default="info", help=f"one of {', '.join(LEVELS)}; the last two hide progress")
    add("--list", action="store_true", help="runners, configs, checkpoints, solvers and which goes with which system")
    add("--check", metavar="FILE", help="hold the model or system of a config against its contract; it is not run")
    add("--download", metavar="NAME", help="fetch published weights; see --list")
    add("--version", action="store_true", help="print the version")
    add("--help", "-h", action="store_true", help="print this; with --runner or --config, the keys of such a config")
    return parser


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest:
        flag = rest[0].split("=")[0]
        if flag in _OLD_FLAGS:
            raise UsageError(f"flag {flag} belongs to an older code base; its successor is {_OLD_FLAGS[flag]}")
        flags = [flag for action in parser._actions for flag in action.option_strings]
        kind = "flag" if flag.startswith("-") else "argument"
        raise UsageError(unknown(kind, flag, flags))
    if options.verbose not in LEVELS:
        raise UsageError(unknown("level", options.verbose, LEVELS))
    if options.device == "cuda":
        raise UsageError("device 'cuda' is called 'gpu' here; valid: " + ", ".join(DEVICES))
    if options.device is not None and options.device not in DEVICES:
        raise UsageError(unknown("device", options.device, DEVICES))
    return options


def _tell(options: argparse.Namespace) -> None:
    """Print what was asked for about the program itself."""
    if options.help:
        print_help(_parser(), options.runner, options.config, options.set)
    elif options.version:
        print(f"trisolve {__version__}")
    else:
        from runners.cli.listing import print_listing

        print_listing()


def _check_alone(options: argparse.Namespace) -> None:
    """Refuse what has no meaning beside --download."""
    if options.out is not None:
        raise UsageError("--out does not go with --download; the variable TRISOLVE_CACHE says where downloads go")
    for flag in ("runner", "config", "set", "seed", "device", "list"):
        given = getattr(options, flag)
        if given is not None and given is not False and given != []:
            raise UsageError(f"--{flag} does not go with --download; first download, then run")


def _set_verbosity(level: str, console: Console) -> None:
    """Below "info" no progress and no messages; with "debug" also what JAX compiles, and for how long."""
    import jax

    console.quiet = level in _SILENT
    logging.basicConfig(level=level.upper(), format="%(levelname)s %(name)s: %(message)s")
    jax.config.update("jax_log_compiles", level == "debug")


def _check_switches() -> None:
    """Refuse switches of JAX under which no solver can work. Raises UsageError."""
    import jax

    for name, why in _SWITCHES.items():
        if getattr(jax.config, name):
            raise UsageError(f"{name.upper()} is set, and {why}; unset it")


def _use_device(device: str | None) -> None:
    """Start JAX on a kind of device, or on its own choice. Raises UsageError where it is not there."""
    import jax

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

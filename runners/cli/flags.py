"""The flags of the command line, and what it says of itself."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from common.names import unknown
from runners.config.schema import UsageError

LEVELS = ("debug", "info", "warning", "error")
SILENT = ("warning", "error")
# What JAX is asked for; the processor serves beside an accelerator.
DEVICES = {"cpu": "cpu", "gpu": "cuda,cpu", "tpu": "tpu,cpu"}

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


def parser() -> argparse.ArgumentParser:
    """The parser of all flags."""
    made = _Parser(
        prog="main.py",
        description=_ABOUT,
        allow_abbrev=False,
        add_help=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("--config", metavar="FILE", help="the experiment: a name in configs/ or a path")
    add("--runner", metavar="NAME", help="who runs it, where the config does not say so; see --list")
    add("--set", metavar="KEY=VALUE", nargs="+", action="extend", default=[], help="override config keys")
    add("--seed", type=int, metavar="N", help="override the config's seed")
    add("--out", metavar="DIR", help="where results go; default plot_data/<config name>/")
    add("--device", metavar="KIND", help=f"one of {', '.join(DEVICES)}; default: JAX's choice")
    add("--coordinator", metavar="ADDRESS", help="of several processes the first one's HOST:PORT, or auto on a cluster")
    add("--num_processes", type=int, metavar="N", help="how many processes run this command together")
    add("--process_id", type=int, metavar="I", help="which of them this one is, from 0; the first one writes")
    add("--verbose", metavar="LEVEL", default="info", help=f"one of {', '.join(LEVELS)}; the last two hide progress")
    add("--list", action="store_true", help="runners, configs, checkpoints, solvers and which goes with which system")
    add("--check", metavar="FILE", help="check the model or system of a config against its contract; it is not run")
    add(
        "--compare",
        metavar="FOLDER",
        nargs="+",
        help="compare results of runs: folders, or the name of a config, whose shipped results are compared with yours",
    )
    add("--download", metavar="NAME", help="fetch published weights; see --list")
    add("--version", action="store_true", help="print the version")
    add("--help", "-h", action="store_true", help="print this; with --runner or --config, the keys of such a config")
    return made


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The flags that are given. Raises UsageError: one sentence that names the nearest flag or value."""
    ours = parser()
    options, rest = ours.parse_known_args(arguments)
    if rest:
        flag = rest[0].split("=")[0]
        if flag in _OLD_FLAGS:
            raise UsageError(f"flag {flag} belongs to an older code base; its successor is {_OLD_FLAGS[flag]}")
        flags = [flag for action in ours._actions for flag in action.option_strings]
        kind = "flag" if flag.startswith("-") else "argument"
        raise UsageError(unknown(kind, flag, flags))
    if options.verbose not in LEVELS:
        raise UsageError(unknown("level", options.verbose, LEVELS))
    if options.device == "cuda":
        raise UsageError("device 'cuda' is called 'gpu' here; valid: " + ", ".join(DEVICES))
    if options.device is not None and options.device not in DEVICES:
        raise UsageError(unknown("device", options.device, DEVICES))
    return options

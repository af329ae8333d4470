"""The command line: parse, load and check the config, look the runner up, run, exit code.

Exit codes: 0 done, 1 the run failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from contextlib import suppress

from rich.console import Console

from common.code import own_traceback
from common.errors import UserError
from runners.cli.choice import choose_runner
from runners.cli.flags import SILENT, parse, parser
from runners.cli.help import print_help
from runners.config.files import find_config
from runners.config.schema import UsageError
from runners.experiment import RunFailure
from runners.report.console import TextConsole, silence

INTERRUPTED = 130  # the exit code after Ctrl-C, as shells have it


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
    if _lost_a_process(error):
        return _complain("another process of this run has ended or cannot be reached; its results are not written", 1)
    shown = own_traceback(error)
    if shown is not None:
        with suppress(BrokenPipeError):
            print(shown, file=sys.stderr)
        return _complain("your own code failed, at the place above", 1)
    if isinstance(error, OSError):
        return _complain(error, 1)
    raise error


def has_joined_others() -> bool:
    """Whether this process is one of several, which wait for each other at their end too."""
    jax = sys.modules.get("jax")  # it comes with the run itself, and takes a while
    return jax is not None and bool(jax.distributed.is_initialized())


def _lost_a_process(error: Exception) -> bool:
    """Whether an error is JAX's word for another process that does not answer."""
    words = ("Gloo", "NCCL", "UNAVAILABLE", "heartbeat", "coordination")
    return has_joined_others() and any(word in str(error) for word in words)


def _complain(message: object, code: int) -> int:
    try:
        print("error:", " ".join(str(message).splitlines()), file=sys.stderr, flush=True)
    except BrokenPipeError:  # nobody is there to read it
        silence(sys.stderr)
    return code


def _main(arguments: Sequence[str], console: Console) -> int:
    options = parse(arguments)
    if options.download is not None:
        _check_alone(options, "download", "first download, then run")
        from runners.cli.download import run_download

        console.quiet = options.verbose in SILENT
        run_download(options.download, console)
        return 0
    if options.compare is not None:
        _check_alone(options, "compare", "it runs nothing")
        from runners.cli.compare import compare

        compare(options, console)
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
    from runners.cli.execute import execute  # JAX comes with it, which takes a while

    execute(options, path, name, console)
    return 0


def _tell(options: argparse.Namespace) -> None:
    """Print what was asked for about the program itself."""
    if options.help:
        print_help(parser(), options.runner, options.config, options.set)
    elif options.version:
        from solvers import __version__

        print(f"trisolve {__version__}")
    else:
        from runners.cli.listing import print_listing

        print_listing()


def _check_alone(options: argparse.Namespace, flag: str, why: str) -> None:
    """Refuse what has no meaning beside --download or --compare."""
    if flag == "download" and options.out is not None:
        raise UsageError("--out does not go with --download; the variable TRISOLVE_CACHE says where downloads go")
    for other in ("runner", "config", "set", "seed", "device", "list", "check"):
        given = getattr(options, other)
        if given is not None and given is not False and given != []:
            raise UsageError(f"--{other} does not go with --{flag}; {why}")

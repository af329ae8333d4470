"""What --help and --version print: the flags, or the keys of a runner's config."""

from __future__ import annotations

import argparse
import inspect
import textwrap
from collections.abc import Sequence

from runners import RUNNERS
from runners.cli.choice import choose_runner
from runners.config.describe import describe_keys
from runners.config.files import find_config

_WIDTH = 100


def print_help(
    parser: argparse.ArgumentParser, runner: str | None, config: str | None, overrides: Sequence[str] = ()
) -> None:
    """The flags; or where a runner is named, by its name or by a config, what it does and the keys of its configs.

    Raises UserError where there is no such runner or config.
    """
    if runner is None and config is None:
        print(parser.format_help(), end="")
        return
    name = str(runner) if config is None else choose_runner(runner, find_config(config), overrides)
    kind = RUNNERS[name]
    print(f"{name}: {inspect.getdoc(kind)}\n\nThe keys of its configs:\n")
    for key in describe_keys(kind.Config):
        default = "must be given" if key.default is None else f"default {key.default}"
        print(f"  {key.name}: {key.kind}; {default}")
        if key.sentence:
            print(textwrap.fill(key.sentence, _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6))

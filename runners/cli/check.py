"""--check: whether the model or the system of a config keeps its contract, and which protocols it satisfies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

from models.capabilities import ImageModel
from models.contracts import BrokenModelError, check_image_model, equations_of
from runners.config.schema import RunConfig, UsageError
from runners.config.systems import usable_system
from runners.experiment import Checkable, RunContext, RunFailure, Runner
from runners.report.console import LiveProgress
from solvers import BrokenSystemError, SolveError, TriangularSystem, check_system


def check_contracts(runner: type[Runner], config: RunConfig, context: RunContext) -> None:
    """Check what a config is about, print each finding as it comes, and on a terminal show how long it has taken.

    Raises UserError where the runner has nothing to check, and RunFailure where a contract is broken.
    """
    if not isinstance(runner, Checkable):
        raise UsageError(
            f"{context.runner} has no model or system that --check knows; it checks samplers, trainings, "
            "evaluations and SystemRunner"
        )
    with LiveProgress(
        context.console, SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), transient=True
    ) as progress:
        progress.add_task(f"checking {context.name}")

        def say(line: str) -> None:
            progress.stop()  # which else takes standard output for its own
            print(line, flush=True)
            progress.start()

        name, subject = runner.to_check(config, context)
        try:
            check_system(_system(name, subject, config.seed, say), say=say)
        except (BrokenModelError, BrokenSystemError, SolveError) as error:
            raise RunFailure(f"{name}: {error}") from None


def _system(name: str, subject: Any, seed: int, say: Callable[[str], None]) -> Any:
    """The equations to check: a system itself, or those of a small batch of a model's samples, the model checked."""
    if isinstance(subject, TriangularSystem):
        return subject
    if isinstance(subject, ImageModel):
        check_image_model(subject, seed, say)
    return usable_system(equations_of(subject, seed), name)

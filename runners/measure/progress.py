"""The progress bar of a comparison: one line a solver, with what it is doing and how far it is."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from runners.report.console import LiveProgress


class SolveProgress(LiveProgress):
    """Shows solvers one after the other; silent where the console is not a terminal, but for a line a solver."""

    def __init__(self, console: Console, stages: Mapping[str, int]) -> None:
        """``stages``: for each solver's label into how many parts its work falls, at the most."""
        super().__init__(
            console,
            SpinnerColumn(finished_text="+"),
            TextColumn("{task.description:<28}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[stage]:<12}"),
            TimeElapsedColumn(),
        )
        self.stages = stages
        self.lines: dict[str, TaskID] = {
            label: self.add_task(label, total=float(count), start=False, stage="") for label, count in stages.items()
        }
        self.done = dict.fromkeys(stages, 0)
        self.current: str | None = None

    def stage(self, label: str, name: str) -> None:
        """``label`` begins its next stage."""
        if label != self.current:
            self.finish()
            self.current = label
            self.start_task(self.lines[label])
            if not self.console.is_terminal:
                self.console.print(f"{label} ...")
        self.update(self.lines[label], stage=name, completed=float(self.done[label]))
        self.done[label] += 1

    def at(self, label: str, frontier: int, total: int) -> None:
        """``label`` is within its stage: ``frontier`` of ``total`` equations are exact."""
        self.update(self.lines[label], completed=self.done[label] - 1 + frontier / max(1, total))

    def finish(self) -> None:
        """The current solver is done."""
        if self.current is not None:
            self.update(self.lines[self.current], stage="done", completed=float(self.stages[self.current]))
            self.stop_task(self.lines[self.current])

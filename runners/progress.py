"""The progress bar of a comparison: one line a solver, with what it is doing and how far it is."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


class SolveProgress:
    """Shows solvers one after the other; silent where the console is not a terminal, but for a line a solver."""

    def __init__(self, console: Console, labels: list[str], repeats: int, trace: bool) -> None:
        """``repeats`` timed runs, one to warm up, and with ``trace`` two more are a solver's stages."""
        self.console = console
        self.bar = Progress(
            SpinnerColumn(finished_text="+"),
            TextColumn("{task.description:<28}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[stage]:<12}"),
            TimeElapsedColumn(),
            console=console,
            transient=not console.is_terminal,
            disable=not console.is_terminal,
        )
        self.stages = 2 + repeats + (2 if trace else 0)
        self.tasks: dict[str, TaskID] = {
            label: self.bar.add_task(label, total=float(self.stages), start=False, stage="") for label in labels
        }
        self.done = dict.fromkeys(labels, 0)
        self.current: str | None = None

    def __enter__(self) -> SolveProgress:
        """Show the bar."""
        self.bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Take the bar away, with the last solver marked as done if all went well."""
        if error is None:
            self._finish()
        self.bar.__exit__(kind, error, traceback)

    def stage(self, label: str, name: str) -> None:
        """``label`` begins its next stage."""
        if label != self.current:
            self._finish()
            self.current = label
            self.bar.start_task(self.tasks[label])
            if not self.console.is_terminal:
                self.console.print(f"{label} ...")
        self.bar.update(self.tasks[label], stage=name, completed=float(self.done[label]))
        self.done[label] += 1

    def at(self, label: str, frontier: int, total: int) -> None:
        """``label`` is within its stage: ``frontier`` of ``total`` equations are exact."""
        self.bar.update(self.tasks[label], completed=self.done[label] - 1 + frontier / max(1, total))

    def _finish(self) -> None:
        if self.current is not None:
            self.bar.update(self.tasks[self.current], stage="done", completed=float(self.stages))
            self.bar.stop_task(self.tasks[self.current])

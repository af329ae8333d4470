"""``--download NAME``: fetch published weights, with a bar, and say where they are."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from common.names import unknown
from models.weights.downloads import DownloadError, download, downloads
from models.weights.fetching import FetchSettings
from runners.config.schema import UsageError
from runners.experiment import RunFailure
from runners.report.console import LiveProgress
from runners.report.units import format_bytes

SETTINGS = FetchSettings()
_QUIET_S = 10.0  # between two lines where there is no terminal


class DownloadProgress(LiveProgress):
    """A bar on a terminal; elsewhere a line now and then."""

    def __init__(self, console: Console, name: str) -> None:
        super().__init__(
            console,
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        self.name = name
        self.task = self.add_task(name, total=None, visible=False)
        self.reported = time.monotonic()

    def at(self, received: int, total: int | None) -> None:
        """``received`` bytes of ``total`` are here."""
        self.update(self.task, completed=received, total=total, visible=True)
        if not self.console.is_terminal and time.monotonic() - self.reported >= _QUIET_S:
            self.reported = time.monotonic()
            self.say(f"{self.name}: {format_bytes(received)} of {format_bytes(total) if total else 'unknown size'}")


def run_download(name: str, console: Console) -> None:
    """Download, and print the weights' size, place and hash to standard output.

    Raises UsageError where there is no such download, RunFailure where it failed.
    """
    entries = downloads()
    if name not in entries:
        raise UsageError(unknown("download", name, entries))
    entry = entries[name]
    try:
        with DownloadProgress(console, name) as progress:
            progress.say(f"{name}: published by {entry.publisher}; licence: {entry.licence}")
            fetched = download(entry, progress, SETTINGS)
            if fetched.is_first:
                progress.say("no hash is published: this one is on record, and later downloads must have it too")
            for other in fetched.others:
                progress.say(f"from the same archive: {other}")
    except DownloadError as error:
        raise RunFailure(str(error)) from None
    state = "downloaded" if fetched.is_new else "already there"
    size = format_bytes(fetched.path.stat().st_size)
    print(f"{name}: {state}, {size}, sha256 {fetched.sha256}, {fetched.path}")

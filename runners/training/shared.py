"""The state of an unfinished run where several processes train: the first one's disk is for all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from rich.console import Console

from runners.measure.devices import on_one_device
from runners.measure.processes import by_first, several, told
from runners.training.store import Snapshot, StateStore
from runners.training.trainer import TrainState


class SharedStore:
    """Saves and restores snapshots in a folder that the first process alone reads and writes, and tells the others of.

    A state says nothing of the devices that it was on: training goes on from it on another number of devices, and in
    another number of processes. In one process this is a StateStore.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], console: Console) -> None:
        """As a StateStore, whose UsageError it raises."""
        self.folder = folder.resolve()
        self.progress_folder = self.folder / "progress"
        self._own = by_first(lambda: StateStore(folder, config, console))

    def restore(self, like: TrainState) -> Snapshot | None:
        """The newest snapshot that the first process can read, None where there is none."""
        if not several():
            return None if self._own is None else self._own.restore(like)
        layout = on_one_device(like)
        snapshot = by_first(lambda: None if self._own is None else self._own.restore(layout))
        facts = told(None if snapshot is None else {"history": snapshot.history, "elapsed_s": snapshot.elapsed_s})
        if facts is None:
            return None
        state = multihost_utils.broadcast_one_to_all(layout if snapshot is None else snapshot.state)
        return Snapshot(state, **facts)

    def save(self, snapshot: Snapshot) -> None:
        """Write a snapshot, in the first process."""
        if self._own is not None:
            state = jax.tree.map(np.asarray, snapshot.state) if several() else snapshot.state
            self._own.save(Snapshot(state, snapshot.history, snapshot.elapsed_s))

    def close(self) -> None:
        """Let go of the folder."""
        if self._own is not None:
            self._own.close()

    def remove(self) -> None:
        """Delete what was written: the run is finished."""
        if self._own is not None:
            self._own.remove()

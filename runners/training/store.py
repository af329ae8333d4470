"""The state of an unfinished run on disk: whole states only, the last two, and the config that they belong to."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from filelock import FileLock, Timeout
from orbax.checkpoint.checkpoint_managers import LatestN
from rich.console import Console

from common.files import write_atomically
from common.reading import reading
from runners.config.schema import UsageError
from runners.measure.processes import several
from runners.training.trainer import TrainState

_CONFIG = "config.json"


@dataclass(frozen=True)
class Snapshot:
    """A run between two steps."""

    state: TrainState
    history: list[dict[str, Any]]  # one entry a finished epoch, as in results.json
    elapsed_s: float  # training time so far, over all resumptions


class StateStore:
    """Saves and restores snapshots in a folder."""

    def __init__(self, folder: Path, config: Mapping[str, Any], console: Console) -> None:
        """``config``: what the states depend on.

        Raises UsageError where the folder holds something else, or states of another config.
        """
        self.folder, self.console = folder.resolve(), console
        self.progress_folder = self.folder / "progress"  # for files that show the unfinished run
        states = self.folder / "states"
        if self.folder.is_dir():
            _check_folder(self.folder, states, config)
        elif self.folder.exists():
            raise UsageError(f"state_dir {folder} is a file; expected a folder, or a path where one can be made")
        self._lock = _locked(self.folder)
        write_atomically(self.folder / _CONFIG, json.dumps(config, indent=2).encode())
        options = ocp.CheckpointManagerOptions(
            preservation_policy=LatestN(2),
            cleanup_tmp_directories=True,
            enable_async_checkpointing=False,
            **(_alone() if several() else {}),
        )
        states.mkdir(parents=True, exist_ok=True)
        self._manager = ocp.CheckpointManager(states, options=options)

    def restore(self, like: TrainState) -> Snapshot | None:
        """The newest snapshot that can be read, None where there is none; ``like`` gives the layout.

        Raises UsageError where there are states and none can be read.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        for step in steps:
            try:
                return self._read(step, like)
            except Exception as error:  # what a damaged file raises depends on where the damage is
                self.console.print(
                    f"state {step} cannot be read ({type(error).__name__}); trying an older one", soft_wrap=True
                )
        if steps:
            raise UsageError(f"no state in {self.folder} can be read; delete the folder or choose another state_dir")
        return None

    def save(self, snapshot: Snapshot) -> None:
        """Write a snapshot; it counts only once it is complete."""
        step = int(snapshot.state.step)
        if step == self._manager.latest_step():
            return
        facts = {"history": snapshot.history, "elapsed_s": snapshot.elapsed_s}
        arguments = ocp.args.Composite(
            state=ocp.args.StandardSave(_named_leaves(snapshot.state)), facts=ocp.args.JsonSave(facts)
        )
        self._manager.save(step, args=arguments)

    def close(self) -> None:
        """Let go of the folder."""
        self._manager.close()
        Path(self._lock.lock_file).unlink(missing_ok=True)
        self._lock.release()

    def remove(self) -> None:
        """Delete what this store wrote: the run is finished. Anything else in the folder stays."""
        self.close()
        for folder in (self.folder / "states", self.progress_folder):
            shutil.rmtree(folder, ignore_errors=True)
        (self.folder / _CONFIG).unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _read(self, step: int, like: TrainState) -> Snapshot:
        layout = {name: ocp.utils.to_shape_dtype_struct(leaf) for name, leaf in _named_leaves(like).items()}
        arguments = ocp.args.Composite(state=ocp.args.StandardRestore(layout), facts=ocp.args.JsonRestore())
        found = self._manager.restore(step, args=arguments)
        leaves = [found["state"][name] for name in layout]
        state: TrainState = jax.tree.unflatten(jax.tree.structure(like), leaves)
        return Snapshot(state, found["facts"]["history"], found["facts"]["elapsed_s"])


def _alone() -> dict[str, Any]:
    """Options for a first process that does not wait for the others, which have no part in this."""
    options = ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0}, barrier_sync_key_prefix="first")
    return {"multiprocessing_options": options, "create": False}


def _locked(folder: Path) -> FileLock:
    """A lock beside ``folder`` that lasts as long as this process. Raises UsageError where another run holds it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{folder}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(f"state_dir {folder} is in use by another run; choose another state_dir") from None
    return lock


def _check_folder(folder: Path, states: Path, config: Mapping[str, Any]) -> None:
    """Raise UsageError unless a folder is empty, or a run's of the same config."""
    file = folder / _CONFIG
    if not file.is_file():
        if any(not path.name.startswith(".") for path in folder.iterdir()):
            raise UsageError(f"state_dir {folder} holds other files and no {_CONFIG}; choose another state_dir")
        return
    if not (states.is_dir() and any(path.name.isdigit() for path in states.iterdir())):
        return  # stopped before its first whole state
    complaint = "is damaged; delete the folder or choose another state_dir"
    with reading(file, complaint, UsageError, why=False):
        found = dict(json.loads(file.read_text(encoding="utf-8")))
    old, new = _flat(found), _flat(config)
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            raise UsageError(
                f"{folder} holds the state of an unfinished run with {key}: {old.get(key)}, the config says {key}: "
                f"{new.get(key)}; delete the folder or choose another state_dir"
            )


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A mapping with the keys of nested ones joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _named_leaves(state: TrainState) -> dict[str, jax.Array]:
    """The arrays of a state by their paths."""
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state)}

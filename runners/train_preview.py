"""What an unfinished training run shows of itself: samples, the weights so far and the best ones."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from models.checkpoints import save_checkpoint
from runners.figures import sample_grid
from runners.train_samples import Sampler
from runners.train_step import Trainer

BEST = "best.safetensors"
LATEST = "latest.safetensors"
_TIMES = 10  # how often samples are drawn in a run whose config does not say


def best_epoch(history: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The first of the epochs in which the averaged weights were at their best."""
    return min(history, key=lambda row: row["held_out_bits_per_dim_ema"])


class Preview:
    """A folder of files written while a run trains: averaged weights, to be loaded as ``checkpoint``, and pictures.

    ``best.safetensors`` belongs to the newest saved state: it is of the best epoch up to there, or of a later one that
    the run will come to again.
    """

    def __init__(self, trainer: Trainer, sampler: Sampler, folder: Path, name: str) -> None:
        """``name``: the config's."""
        config = trainer.config
        self.folder = folder
        self._trainer, self._sampler, self._name = trainer, sampler, name
        every = config.sample_every_epochs
        self._every = -(-config.epochs // _TIMES) if every is None else every
        self._best: tuple[Any, Mapping[str, Any]] | None = None  # averaged weights and their epoch, not yet on the disk

    def clear(self) -> None:
        """Forget what an earlier run has left."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def note(self, ema: Any, history: Sequence[Mapping[str, Any]]) -> None:
        """Take the averaged weights after the last epoch of ``history``."""
        if best_epoch(history) is history[-1]:
            self._best = ema, history[-1]

    def show(self, ema: Any, epoch: Mapping[str, Any]) -> None:
        """Write the latest weights and samples drawn from them, if it is their turn."""
        if not self._every or epoch["epoch"] % self._every:
            return
        self._save(LATEST, ema, epoch)
        sample_grid(self.folder / f"samples_{epoch['epoch']:04d}.png", self._sampler.draw(ema).images)

    def keep_best(self) -> None:
        """Write the best weights, if better ones have come."""
        if self._best is not None:
            self._save(BEST, *self._best)
            self._best = None

    def _save(self, file: str, ema: Any, epoch: Mapping[str, Any]) -> None:
        config = self._trainer.config
        info = {
            "dataset": config.data.name,
            "bits_per_dim": epoch["held_out_bits_per_dim_ema"],
            "epochs": epoch["epoch"],
            "seed": config.seed,
            "config": self._name,
        }
        save_checkpoint(self.folder / file, config.model["name"], self._trainer.model(ema), info)

"""The training loop: steps in slices of about half a second, evaluation each epoch, states saved on the way."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Array, UInt8

from runners.interrupt import InterruptFlag
from runners.run import RunFailure
from runners.train_preview import Preview
from runners.train_progress import TrainProgress
from runners.train_step import Trainer, TrainState
from runners.train_store import Snapshot, StateStore

_SLICE_S = 0.5  # how long the bar stands still and Ctrl-C waits


@dataclass
class TrainLoop:
    """One run from its first step, or from where it was left, to its last."""

    trainer: Trainer
    train_images: UInt8[Array, "N H W C"]
    held_out_images: UInt8[Array, "M H W C"]
    store: StateStore
    progress: TrainProgress
    preview: Preview
    history: list[dict[str, Any]] = field(default_factory=list)

    def run(self) -> Snapshot:
        """Train to the end.

        Raises:
            RunFailure: the loss, a gradient or the held-out bits/dim is not finite.
            KeyboardInterrupt: on Ctrl-C, with the state saved.
        """
        config, trainer = self.trainer.config, self.trainer
        state, before_s = self._begin()
        began = saved = time.monotonic()
        step, steps_a_slice = int(state.step), 1
        with InterruptFlag() as interrupted, self.progress:
            self.progress.at(step, self.history)
            while step < trainer.num_steps:
                slice_began = time.monotonic()
                epoch_end = (step // trainer.steps_per_epoch + 1) * trainer.steps_per_epoch
                state = trainer.advance(state, self.train_images, min(step + steps_a_slice, epoch_end))
                done = int(state.step) - step
                step += done
                self._check(state)
                steps_a_slice = _next_slice(steps_a_slice, done, time.monotonic() - slice_began)
                if step == epoch_end:
                    self._evaluate(state, before_s + time.monotonic() - began)
                    self.preview.note(state.ema, self.history)
                self.progress.at(step, self.history)
                if step == epoch_end and not interrupted:
                    self.preview.show(state.ema, self.history[-1])
                due = time.monotonic() - saved >= config.save_every_s
                if due or interrupted or step == trainer.num_steps:
                    self.preview.keep_best()  # first: a state's best weights are on the disk when the state is
                    self.store.save(Snapshot(state, self.history, before_s + time.monotonic() - began))
                    saved = time.monotonic()
                if interrupted:
                    raise KeyboardInterrupt
        return Snapshot(state, self.history, before_s + time.monotonic() - began)

    def _begin(self) -> tuple[TrainState, float]:
        """The newest saved state, or a fresh one, and the seconds spent on it before."""
        fresh = self.trainer.start()
        snapshot = self.store.restore(fresh)
        if snapshot is None:
            self.preview.clear()
            return fresh, 0.0
        self.history = list(snapshot.history)
        self.progress.say(f"resuming from step {int(snapshot.state.step)} of {self.trainer.num_steps}")
        return snapshot.state, snapshot.elapsed_s

    def _check(self, state: TrainState) -> None:
        config = self.trainer.config
        if not state.finite:
            raise RunFailure(
                f"the loss or its gradient is not finite at step {int(state.step)} of {self.trainer.num_steps}; "
                f"lower learning_rate ({config.learning_rate}) or grad_clip ({config.grad_clip})"
            )

    def _evaluate(self, state: TrainState, seconds: float) -> None:
        """Add the finished epoch to the history."""
        epoch = len(self.history) + 1
        raw, ema = (self.trainer.evaluate(params, self.held_out_images) for params in (state.params, state.ema))
        if not math.isfinite(raw + ema):
            raise RunFailure(f"the held-out bits/dim is not finite after epoch {epoch}; lower learning_rate")
        self.history.append(
            {
                "epoch": epoch,
                "step": int(state.step),
                "train_bits_per_dim": float(state.loss_sum) / self.trainer.steps_per_epoch,
                "held_out_bits_per_dim": raw,
                "held_out_bits_per_dim_ema": ema,
                "seconds": seconds,
            }
        )


def _next_slice(size: int, done: int, seconds: float) -> int:
    """How many steps take about _SLICE_S; growing by degrees, because the first call compiles too."""
    return max(1, min(4 * size, round(_SLICE_S * done / max(seconds, 1e-6))))

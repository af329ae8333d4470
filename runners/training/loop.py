"""The training loop: steps in slices of about half a second, evaluation each epoch, states saved on the way."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from runners.experiment import RunFailure
from runners.measure.processes import agreed, any_of
from runners.training.preview import Preview, TrainProgress
from runners.training.shared import SharedStore
from runners.training.store import Snapshot
from runners.training.trainer import Trainer, TrainState

_SLICE_S = 0.5  # how long the bar stands still and Ctrl-C waits


@dataclass
class TrainLoop:
    """One run from its first step, or from where it was left, to its last."""

    trainer: Trainer
    store: SharedStore
    progress: TrainProgress
    preview: Preview
    history: list[dict[str, Any]] = field(default_factory=list)

    def run(self) -> Snapshot:
        """Train to the end.

        Raises RunFailure where the loss, a gradient or a metric is not finite, and KeyboardInterrupt on Ctrl-C, with
        the state saved.
        """
        config, trainer = self.trainer.config, self.trainer
        state, before_s = self._begin()
        began = saved = time.monotonic()
        step, steps_a_slice = int(state.step), 1
        with ctrl_c() as pressed, self.progress:
            self.progress.at(step, self.history)
            while step < trainer.num_steps:
                slice_began = time.monotonic()
                epoch_end = (step // trainer.steps_per_epoch + 1) * trainer.steps_per_epoch
                state = trainer.advance(state, min(step + steps_a_slice, epoch_end))
                done = int(state.step) - step
                step += done
                if not state.finite:
                    raise RunFailure(
                        f"the loss or its gradient is not finite at step {step} of {trainer.num_steps}; lower "
                        f"learning_rate ({config.learning_rate}) or grad_clip ({config.grad_clip})"
                    )
                steps_a_slice = _next_slice(steps_a_slice, done, agreed(time.monotonic() - slice_began))
                due = self._evaluation_due(step)
                if due:
                    self._evaluate(state, before_s + time.monotonic() - began)
                    self.preview.note(state.averaged, self.history)
                self.progress.at(step, self.history)
                stop = any_of(pressed.is_set())
                if due and not stop:
                    self.preview.show(state.averaged, self.history)
                save = agreed(time.monotonic() - saved) >= config.save_every_s
                if save or stop or step == trainer.num_steps:
                    self.preview.keep_best()  # first: a state's best weights are on the disk when the state is
                    self.store.save(Snapshot(state, self.history, before_s + time.monotonic() - began))
                    saved = time.monotonic()
                if stop:
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
        return self.trainer.placed(snapshot.state), snapshot.elapsed_s

    def _evaluation_due(self, step: int) -> bool:
        """Whether the steps done end an epoch that is evaluated."""
        epoch, rest = divmod(step, self.trainer.steps_per_epoch)
        return rest == 0 and (epoch % self.trainer.config.eval_every_epochs == 0 or epoch == self.trainer.epochs)

    def _evaluate(self, state: TrainState, seconds: float) -> None:
        """Add the finished epoch to the history."""
        task, epoch = self.trainer.task, int(state.step) // self.trainer.steps_per_epoch
        when = f"after epoch {epoch}; lower learning_rate"
        raw, averaged = (self.trainer.evaluate(weights, when) for weights in (state.weights, state.averaged))
        row: dict[str, Any] = {"epoch": epoch, "step": int(state.step)}
        row[f"train_{task.metrics[0].key}"] = float(state.loss_sum) / self.trainer.steps_per_epoch
        for metric in task.metrics:
            row[task.evaluated.key(metric)] = raw[metric.key]
            row[task.evaluated.averaged_key(metric)] = averaged[metric.key]
        self.history.append({**row, "seconds": seconds})


@contextmanager
def ctrl_c() -> Iterator[threading.Event]:
    """An event that is set once Ctrl-C is pressed; pressed again it interrupts. Inactive outside the main thread."""
    pressed = threading.Event()

    def note(*_: Any) -> None:
        if pressed.is_set():
            raise KeyboardInterrupt
        pressed.set()

    if threading.current_thread() is not threading.main_thread():
        yield pressed
        return
    previous = signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, previous or signal.SIG_DFL)  # None: it was not set by Python


def _next_slice(size: int, done: int, seconds: float) -> int:
    """The number of steps that take about _SLICE_S; it grows by degrees, because the first call compiles too."""
    return max(1, min(4 * size, round(_SLICE_S * done / max(seconds, 1e-6))))

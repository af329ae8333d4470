"""All that an experiment on a DenseNet found out, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from data.images.dataset import LabelledImages
from models.weights.checkpoint import Checkpoint
from runners.densenet.answers import quartiles, top_classes
from runners.densenet.config import DenseNetRunnerConfig
from runners.densenet.follow import Followed
from runners.densenet.layers import CriticalPath
from runners.measure.comparison import Comparison
from runners.measure.job import Row
from runners.measure.timing import Times


@dataclass(frozen=True)
class Findings:
    """What was measured; times are those of the first batch."""

    config: DenseNetRunnerConfig
    checkpoint: Checkpoint
    pictures: LabelledImages
    comparison: Comparison
    exact: Float[np.ndarray, "N K"]  # the logits of the sequential pass
    followed: dict[str, Followed]  # by the label of a row
    path: CriticalPath
    sequential_s: Times  # the whole network once, layer after layer
    readout_s: Times  # logits from a state

    @cached_property
    def curves(self) -> dict[str, dict[str, np.ndarray]]:
        """By the label of a row, by step from the first guess on, what draws the pictures and makes curves.npz."""
        return {label: self._curves(label) for label in self.followed}

    def final_error(self, label: str) -> float:
        """The largest error of a logit when a solver is done, over all images."""
        return float(np.max(self.curves[label]["error"][-1]))

    @property
    def accuracy(self) -> float | None:
        """The share of images whose largest logit is that of their class, where it is known."""
        if self.pictures.labels is None:
            return None
        return float(np.mean(top_classes(self.exact)[:, 0] == self.pictures.labels))

    def settled(self, label: str) -> dict[str, dict[str, float]]:
        """Steps after which the five largest logits, their order and all logits do not change, over the images."""
        return {name: _spread(steps) for name, steps in self.followed[label].answers.settled().items()}

    def early_exits(self, label: str) -> list[dict[str, Any]]:
        """What stopping would do, for every k of the config."""
        answers, curves = self.followed[label].answers, self.curves[label]
        result = []
        for k in self.config.early_exit.k:
            mean = float(np.mean(answers.steps_at(answers.exits(k))))
            times = {"measured_s": _at(curves, "time_s", mean), "modelled_s": _at(curves, "modelled_s", mean)}
            result.append(answers.early_exit(self.exact, k) | times)
        return result

    def by_sweep(self, label: str) -> dict[str, Any]:
        """The curves over all images, by step."""
        curves = self.curves[label]
        shares = {name: curves[name].mean(axis=1).tolist() for name in ("top1", "top5", "top5_in_order")}
        relative = curves["error"] / np.max(np.abs(self.exact), axis=-1)
        return {
            "num_steps": curves["num_steps"].tolist(),
            "time_s": curves["time_s"].tolist(),
            "modelled_s": curves["modelled_s"].tolist(),
            "error": quartiles(curves["error"]),
            "relative_error": quartiles(relative),
            "difference": quartiles(curves["difference"]),
            **shares,
        }

    def times(self, label: str) -> dict[str, Any]:
        """Measured and modelled times until half of the images have their last top five, and in full."""
        curves, steps = self.curves[label], self.settled(label)["top5"]["median"]
        end = float(self.row(label).num_steps)
        return {
            "label": label,
            "top5_settled_steps": steps,
            "measured_top5_settled_s": _at(curves, "time_s", steps),
            "modelled_top5_settled_s": _at(curves, "modelled_s", steps),
            "measured_s": self.row(label).run_s.median,
            "modelled_s": _at(curves, "modelled_s", end),
        }

    def row(self, label: str) -> Row:
        """A solver's row of the comparison."""
        return next(row for row in self.comparison.rows if row.label == label)

    def _curves(self, label: str) -> dict[str, np.ndarray]:
        followed, row = self.followed[label], self.row(label)
        answers = followed.answers
        by_iteration = {
            "error": answers.error(self.exact),
            "difference": followed.difference,
            **answers.agreement(self.exact),
        }
        return {
            "num_steps": answers.all_steps,
            "time_s": _times(row, answers.all_steps),
            "modelled_s": self.path.modelled_s(row.entry, answers.all_steps),
            **{name: answers.by_steps(rows) for name, rows in by_iteration.items()},
        }


def _times(row: Row, num_steps: Int[np.ndarray, " S"]) -> Float[np.ndarray, " S"]:
    """Measured seconds by step on the first batch, linear in between; NaN for steps that it did not need."""
    trace = row.trace or {}
    known, seconds = (np.concatenate([[0], trace.get(name, [])]) for name in ("num_steps", "time_s"))
    return np.interp(num_steps, known, seconds, right=np.nan)


def _at(curves: dict[str, np.ndarray], name: str, num_steps: float) -> float:
    """A time after so many steps, linear in between; after the last known one that of its end."""
    known = np.isfinite(curves[name])
    return float(np.interp(num_steps, curves["num_steps"][known], curves[name][known]))


def _spread(steps: Int[np.ndarray, " N"]) -> dict[str, float]:
    """Over the images."""
    return {
        "median": float(np.median(steps)),
        "mean": float(np.mean(steps)),
        "min": int(np.min(steps)),
        "max": int(np.max(steps)),
    }

"""A classifier's errors: which classes it takes for which, and on which images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from runners.plotting.picture import Picture
from runners.training.task import ModelOutput
from runners.training.tasks.figures import errors_figure


@dataclass(frozen=True)
class Errors:
    """A classifier's answers on labelled images."""

    images: UInt8[np.ndarray, "N H W C"]
    labels: Int[np.ndarray, " N"]
    predicted: Int[np.ndarray, " N"]
    num_classes: int

    @cached_property
    def confusions(self) -> Int[np.ndarray, "K K"]:
        """The number of images of each class (row) that it takes for each class (column)."""
        counts = np.zeros((self.num_classes, self.num_classes), np.int64)
        np.add.at(counts, (self.labels, self.predicted), 1)
        return counts

    @property
    def record(self) -> dict[str, Any]:
        """The wrong answers, image by image."""
        wrong = [
            {"image": int(i), "label": int(self.labels[i]), "predicted": int(self.predicted[i])}
            for i in np.flatnonzero(self.predicted != self.labels)
        ]
        return {"num_held_out": len(self.labels), "wrong": wrong}

    def output(self, suffix: str) -> ModelOutput:
        """The record, and errors<suffix>.png: the confusions, and the first images that it gets wrong."""
        draw = partial(errors_figure, self.images, self.labels, self.predicted, self.confusions)
        return ModelOutput(self.record, [Picture(f"errors{suffix}.png", draw)])

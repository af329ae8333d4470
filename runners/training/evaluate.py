"""Bits/dim of a checkpoint on a dataset."""

from __future__ import annotations

import json
import math
import time
from typing import Annotated, Any, ClassVar, Literal

import jax
import numpy as np
from pydantic import Field
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from common.files import replaced_folder
from data import load_dataset
from models import describe_config
from models.weights.checkpoint import CheckpointError
from models.weights.load import load_checkpoint
from runners.config.schema import DataConfig, RunConfig, UsageError
from runners.experiment import RunContext, RunFailure
from runners.report.environment import describe_environment
from runners.training.held_out import bits_by_image

SCHEMA = 1
Count = Annotated[int, Field(ge=1)]


class EvaluateConfig(RunConfig):
    """The keys of an evaluation's config; ``seed`` is that of the dequantization noise, for models that have any."""

    checkpoint: str  # a name in the registry or a path
    model: dict[str, Any] | None = None  # the architecture, where the checkpoint does not tell all of it
    data: DataConfig = DataConfig()
    part: Literal["held_out", "train"] = "held_out"
    batch_size: Count = 50  # images at once; a matter of speed and memory alone, where the model has no noise
    draws: Count = 1  # of the noise, for each image
    max_images: Count | None = None  # only the first ones


class EvaluateRunner:
    """Mean bits/dim over the images of a dataset, and how sure it is."""

    Config: ClassVar[type[RunConfig]] = EvaluateConfig

    def __init__(self, config: EvaluateConfig, context: RunContext) -> None:
        """Load weights and data; everything that can be refused is refused here."""
        self.config, self.context = config, context
        try:
            self.checkpoint = load_checkpoint(config.checkpoint, config.model)
        except CheckpointError as error:
            raise UsageError(str(error)) from None
        name, model = self.checkpoint.name, self.checkpoint.model
        if not hasattr(model, "bits_per_dim"):
            raise UsageError(f"model {name} does not tell the likelihood of images")
        dataset = load_dataset(config.data.name, root=config.data.root, download=config.data.download)
        if model.image_shape != dataset.image_shape:
            raise UsageError(
                f"model {name} draws images of shape {list(model.image_shape)}, the dataset {dataset.name} has "
                f"{list(dataset.image_shape)}"
            )
        images = dataset.held_out if config.part == "held_out" else dataset.train
        self.images = images[: config.max_images]

    def run(self) -> None:
        """Evaluate all images, print the mean, write results.json; RunFailure where the mean is not finite."""
        began = time.perf_counter()
        bits = self._bits()
        mean, error = float(bits.mean()), _standard_error(bits)
        if not math.isfinite(mean):
            raise RunFailure("the bits/dim is not finite; check the weights")
        record = {
            "schema": SCHEMA,
            "name": self.context.name,
            "runner": self.context.runner,
            "config": self._resolved(),
            "seed": self.config.seed,
            **describe_environment(),
            "bits_per_dim": {"mean": mean, "standard_error": error},
            "num_images": len(bits),
            "seconds": time.perf_counter() - began,
        }
        with replaced_folder(self.context.out) as folder:
            text = json.dumps(record, indent=2, allow_nan=False)
            (folder / "results.json").write_text(text + "\n", encoding="utf-8")
        spread = "" if error is None else f" +- {error:.4f}"
        part = "held-out" if self.config.part == "held_out" else "training"
        images = f"{len(bits)} {part} images of {self.config.data.name}"
        print(f"{self.config.checkpoint}: {mean:.4f}{spread} bits/dim ({images})")

    def _bits(self) -> np.ndarray:
        """Bits/dim of each image, the mean over its draws."""
        config, total = self.config, np.zeros(len(self.images))
        batches = bits_by_image(
            self.checkpoint.model,
            self.images,
            jax.random.key(config.seed),
            draws=config.draws,
            batch_size=config.batch_size,
        )
        with _bar(self.context.console) as bar:
            task = bar.add_task("images", total=config.draws * len(self.images))
            for rows, bits in batches:
                total[rows] += bits
                bar.advance(task, len(rows))
        return total / config.draws

    def _resolved(self) -> dict[str, Any]:
        """The config with every default filled in."""
        return {
            **self.config.model_dump(),
            "model": describe_config(self.checkpoint.name, self.checkpoint.model.config),
            "weights": self.checkpoint.info,
        }


def _standard_error(values: np.ndarray) -> float | None:
    """Of the mean over independent images; of one there is none."""
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )

"""What a training run leaves behind: results.json, the curve, weights and samples, in a folder that appears whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, UInt8

from common.files import replaced_folder
from models.checkpoints import save_checkpoint
from runners.environment import describe_environment
from runners.figures import sample_grid
from runners.picture import FAINT, INK, new_figure, save_figure, style_axes
from runners.run import RunContext, RunFailure
from runners.train_preview import best_epoch
from runners.train_samples import Sampler
from runners.train_step import Trainer
from runners.train_store import Snapshot

SCHEMA = 1
WEIGHTS = "weights.safetensors"
_CURVES = (
    ("train_bits_per_dim", "training, mean over the epoch", "#8a8a8a", "-"),
    ("held_out_bits_per_dim", "held out", "#0072b2", (0, (5, 2))),
    ("held_out_bits_per_dim_ema", "held out, averaged weights", "#d55e00", "-"),
)


def write_training_report(
    context: RunContext,
    trainer: Trainer,
    sampler: Sampler,
    snapshot: Snapshot,
    held_out: UInt8[Array, "M H W C"],
    best: Path,
) -> dict[str, Any]:
    """Write everything to ``context.out``, which keeps its old content until all of the new is there.

    ``best``: the file of the best epoch's weights, kept too if that is not the last epoch and the file is there.

    Returns what results.json says. Raises RunFailure where the weights do not survive their rounding.
    """
    config = trainer.config
    weights = jax.tree.map(lambda a: a.astype(config.weights_dtype).astype(a.dtype), snapshot.state.ema)
    bits = trainer.evaluate(weights, held_out)
    if not np.isfinite(bits):
        raise RunFailure(f"the held-out bits/dim is not finite with {config.weights_dtype} weights; try float32")
    model = trainer.model(weights)
    samples = sampler.draw(weights)
    top = best_epoch(snapshot.history)
    record = {
        "schema": SCHEMA,
        "name": context.name,
        "runner": context.runner,
        "config": config.model_dump(mode="json"),
        "seed": config.seed,
        **describe_environment(),
        "history": snapshot.history,
        "held_out_bits_per_dim": bits,
        "best_epoch": top["epoch"],
        "samples": samples.record,
        "wall_s": snapshot.elapsed_s,
    }
    info = {
        "dataset": config.data.name,
        "bits_per_dim": bits,
        "epochs": snapshot.history[-1]["epoch"],
        "seed": config.seed,
        "config": context.name,
    }
    with replaced_folder(context.out) as folder:
        text = json.dumps(record, indent=2, allow_nan=False)
        (folder / "results.json").write_text(text + "\n", encoding="utf-8")
        save_checkpoint(folder / WEIGHTS, config.model["name"], model, info, np.dtype(config.weights_dtype))
        sample_grid(folder / "samples.png", samples.images)
        if top is not snapshot.history[-1] and best.is_file():
            shutil.copyfile(best, folder / best.name)
        _training_curve(folder / "training.png", snapshot.history, context.name)
    return record


def _training_curve(path: Path, history: Sequence[Mapping[str, Any]], title: str) -> None:
    """Write bits/dim by epoch as a PNG."""
    figure = new_figure(7, 4.2)
    axes = figure.subplots()
    epochs = [row["epoch"] for row in history]
    for key, label, colour, dashes in _CURVES:
        values = [row[key] for row in history]
        marker = "o" if len(values) == 1 else None
        axes.plot(epochs, values, color=colour, linestyle=dashes, lw=1.6, label=label, marker=marker)
    axes.set(xlabel="epoch", ylabel="bits/dim", ylim=_limits(history))
    style_axes(axes)
    axes.legend(frameon=False, fontsize=9)
    last = history[-1]["held_out_bits_per_dim_ema"]
    axes.annotate(f"{last:.3f}", (epochs[-1], last), (0, -14), textcoords="offset points", ha="right", color=FAINT)
    axes.set_title(title, fontsize=12.5, fontweight="bold", color=INK, loc="left")
    save_figure(path, figure)


def _limits(history: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """The range of bits/dim without the first twentieth of the epochs, beside whose fall all else would look flat."""
    rows = history[len(history) // 20 :]
    values = [row[key] for row in rows for key, *_ in _CURVES]
    margin = 0.08 * (max(values) - min(values)) + 1e-3
    return min(values) - margin, max(values) + margin

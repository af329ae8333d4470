"""Mistakes of trainings and evaluations: one sentence that helps, and the right exit code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from data import DATASETS
from tests.kit.mistakes import LEFT_OUT, Row, check_mistake, evaluating, near, training

EVALUATE_KEYS = (
    "checkpoint",
    "model",
    "data",
    "part",
    "draws",
    "max_images",
    "runner",
    "seed",
    "mesh",
    "precision",
)  # and batch_size


EVALUATING = [
    evaluating("evaluate_shape", "model made draws images of shape [6, 6, 1], the dataset mnist5k has [28, 28, 1]"),
    evaluating("evaluate_part", "c.yml: part should be 'held_out' or 'train', not 'test'", part="test"),
    evaluating("evaluate_nothing", "c.yml: checkpoint is missing", checkpoint=LEFT_OUT),
    evaluating("evaluate_null", "c.yml: checkpoint should be text, not null", checkpoint=None),
    evaluating(
        "evaluate_checkpoint",
        re.compile("unknown checkpoint 'made_mnst'; did you mean 'made_mnist'. valid: made_mnist, .*"),
        checkpoint="made_mnst",
    ),
    evaluating(
        "evaluate_conflict",
        "{here}/w.safetensors: the config says num_inputs: 49, the checkpoint num_inputs: 36",
        model={"name": "made", "num_inputs": 49},
    ),
    evaluating("evaluate_dataset", f"unknown dataset 'zzz'; valid: {', '.join(DATASETS)}", data={"name": "zzz"}),
    *(
        evaluating(f"evaluate_{key}", f"c.yml: {key} should be at least 1, not 0", **{key: 0})
        for key in ("batch_size", "draws", "max_images")
    ),
    evaluating(
        "evaluate_key",
        near("c.yml: unknown config key 'batch_sze'; did you mean 'batch_size'?", "batch_size", *EVALUATE_KEYS),
        batch_sze=3,
    ),
    training(
        "init_of_another_architecture",
        re.compile(r".*made_mnist.safetensors: the config says hidden_sizes: \[8\], the checkpoint hidden_sizes: .*"),
        init="made_mnist",
    ),
    training(
        "init_absent",
        re.compile("checkpoint file '{here}/none.pth' does not exist; shipped: .*made_mnist, .*"),
        init="{here}/none.pth",
    ),
    training(
        "checkpoint",
        "c.yml: config key 'checkpoint' does not belong here: weights to begin with are named by init; a run that was "
        "stopped goes on from its state_dir",
        checkpoint="made_mnist",
    ),
    training(
        "no_folder", "dataset 'folder': {here}/none does not exist", data={"name": "folder", "root": "{here}/none"}
    ),
    training("size_of_mnist", "dataset 'mnist5k' takes no 'size'; it takes: root, download", data={"size": [8, 8]}),
    training("held_out", "c.yml: data.held_out should be less than 1, not 1", data={"name": "arrays", "held_out": 1}),
    training("sample_often", "c.yml: sample_every_epochs should be at least 0, not -1", sample_every_epochs=-1),
]


ROWS = EVALUATING


@pytest.mark.parametrize("row", ROWS)
def test_mistake_is_one_sentence(row: Row, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    check_mistake(row, tmp_path, capfd)


def test_rows_have_names_of_their_own() -> None:
    names = [row.id for row in ROWS]
    assert len(set(names)) == len(names)

"""Models and checkpoints that cannot be had: one sentence that helps, and the right exit code."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import models
from models.weights.registry import registry
from tests.kit.mistakes import (
    MADE_OPTIONS,
    MASKS,
    NAMES,
    NOT_STATE,
    PACKED,
    SHAPE,
    UNNAMED,
    Row,
    check_in_a_process_of_its_own,
    check_mistake,
    first_half,
    holds,
    native,
    native_with,
    near,
    pth,
    sampling,
    saved_by_torch,
    spoiled,
    torch_made,
    weights,
)

MODELS = [
    sampling(
        "model_near",
        near(
            "c.yml: model: unknown model 'mad'; did you mean 'made'?",
            "made",
            *(name for name in models.MODELS if name != "made"),
        ),
        model={"name": "mad"},
    ),
    sampling(
        "model_name_list",
        re.compile("c.yml: model: unknown model .*; valid: .*made.*"),
        model={"name": ["x", "y"]},
    ),
    sampling("model_nameless", f"a model needs a name; valid: {NAMES}", "--runner", "SamplerRunner", model=SHAPE),
    sampling("model_text", "c.yml: model should be a mapping of keys to values, not 'made'", model="made"),
    sampling("model_incomplete", "model made: num_inputs is missing", model={"name": "made"}),
    sampling(
        "model_option_near",
        near(
            "model made: unknown option 'hidden'; did you mean 'hidden_sizes'?",
            *MADE_OPTIONS,
        ),
        model={"name": "made", "num_inputs": 36, "hidden": [3]},
    ),
    sampling(
        "model_size_text",
        "model made: hidden_sizes.1 should be a whole number, not 'x'",
        model={"name": "made", "num_inputs": 36, "hidden_sizes": [16, "x"]},
    ),
    sampling(
        "model_size_range",
        "model made: num_inputs must be at least 1, not 0",
        model={"name": "made", "num_inputs": 0},
    ),
    sampling(
        "checkpoint_near",
        re.compile("unknown checkpoint 'made_mnst'; did you mean 'made_mnist'. valid: made_mnist, .*densenet121.*"),
        checkpoint="made_mnst",
    ),
    sampling(
        "checkpoint_missing",
        f"checkpoint file '{{here}}/w.safetensors' does not exist; shipped: {', '.join(registry())}",
        checkpoint="{here}/w.safetensors",
    ),
    sampling("checkpoint_folder", "checkpoint '{here}' is a folder; expected a file", checkpoint="{here}"),
    sampling("checkpoint_number", re.compile("unknown checkpoint .3.; valid: .*made_mnist.*"), checkpoint=3),
    *(
        weights(
            f"damaged_{name}",
            re.compile("{here}/w.safetensors is not a readable safetensors file: .+"),
            spoiled(native, spoil),
        )
        for name, spoil in (
            ("half", first_half),
            ("header", lambda content: content[:5]),
            ("empty", lambda content: b""),
            ("text", lambda content: b"not weights at all"),
        )
    ),
    weights(
        "of_another_program",
        "{here}/w.safetensors is not a Trisolve checkpoint: its format is 'mlx', not 'trisolve-1'; weights of torch "
        "are read with the model's name, such as model: {name: made}",
        lambda path: save_file({"a": np.zeros(3)}, path, {"format": "mlx"}),
    ),
    weights(
        "of_another_network_in_torch",
        "{here}/w.safetensors: expected entries net.0, net.2, net.4, ...; found a",
        lambda path: save_file({"a": np.zeros(3)}, path, {"format": "pt"}),
    ),
    weights(
        "without_metadata",
        "{here}/w.safetensors: expected entries net.0, net.2, net.4, ...; found a",
        lambda path: save_file({"a": np.zeros(3)}, path),
    ),
    *(
        weights(
            f"metadata_{key}",
            f"{{here}}/w.safetensors is damaged: its metadata has no valid {key!r}",
            native_with({key: value}),
        )
        for key, value in (("architecture", "{"), ("info", "[1]"), ("packed_shapes", "null"))
    ),
    weights(
        "of_another_model",
        "{here}/w.safetensors: the config says name: made, the checkpoint name: wavenet",
        native_with({"architecture": '{"name": "wavenet"}'}),
    ),
    weights(
        "entry_missing",
        "{here}/w.safetensors: entry 'layers.1.bias' is missing; expected shape (12,)",
        native_with(layers__1__bias=None),
    ),
    weights(
        "entry_extra",
        "{here}/w.safetensors: unexpected entry 'layers.1.scale' of shape (2,)",
        native_with(layers__1__scale=np.zeros(2)),
    ),
    weights(
        "entry_shape",
        "{here}/w.safetensors: entry 'layers.1.bias' has shape (2,); expected (12,)",
        native_with(layers__1__bias=np.zeros(2)),
    ),
    weights(
        "mask_type",
        f"{PACKED} float64 of shape (72,); expected uint8 of shape (72,)",
        native_with(layers__0__mask=np.zeros(72)),
    ),
    weights(
        "mask_short",
        f"{PACKED} uint8 of shape (71,); expected uint8 of shape (72,)",
        native_with(layers__0__mask=np.zeros(71, np.uint8)),
    ),
    weights(
        "masks",
        f"{{here}}/w.safetensors: {MASKS}",
        native_with(layers__2__mask=np.full(108, 255, np.uint8)),
    ),
    weights(
        "conflict",
        "{here}/w.safetensors: the config says num_inputs: 49, the checkpoint num_inputs: 36",
        native,
        num_inputs=49,
    ),
    weights(
        "option_near",
        near(
            "{here}/w.safetensors: model made: unknown option 'hidden'; did you mean 'hidden_sizes'?",
            *MADE_OPTIONS,
        ),
        native,
        hidden=[3],
    ),
    sampling(
        "checkpoint_foreign",
        "{here}/w.flax: no importer for '.flax' with model name made; valid: .pth with model name made, "
        ".pth with model name densenet, .flax with model name pixelcnnpp, .npz with model name wavenet, .safetensors",
        checkpoint="{here}/w.flax",
        files=(("w.flax", holds(b"x")),),
    ),
    pth(
        "bias_missing",
        "{here}/made.pth: entry 'net.2.bias' is missing; expected shape (12,)",
        torch_made({"net.2.bias": None}),
    ),
    pth(
        "weight_missing",
        "{here}/made.pth: entry 'net.2.weight' is missing; expected shape (outputs, 16)",
        torch_made({"net.2.weight": None}),
    ),
    pth(
        "output_missing",
        "{here}/made.pth: entry 'net.4.weight' is missing; expected shape (72, 12)",
        torch_made({"net.4.weight": None}),
    ),
    pth(
        "layer_missing",
        re.compile(r"{here}/made.pth: expected entries net.0, net.2, net.4, ...; found net.0.bias, net.0.mask, .*"),
        torch_made({f"net.2.{part}": None for part in ("weight", "bias", "mask")}),
    ),
    pth(
        "extra",
        "{here}/made.pth: unexpected entry 'scale' of shape (2,)",
        torch_made({"scale": torch.zeros(2)}),
    ),
    pth(
        "extra_net",
        "{here}/made.pth: unexpected entry 'net.scale' of shape ()",
        torch_made({"net.scale": torch.zeros(())}),
    ),
    pth(
        "bias_shape",
        "{here}/made.pth: entry 'net.2.bias' has shape (5,); expected (12,)",
        torch_made({"net.2.bias": torch.zeros(5)}),
    ),
    pth(
        "mask_shape",
        "{here}/made.pth: entry 'net.0.mask' has shape (36, 16); expected (16, 36)",
        torch_made({"net.0.mask": torch.ones(36, 16)}),
    ),
    pth(
        "output_shape",
        "{here}/made.pth: entry 'net.4.weight' has shape (36, 12); expected (72, 12)",
        torch_made({"net.4.weight": torch.zeros(36, 12)}),
    ),
    pth(
        "weight_number",
        "{here}/made.pth: entry 'net.0.weight' has shape (); expected (outputs, inputs)",
        torch_made({"net.0.weight": torch.zeros(())}),
    ),
    pth("masks", f"{{here}}/made.pth: {MASKS}", torch_made({"net.4.mask": torch.ones(72, 12)})),
    pth("list", UNNAMED, saved_by_torch([1, 2])),
    pth("nested", f"{UNNAMED}, entry 'state_dict' is dict", saved_by_torch({"state_dict": {}})),
    pth("numbered", UNNAMED, saved_by_torch({1: torch.zeros(1)})),
    pth("nothing", "{here}/made.pth: expected entries net.0, net.2, net.4, ...; found none", saved_by_torch({})),
    pth(
        "code",
        "{here}/made.pth holds torch.nn.modules.linear.Linear, which is not loaded, as it may run code; save the state "
        "dict alone, torch.save(model.state_dict(), ...)",
        saved_by_torch(torch.nn.Linear(2, 2)),
    ),
    pth("text", NOT_STATE, holds(b"text")),
    pth("empty", f"{NOT_STATE}: it is empty", holds(b"")),
    pth("half", NOT_STATE, spoiled(torch_made(), first_half)),
    pth(
        "conflict",
        "{here}/made.pth: the config says hidden_sizes: [16, 13], the checkpoint hidden_sizes: [16, 12]",
        torch_made(),
        hidden_sizes=[16, 13],
    ),
    pth(
        "option_range",
        "{here}/made.pth: model made: clamp_lambda must be in (0, 0.5), not 3.0",
        torch_made(),
        clamp_lambda=3,
    ),
]


ROWS = MODELS


@pytest.mark.parametrize("row", ROWS)
def test_mistake_is_one_sentence(row: Row, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    check_mistake(row, tmp_path, capfd)


def test_rows_have_names_of_their_own() -> None:
    names = [row.id for row in ROWS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("row", [row for row in ROWS if row.id == "checkpoint_damaged_half"])
def test_mistake_is_one_sentence_in_a_process_of_its_own(row: Row, tmp_path: Path) -> None:
    check_in_a_process_of_its_own(row, tmp_path)

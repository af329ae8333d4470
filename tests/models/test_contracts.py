"""The contracts of models of images, and the equations of a model's samples."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import pytest

from models import build
from models.capabilities import CapabilityError
from models.contracts import BrokenModelError, check_image_model, equations_of
from models.made.model import MADE

MADE_OPTIONS = {"name": "made", "num_inputs": 12, "hidden_sizes": [5], "image_shape": [2, 2, 3], "clamp_lambda": 0.05}
PIXELCNNPP = {"name": "pixelcnnpp", "image_shape": [4, 4, 3], "nr_resnet": 1, "nr_filters": 2, "nr_logistic_mix": 2}
WAVENET = {"name": "wavenet", "dilations": [1, 2], "num_hidden": 4, "num_classes": 9, "sample_rate": 1000}


@pytest.mark.parametrize("options", [MADE_OPTIONS, PIXELCNNPP], ids=lambda options: options["name"])
def test_our_models_of_images_keep_their_contract(options: dict[str, Any]) -> None:
    said: list[str] = []
    check_image_model(build(options, 0), say=said.append)
    assert said == ["trying whether noise, samples, pixels and bits/dim fit each other ..."]


@pytest.mark.parametrize(
    ("member", "broken", "sentence"),
    [
        ("draw_noise", lambda self, key, n: {"u": jnp.zeros((n, 12))}, r"draw_noise: u should be \(12, 2, ...\)"),
        (
            "from_images",
            lambda self, images: images.reshape(len(images), -1),
            r"from_images should give \(12, 2, ...\)",
        ),
        ("to_images", lambda self, x: jnp.zeros((len(x), 2, 2, 3), jnp.uint8), "to_images does not give back"),
        ("bits_per_dim", lambda self, images, key: jnp.full(len(images), jnp.nan), "bits_per_dim should give a finite"),
        ("grid", property(lambda self: (3, 3)), r"grid \(3, 3\) has 9 places, fold\(\) 12"),
    ],
)
def test_a_member_that_does_not_fit_the_others_is_named(member: str, broken: Any, sentence: str) -> None:
    model = build(MADE_OPTIONS, 0)
    kind = type("Broken", (MADE,), {member: broken})
    with pytest.raises(BrokenModelError, match=sentence):
        check_image_model(kind(model.config, rngs=_rngs()), say=lambda line: None)


def _rngs() -> Any:
    from flax import nnx

    return nnx.Rngs(0)


def test_sound_has_equations_and_a_classifier_has_none() -> None:
    assert equations_of(build(WAVENET, 0), 0).num_equations == 64
    with pytest.raises(CapabilityError, match="makes no images; valid: made, pixelcnnpp"):
        equations_of(build({"name": "streaming"}, 0), 0)

"""Models have the capabilities that runners require, and a model without one is answered with those that have it."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import pytest

from common.errors import UserError
from models import MODELS, build
from models.capabilities import (
    Classifier,
    Denoiser,
    DensityModel,
    EquationModel,
    ImageModel,
    InvertibleModel,
    PictureModel,
    Prepared,
    SoundModel,
    Streamable,
    TextModel,
    require,
)
from runners.sampling.subject import HEADS
from solvers.heads.categorical import Argmax, Gumbel
from solvers.heads.logistic import Logistic
from solvers.heads.logistic_mixture import DiscretizedLogisticMixture
from solvers.systems.autoregressive import Head

TRUNK = {"width": 2, "num_layers": 1, "num_heads": 1}
TINY: dict[str, dict[str, Any]] = {
    "made": {"num_inputs": 4, "hidden_sizes": [3]},
    "pixelcnnpp": {"image_shape": [4, 4, 1], "nr_resnet": 1, "nr_filters": 1, "nr_logistic_mix": 1},
    "wavenet": {"dilations": [1, 2], "num_hidden": 2, "num_classes": 4},
    "densenet": {
        **{"growth_rate": 1, "block_layers": [1], "num_init_features": 1, "num_classes": 2, "stem": "small"},
        **{"image_shape": [4, 4, 1], "pixel_mean": [0.5], "pixel_std": [0.5]},
    },
    "streaming": {"dilations": [1], "num_hidden": 1, "num_skip": 1},
    "language": {**TRUNK, "context": 3},
    "flow": {**TRUNK, "image_shape": [4, 4, 1]},
    "diffusion": {**TRUNK, "image_shape": [4, 4, 1]},
}
HAVE = {
    ImageModel: {"made", "pixelcnnpp"},
    DensityModel: {"made", "pixelcnnpp", "flow"},
    PictureModel: {"flow", "diffusion"},
    EquationModel: {"flow", "diffusion"},
    InvertibleModel: {"diffusion"},
    Denoiser: {"diffusion"},
    TextModel: {"language"},
    SoundModel: {"wavenet"},
    Classifier: {"densenet"},
    Streamable: {"wavenet", "streaming"},
    Prepared: {"made"},
}


def tiny(name: str) -> Any:
    return build({"name": name, **TINY[name]}, 0)


@pytest.mark.parametrize("capability", HAVE)
def test_models_and_their_classes_have_what_they_can_do(capability: type) -> None:
    assert {name for name in MODELS if isinstance(tiny(name), capability)} == HAVE[capability]
    assert {name for name, kind in MODELS.items() if isinstance(kind, capability)} == HAVE[capability]


def test_a_model_that_can_comes_back() -> None:
    model = tiny("made")
    assert require(model, ImageModel) is model
    assert require(tiny("streaming"), Streamable).stream().init_state().recent.shape == (1, 1, 1)


@pytest.mark.parametrize(
    ("name", "capability", "sentence"),
    [
        ("wavenet", ImageModel, "model wavenet makes no images; valid: made, pixelcnnpp"),
        ("made", SoundModel, "model made makes no sound; valid: wavenet"),
        ("made", Classifier, "model made is no classifier; valid: densenet"),
        ("made", Streamable, "model made does not read a stream; valid: streaming, wavenet"),
    ],
)
def test_a_model_that_cannot_is_answered_with_those_that_can(name: str, capability: type, sentence: str) -> None:
    with pytest.raises(UserError, match=f"^{sentence}$"):
        require(tiny(name), capability)
    with pytest.raises(UserError, match=f"^known_pixels: {sentence}$"):
        require(tiny(name), capability, "known_pixels")


@pytest.mark.parametrize("head", [Logistic(), DiscretizedLogisticMixture(1, 2), Gumbel(3), Argmax(3)])
def test_every_head_checks_noise_from_elsewhere(head: Any) -> None:
    assert isinstance(head, Head)
    noise = {"logistic_noise": jnp.zeros((4, 2)), "gumbel_noise": jnp.zeros((4, 2, 3))}
    noise |= {"mixture_u": jnp.full((4, 2, 2), 0.5), "logistic_u": jnp.full((4, 2, 1), 0.5)}
    head.check_noise(noise)
    if not isinstance(head, Argmax):  # which has no numbers
        with pytest.raises(ValueError, match="finite|between 0 and 1"):
            head.check_noise({name: array * jnp.nan for name, array in noise.items()})


def test_heads_are_found_by_name() -> None:
    assert (HEADS["argmax"](3), HEADS["gumbel"](3)) == (Argmax(3), Gumbel(3))

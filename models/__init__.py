"""The networks, and the equations that they state.

``MODELS`` maps the names used in configs and checkpoints to classes, resolved on use: "module:class". Adding a model is
one file, one line here, in the table of its kind, and a config.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from common.errors import UserError
from common.lookup import resolve
from common.names import unknown
from common.options import build_options

# Autoregressive models, which are sampled from.
SAMPLERS: dict[str, str] = {
    "made": "models.made.model:MADE",
    "pixelcnnpp": "models.pixelcnnpp.model:PixelCNNPP",
    "wavenet": "models.wavenet.model:WaveNet",
}

# Models that tell the class of an input.
CLASSIFIERS: dict[str, str] = {
    "densenet": "models.densenet.model:DenseNet",
}

# Models from one stream to another.
STREAMS: dict[str, str] = {
    "streaming": "models.wavenet.streaming:StreamingConvNet",
}

MODELS: dict[str, str] = SAMPLERS | CLASSIFIERS | STREAMS

# The equations that models state, "module:class", and whose they are.
SYSTEMS: dict[str, tuple[str, ...]] = {
    "models.autoregressive:AutoregressiveSystem": tuple(SAMPLERS),
    "models.densenet.systems:DenseNetSystem": ("densenet",),
    "models.densenet.systems:DenseBlockSystem": ("densenet block",),
    "models.rnn.systems:ForwardRNN": ("rnn",),
    "models.rnn.systems:BackwardRNN": ("rnn backward",),
}


# Options that were once called otherwise. Files of weights may still say so, and are read as if they did not.
RENAMED = {"quantisation": "quantization"}


class ModelError(UserError):
    """A model that does not exist, or options that it does not take."""


def model_class(name: Any) -> Any:
    """The class of a model. Raises ModelError, naming the nearest, where there is none."""
    if not isinstance(name, str) or name not in MODELS:
        raise ModelError(unknown("model", name, MODELS))
    return resolve(MODELS[name])


def model_config(options: Mapping[str, Any]) -> Any:
    """A model's architecture from a mapping with its ``name``, checked. Raises ModelError."""
    rest = dict(options)
    if "name" not in rest:
        raise ModelError(f"a model needs a name; valid: {', '.join(MODELS)}")
    name = rest.pop("name")
    kind = model_class(name)
    for old in RENAMED.keys() & rest.keys():
        raise ModelError(f"model {name}: option {old!r} is called {RENAMED[old]!r} now")
    try:
        return build_options(kind.Config, rest)
    except ValueError as error:
        raise ModelError(f"model {name}: {error}") from None


def build(options: Mapping[str, Any], seed: int) -> Any:
    """A model with random weights, from a mapping with its ``name`` and architecture. Raises ModelError."""
    from flax import nnx  # it takes a while to import, and the names of the models can be had without it

    config = model_config(options)
    return model_class(options["name"])(config, rngs=nnx.Rngs(seed))


def describe_config(name: str, config: Any) -> dict[str, Any]:
    """The mapping that ``model_config`` reads, with lists for tuples."""
    plain = {
        key: list(value) if isinstance(value, tuple) else value for key, value in dataclasses.asdict(config).items()
    }
    return {"name": name, **plain}

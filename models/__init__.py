"""The networks, and the equations that they state.

A network's folder has its parameters as an NNX module (model.py), trained and saved as such. ``fold()`` gives its
inference form (network.py): plain arrays into which masks, weight norm or batch norm are folded, with one definition
for whole sweeps, blocks and single steps. The equations are stated with that form, by systems.py or, for all
autoregressive networks, by solvers/systems/autoregressive.py.

``MODELS`` maps the names used in configs and checkpoints to classes, which are imported when they are asked for. Adding
a model is a folder, one line here, in the table of its kind, and a config.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from common.code import file_of, load_object
from common.errors import UserError
from common.options import build_options
from common.table import Table

# Autoregressive models, which are sampled from.
SAMPLERS: Table[Any] = Table(
    "model",
    {
        "made": "models.made.model:MADE",
        "pixelcnnpp": "models.pixelcnnpp.model:PixelCNNPP",
        "wavenet": "models.wavenet.model:WaveNet",
    },
)

# Models of text, which are sampled from too.
LANGUAGES: Table[Any] = Table("model", {"language": "models.language.model:Language"})

# Models of images with a likelihood, whose samples are not one autoregressive sequence.
FLOWS: Table[Any] = Table("model", {"flow": "models.flow.model:Flow"})

# Models that make images of noise step by step.
DENOISERS: Table[Any] = Table("model", {"diffusion": "models.diffusion.model:Diffusion"})

# Models that tell the class of an input.
CLASSIFIERS: Table[Any] = Table("model", {"densenet": "models.densenet.model:DenseNet"})

# Models from one stream to another.
STREAMS: Table[Any] = Table("model", {"streaming": "models.wavenet.streaming:StreamingConvNet"})

MODELS: Table[Any] = SAMPLERS | LANGUAGES | FLOWS | DENOISERS | CLASSIFIERS | STREAMS

# Systems that a config states by options alone, without weights or data; each extends Problem in models/problem.py.
PROBLEMS: Table[Any] = Table(
    "system",
    {
        "lorenz63": "models.ode.problems:LorenzProblem",
        "pendulum": "models.ode.problems:PendulumProblem",
        "contraction": "models.ode.problems:ContractionProblem",
        "residual_network": "models.ode.problems:ResidualProblem",
        "permutations": "models.ode.problems:PermutationProblem",
        "rnn": "models.rnn.problems:RNNProblem",
        "rnn_backward": "models.rnn.problems:RNNBackwardProblem",
        "mcmc": "models.mcmc.problems:ChainProblem",
    },
)

# The equations that models state, by whose they are.
SYSTEMS: Table[type] = Table(
    "system",
    {
        **dict.fromkeys([*SAMPLERS, *LANGUAGES], "solvers.systems.autoregressive:AutoregressiveSystem"),
        "flow": "models.flow.system:FlowSystem",
        "diffusion": "models.diffusion.system:DiffusionSystem",
        "diffusion of order two": "models.diffusion.system:RememberingDiffusionSystem",
        "densenet": "models.densenet.systems:DenseNetSystem",
        "densenet block": "models.densenet.systems:DenseBlockSystem",
        "rnn": "models.rnn.systems:ForwardRNN",
        "rnn backward": "models.rnn.systems:BackwardRNN",
        "rnn unitwise": "models.rnn.systems:UnitwiseRNN",
        "rnn affine": "models.rnn.systems:AffineRNN",
        "ode": "models.ode.flow:Flow",
        "permutations": "models.ode.permutations:Permutations",
        "mcmc": "models.mcmc.chain:Chain",
        "residual network": "models.ode.residual:ResidualNetwork",
    },
)

# Options that were once called otherwise. Files of weights may still say so, and are read as if they did not.
RENAMED = {"quantisation": "quantization"}

_LARGEST = 2**31 - 1  # of an array's sizes, as XLA counts them


class ModelError(UserError):
    """A model without a name, or with options that it does not take."""


def model_class(options: Mapping[str, Any]) -> Any:
    """The class that a mapping with a ``name`` means: that of MODELS, or with a ``path`` that in a user's own file.

    Raises UserError where there is none such.
    """
    if "name" not in options:
        raise ModelError(f"a model needs a name; valid: {', '.join(MODELS)}")
    if options.get("path") is None:
        return MODELS[options["name"]]
    kind = load_object(options["path"], options["name"])
    if not isinstance(kind, type) or not dataclasses.is_dataclass(getattr(kind, "Config", None)):
        raise ModelError(
            f"{options['name']} in {options['path']} should be a class with a Config, the dataclass of its options"
        )
    return kind


def model_config(options: Mapping[str, Any]) -> Any:
    """A model's architecture from a mapping with its ``name``, and ``path`` where it is a user's own, checked.

    Raises:
        UnknownNameError: there is no such model.
        ModelError: it has no name, or an option that the model does not take.
    """
    kind = model_class(options)
    name = options["name"]
    rest = {option: value for option, value in options.items() if option not in ("path", "name")}
    for old in RENAMED.keys() & rest.keys():
        raise ModelError(f"model {name}: option {old!r} is called {RENAMED[old]!r} now")
    try:
        config = build_options(kind.Config, rest)
    except ValueError as error:
        raise ModelError(f"model {name}: {error}") from None
    for option, value in dataclasses.asdict(config).items():
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int | float) and not abs(number) <= _LARGEST:
                raise ModelError(f"model {name}: {option} should be at most {_LARGEST:,}, not {number!r:.20}")
    return config


def build(options: Mapping[str, Any], seed: int) -> Any:
    """A model with random weights, from a mapping with its ``name`` and architecture. Raises as ``model_config``.

    They are in JAX's precision: float32, or float64 where ``jax_enable_x64`` is set.
    """
    from flax import nnx  # these take a while to import, and the names of the models can be had without them

    from solvers.trees.pytree import in_jax_precision

    config = model_config(options)
    model = model_class(options)(config, rngs=nnx.Rngs(seed))
    if not isinstance(model, nnx.Module) or getattr(model, "config", None) is None:
        raise ModelError(f"{options['name']} should extend flax.nnx.Module and keep its config: self.config = config")
    nnx.update(model, in_jax_precision(nnx.state(model)))
    return model


def describe_model(name: str, model: Any) -> dict[str, Any]:
    """The mapping from which ``build`` makes such a model."""
    return describe_config(name, model.config, file_of(type(model)))


def describe_config(name: str, config: Any, path: str | None = None) -> dict[str, Any]:
    """The mapping that ``model_config`` reads, with lists for tuples; ``path`` is the file of a user's own model."""
    plain = {
        key: list(value) if isinstance(value, tuple) else value for key, value in dataclasses.asdict(config).items()
    }
    return {**({} if path is None else {"path": path}), "name": name, **plain}

"""Sample from an autoregressive model with any list of solvers: same noise, same samples, different times."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from pydantic import Field, field_validator, model_validator

from models import MODELS, SAMPLERS, ModelError, describe_config, model_class, model_config
from models.autoregressive import AutoregressiveSystem, CausalNetwork, Known, Noise
from models.weights.checkpoint import Checkpoint, CheckpointError
from models.weights.load import load_checkpoint
from runners.config.schema import RunConfig, UsageError
from runners.config.solvers import SolverList, labels
from runners.experiment import RunContext
from runners.measure.comparison import Comparison, compare_solvers
from runners.report.report import Report
from runners.sampling.head import head_options, replace_head
from runners.sampling.known_pixels import KnownPixels, load_known
from runners.sampling.noise import load_noise
from runners.sampling.report import Samples, sampling_report
from solvers import PairingError, check_pairing


class SamplerConfig(RunConfig):
    """The keys of a sampler's config."""

    model: dict[str, Any] | None = None  # the architecture; may be left out where a checkpoint tells it
    checkpoint: str | None = None  # a name in the registry or a path; none: random weights, marked as such
    batch_size: Annotated[int, Field(ge=1)] = 16
    noise_file: str | None = None  # an .npz with the noise's arrays, batch first, named as the model documents
    head: dict[str, Any] = Field(default_factory=dict)  # options of the output distribution: {temperature: 0.9}
    known_pixels: KnownPixels | None = None  # images that are completed: their first pixels are given
    # Each {name: ..., options}, where max_steps, repeats and trace are options of every solver and the latter two
    # override the run's. The first sequential one is the reference for errors.
    solvers: SolverList
    repeats: Annotated[int, Field(ge=1)] = 5  # timed runs of each solver, after one that is not (unless it is long)
    time_limit_s: Annotated[float, Field(gt=0)] | None = None  # for each run of each solver
    trace: bool = True  # residual, frontier and error by step, the frames and the pictures made of them

    @field_validator("model")
    @classmethod
    def _check_model(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None and "name" in value and value["name"] not in list(MODELS):
            model_config(value)  # its error names the valid ones
        return value

    @model_validator(mode="after")
    def _need_model(self) -> SamplerConfig:
        if self.model is None and self.checkpoint is None:
            raise ValueError("model or checkpoint is needed")
        return self


class SamplerRunner:
    """Any registered autoregressive model under any list of solvers, compared in one table and pictures."""

    Config: ClassVar[type[RunConfig]] = SamplerConfig
    model_name: ClassVar[str | None] = None  # a subclass may insist on one model

    def __init__(self, config: SamplerConfig, context: RunContext) -> None:
        """Load the model and bind the noise; everything that can be refused is refused here."""
        self.config, self.context = config, context
        self.checkpoint = self._load()
        self.grid = self._grid()
        self.head = self._head()
        self.noise = self._noise()
        by_equation = {name: jnp.asarray(_by_equation(array, self.grid)) for name, array in self.noise.items()}
        self.system = AutoregressiveSystem(self._network(), self.head, by_equation, self._known())
        for entry in config.solvers:
            try:
                check_pairing(self.system, entry.solver)
                entry.solver.max_steps(self.system)  # refuses a block size that the system does not allow
            except (PairingError, ValueError) as error:
                raise UsageError(f"solver {entry.name}: {error}") from None

    def run(self) -> Report:
        """Compare the solvers; the report fails where one did not converge."""
        entries = self.config.solvers
        comparison = compare_solvers(
            self.system,
            dict(zip(labels(entries), entries, strict=True)),
            repeats=self.config.repeats,
            time_limit_s=self.config.time_limit_s,
            trace=self.config.trace,
            console=self.context.console,
        )
        title = f"{self.context.name}: {self._subject()}"
        return sampling_report(title, self._resolved(), comparison, self._samples(comparison, title))

    def _load(self) -> Checkpoint:
        """The model: from a checkpoint, or with random weights."""
        config, expected = self.config, dict(self.config.model or {})
        if self.model_name is not None and expected.setdefault("name", self.model_name) != self.model_name:
            raise UsageError(f"{self.context.runner} samples from {self.model_name}, not {expected['name']}")
        try:
            if config.checkpoint is not None:
                return load_checkpoint(config.checkpoint, expected)
            name, architecture = str(expected.get("name")), model_config(expected)
            model = model_class(name)(architecture, rngs=nnx.Rngs(config.seed))
        except (CheckpointError, ModelError) as error:
            raise UsageError(str(error)) from None
        return Checkpoint(name, model, {"weights": "random"}, trained=False)

    def _grid(self) -> tuple[int, ...]:
        """How the equations of a sample lie in files; T is their product."""
        name, model = self.checkpoint.name, self.checkpoint.model
        if name not in SAMPLERS:
            raise UsageError(f"model {name} is not one to sample from; valid: {', '.join(SAMPLERS)}")
        if not hasattr(model, "grid"):
            raise UsageError(
                f"{self.context.runner} does not know how long a sample of {name} is; use WaveNetSamplerRunner, whose "
                "config says it (num_samples)"
            )
        grid: tuple[int, ...] = model.grid
        return grid

    def _head(self) -> Any:
        """The output distribution."""
        return replace_head(self.checkpoint.model.head, self.config.head)

    def _head_record(self) -> dict[str, Any]:
        """The output distribution as a config has it."""
        return head_options(self.head)

    def _network(self) -> CausalNetwork:
        """The network in the inference form."""
        network: CausalNetwork = self.checkpoint.model.fold()
        return network

    def _noise(self) -> dict[str, np.ndarray]:
        """The noise, laid out as in files."""
        key = jax.random.key(self.config.seed)
        drawn: Noise = self.head.draw_noise(key, math.prod(self.grid), self.config.batch_size)
        jax.block_until_ready(drawn)  # so that too large a batch is an error and not the end of the process
        fresh = {name: _batch_first(np.asarray(array), self.grid) for name, array in drawn.items()}
        if self.config.noise_file is None:
            return fresh
        noise = load_noise(Path(self.config.noise_file).expanduser(), fresh)
        if hasattr(self.head, "check_noise"):
            try:
                self.head.check_noise(jax.tree.map(jnp.asarray, noise))
            except ValueError as error:
                raise UsageError(f"noise_file {self.config.noise_file!r}: {error}") from None
        return noise

    def _known(self) -> Known | None:
        """The values that are given, where the config says that some are."""
        config = self.config
        if config.known_pixels is None:
            return None
        return load_known(config.known_pixels, self.checkpoint.name, self.checkpoint.model, config.batch_size)

    def _samples(self, comparison: Comparison, title: str) -> Samples:
        model = self.checkpoint.model

        def images(x: np.ndarray) -> np.ndarray:
            return np.asarray(model.to_images(jnp.asarray(_batch_first(x, self.grid))))

        return Samples(
            samples=_batch_first(np.asarray(comparison.reference), self.grid),
            inputs=self.noise,
            to_images=images if hasattr(model, "to_images") else None,
        )

    def _resolved(self) -> dict[str, Any]:
        """The config with every default filled in."""
        plain = self.config.model_dump(exclude={"solvers", "model"}) | {"head": self._head_record()}
        return {
            "model": describe_config(self.checkpoint.name, self.checkpoint.model.config),
            **plain,
            "solvers": [entry.record for entry in self.config.solvers],
            "weights": self.checkpoint.info,
        }

    def _subject(self) -> str:
        weights = "random weights" if self.config.checkpoint is None else self.config.checkpoint
        known = "" if self.config.known_pixels is None else f", {self.config.known_pixels.amount} known"
        return f"{self.checkpoint.name}, {weights}, batch {self.config.batch_size}{known}"


class MADESamplerRunner(SamplerRunner):
    """MADE on images: T pixels, one equation each."""

    model_name = "made"


def _batch_first(array: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """(T, batch, ...) as files hold it: (batch, *grid, ...), where the model's grid says how its T equations lie."""
    array = np.moveaxis(array, 1, 0)
    return array.reshape(len(array), *grid, *array.shape[2:])


def _by_equation(array: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """The inverse of ``_batch_first``."""
    return np.moveaxis(array.reshape(len(array), math.prod(grid), *array.shape[1 + len(grid) :]), 0, 1)

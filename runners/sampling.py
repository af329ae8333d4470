"""Sample from an autoregressive model with any list of solvers: same noise, same samples, different times."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from pydantic import Field, InstanceOf, field_validator, model_validator

from models import MODELS, ModelError, describe_config, model_class, model_config
from models.autoregressive import AutoregressiveSystem, Noise
from models.checkpoints import Checkpoint, CheckpointError, load_checkpoint
from runners.comparison import MISMATCH, Comparison, compare_solvers
from runners.config import RunConfig, UsageError
from runners.noise import load_noise
from runners.report import SamplesReport, write_report
from runners.run import RunContext, RunFailure
from runners.solver_entry import SolverEntry, labels, parse_entry
from runners.table import print_table
from solvers import PairingError, Status, check_pairing


class SamplerConfig(RunConfig):
    """The keys of a sampler's config."""

    model: dict[str, Any] | None = None  # the architecture; may be left out where a checkpoint tells it
    checkpoint: str | None = None  # a name in the registry or a path; none: random weights, marked as such
    batch_size: Annotated[int, Field(ge=1)] = 16
    noise_file: str | None = None  # an .npz with the noise's arrays, batch first, named as the model documents
    solvers: list[
        InstanceOf[SolverEntry]
    ]  # each {name: ..., options}; the first sequential one is the reference for errors
    repeats: Annotated[int, Field(ge=1)] = 5  # timed runs of each solver, after one that is not
    time_limit_s: Annotated[float, Field(gt=0)] | None = None  # for each run of each solver
    trace: bool = True  # residual, frontier and error by step, the frames and the pictures made of them

    @field_validator("solvers", mode="before")
    @classmethod
    def _parse_solvers(cls, value: Any) -> list[SolverEntry]:
        if not isinstance(value, list) or not value:
            raise ValueError("expected a list of one or more solvers, for example [{name: jacobi}]")
        return [entry if isinstance(entry, SolverEntry) else parse_entry(entry) for entry in value]

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
        self.noise = self._noise()
        model = self.checkpoint.model
        by_equation = jax.tree.map(lambda a: jnp.moveaxis(jnp.asarray(a), 0, 1), self.noise)
        self.system = AutoregressiveSystem(model.fold(), model.head, by_equation)
        for entry in config.solvers:
            try:
                check_pairing(self.system, entry.solver)
                entry.solver.max_steps(self.system)  # refuses a block size that the system does not allow
            except (PairingError, ValueError) as error:
                raise UsageError(f"solver {entry.name}: {error}") from None

    def run(self) -> None:
        """Compare the solvers, write the results, print the table; raise RunFailure where one did not converge."""
        entries = self.config.solvers
        comparison = compare_solvers(
            self.system,
            entries,
            labels(entries),
            repeats=self.config.repeats,
            time_limit_s=self.config.time_limit_s,
            trace=self.config.trace,
            console=self.context.console,
        )
        title = f"{self.context.name}: {self._subject()}"
        write_report(self.context, self.config.seed, self._resolved(), comparison, self._samples(comparison), title)
        print_table(comparison, title)
        self.context.console.print(f"results in {_shown(self.context.out)}")
        for row in comparison.rows:
            if row.status is not Status.CONVERGED:
                raise RunFailure(f"{row.label}: {row.status.sentence}")
            if row.mismatched_equations and row.entry.solver.tol <= MISMATCH:  # else a rough answer was asked for
                raise RunFailure(
                    f"{row.label}: the solver converged, but {row.mismatched_equations} equations differ from the "
                    "reference sweep; the model's blocks or caches do not agree with its sweep (see check_system)"
                )

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
        return Checkpoint(name, model, {"weights": "random"}, Path())

    def _noise(self) -> dict[str, np.ndarray]:
        """The noise, batch first."""
        drawn: Noise = self.checkpoint.model.draw_noise(jax.random.key(self.config.seed), self.config.batch_size)
        jax.block_until_ready(drawn)  # so that too large a batch is an error and not the end of the process
        fresh = {name: np.moveaxis(np.asarray(array), 1, 0) for name, array in drawn.items()}
        if self.config.noise_file is None:
            return fresh
        return load_noise(Path(self.config.noise_file).expanduser(), fresh)

    def _samples(self, comparison: Comparison) -> SamplesReport:
        model = self.checkpoint.model

        def images(x: np.ndarray) -> np.ndarray:
            return np.asarray(model.to_images(jnp.moveaxis(jnp.asarray(x), 0, 1)))

        return SamplesReport(
            samples=np.moveaxis(np.asarray(comparison.reference), 0, 1),
            noise=self.noise,
            to_images=images if hasattr(model, "to_images") else None,
        )

    def _resolved(self) -> dict[str, Any]:
        """The config with every default filled in."""
        plain = self.config.model_dump(exclude={"solvers", "model"})
        return {
            "model": describe_config(self.checkpoint.name, self.checkpoint.model.config),
            **plain,
            "solvers": [{"name": entry.name, **entry.options} for entry in self.config.solvers],
            "weights": self.checkpoint.info,
        }

    def _subject(self) -> str:
        weights = "random weights" if self.config.checkpoint is None else self.config.checkpoint
        return f"{self.checkpoint.name}, {weights}, batch {self.config.batch_size}"


class MADESamplerRunner(SamplerRunner):
    """MADE on images: T pixels, one equation each."""

    model_name = "made"


def _shown(path: Path) -> str:
    """A path as short as it can be said."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)

"""Train the same recurrent classifier with several solvers of its forward pass, gradients included."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax  # type: ignore[import-untyped]
from flax import nnx
from jaxtyping import Array, Float, Int
from pydantic import Field, field_validator
from rich import box
from rich.console import Console
from rich.table import Table

from common.files import replaced_folder
from data import load_dataset
from models.rnn.model import RNN, RNNConfig
from models.rnn.network import RNNNetwork
from models.rnn.systems import ForwardRNN
from runners.cli.publish import SCHEMA, write_json
from runners.config.schema import DataConfig, RunConfig, UsageError
from runners.config.solvers import SolverEntry, SolverList, fit_entries, labels
from runners.experiment import RunContext, RunFailure
from runners.measure.timing import Times
from runners.report.environment import describe_environment
from runners.report.units import format_seconds
from runners.rnn.classifier.figures import Curve, training_curves
from solvers import Status, solve

Count = Annotated[int, Field(ge=1)]


class RNNClassifierConfig(RunConfig):
    """The keys of the experiment."""

    dataset: DataConfig = DataConfig()
    max_train_images: Count | None = None  # only the first ones, for quick trials
    cell: str = "gru"  # a name in models.rnn.model
    hidden_size: Count = 32
    epochs: Count = 6
    batch_size: Count = 50
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 5e-3  # of Adam
    # Each {name: ..., options}; max_steps is an option of every solver. The first is what the others are compared with.
    solvers: SolverList

    @field_validator("solvers")
    @classmethod
    def _refuse_plans(cls, value: list[SolverEntry]) -> list[SolverEntry]:
        for entry in value:
            if entry.repeats is not None or entry.trace is not None:
                raise ValueError(f"solver {entry.name}: it trains here; repeats and trace have no meaning")
        return value


@dataclasses.dataclass(frozen=True)
class SolverTraining:
    """What one solver's training left."""

    label: str
    compile_s: float
    step_s: Times
    solver_steps: float  # mean number of sequential network evaluations in a forward pass
    losses: Float[np.ndarray, " steps"]  # nats
    accuracy: list[float]  # held out, after each epoch


class RNNClassifierRunner:
    """Images read row by row by an RNN whose last state tells the class.

    Everything but the solver is shared: first weights, the order of the images, the optimizer. The gradient is the
    implicit one of ``solve``, by the solver's default adjoint.
    """

    Config: ClassVar[type[RunConfig]] = RNNClassifierConfig

    def __init__(self, config: RNNClassifierConfig, context: RunContext) -> None:
        """Load the data and draw the weights; everything that can be refused is refused here."""
        self.config, self.context = config, context
        dataset = load_dataset(config.dataset.name, root=config.dataset.root, download=config.dataset.download)
        self.train = _rows(dataset.train[: config.max_train_images])
        self.labels = jnp.asarray(dataset.train_labels[: config.max_train_images])
        self.held_out, self.held_out_labels = _rows(dataset.held_out), jnp.asarray(dataset.held_out_labels)
        self.num_classes = int(max(self.labels.max(), self.held_out_labels.max())) + 1
        if config.batch_size > len(self.labels):
            raise UsageError(f"batch_size {config.batch_size} is more than the {len(self.labels)} training images")
        try:
            options = RNNConfig(config.cell, self.train.shape[-1], config.hidden_size, self.num_classes)
        except ValueError as error:
            raise UsageError(str(error)) from None
        self.first = RNN(options, rngs=nnx.Rngs(config.seed)).fold()
        self.optimizer = optax.adam(config.learning_rate)
        system = ForwardRNN.of(self.first.cell, self.train[:, :1])
        self.config = config.model_copy(update={"solvers": fit_entries(config.solvers, system)})

    def run(self) -> None:
        """Train with every solver, write the results, print the table; raise RunFailure where a solve fails."""
        entries = self.config.solvers
        trainings = [self._train(entry, label) for entry, label in zip(entries, labels(entries), strict=True)]
        with replaced_folder(self.context.out) as folder:
            self._write(folder, trainings)
        self._print(trainings)

    def _train(self, entry: SolverEntry, label: str) -> SolverTraining:
        config, order = self.config, np.random.default_rng(self.config.seed)
        step, evaluate = jax.jit(self._step, static_argnums=0), jax.jit(self._accuracy, static_argnums=0)
        params, opt_state = self.first, self.optimizer.init(self.first)
        begin = time.perf_counter()
        indices = jnp.arange(config.batch_size)
        compiled = step.lower(entry, params, opt_state, self.train, self.labels, indices).compile()
        compile_s = time.perf_counter() - begin
        losses: list[float] = []
        seconds: list[float] = []
        depths: list[int] = []
        accuracy: list[float] = []
        for epoch in range(config.epochs):
            self.context.console.print(f"{label}: epoch {epoch + 1} of {config.epochs}", highlight=False)
            shuffled = order.permutation(len(self.labels))
            for batch in shuffled[: len(shuffled) // config.batch_size * config.batch_size].reshape(
                -1, config.batch_size
            ):
                begin = time.perf_counter()
                params, opt_state, loss, status, depth = jax.block_until_ready(
                    compiled(params, opt_state, self.train, self.labels, jnp.asarray(batch))
                )
                seconds.append(time.perf_counter() - begin)
                outcome = Status(int(status))
                if outcome is not Status.CONVERGED or not np.isfinite(loss):
                    why = outcome.sentence if outcome is not Status.CONVERGED else "The loss is not finite."
                    raise RunFailure(f"{label}: training step {len(losses) + 1}: {why}")
                losses.append(float(loss))
                depths.append(int(depth))
            accuracy.append(float(evaluate(entry, params, self.held_out, self.held_out_labels)))
        return SolverTraining(label, compile_s, Times.of(seconds), float(np.mean(depths)), np.asarray(losses), accuracy)

    def _step(
        self,
        entry: SolverEntry,
        params: RNNNetwork,
        opt_state: Any,
        inputs: Float[Array, "T N I"],
        classes: Int[Array, " N"],
        batch: Int[Array, " B"],
    ) -> tuple[Any, ...]:
        """One step of Adam on some of the images."""

        def loss(params: RNNNetwork) -> tuple[Array, Any]:
            logits, solution = _logits(entry, params, inputs[:, batch])
            return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, classes[batch])), solution

        (value, solution), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        updates, opt_state = self.optimizer.update(gradient, opt_state)
        return optax.apply_updates(params, updates), opt_state, value, solution.status, solution.stats.num_steps

    @staticmethod
    def _accuracy(
        entry: SolverEntry, params: RNNNetwork, inputs: Float[Array, "T N I"], classes: Int[Array, " N"]
    ) -> Float[Array, ""]:
        """The share of images whose class is right."""
        return jnp.mean(jnp.argmax(_logits(entry, params, inputs)[0], axis=-1) == classes)

    def _write(self, folder: Path, trainings: list[SolverTraining]) -> None:
        config = self.config
        record = {
            "schema": SCHEMA,
            "name": self.context.name,
            "runner": self.context.runner,
            "config": config.model_dump(exclude={"solvers"}) | {"solvers": [entry.record for entry in config.solvers]},
            "seed": config.seed,
            **describe_environment(),
            "system": {
                "name": f"forward {config.cell}",
                "num_equations": self.train.shape[0],
                "batch_size": config.batch_size,
            },
            "rows": [
                {
                    "label": training.label,
                    "solver": entry.name,
                    "options": entry.options,
                    "compile_s": training.compile_s,
                    "step_s": dataclasses.asdict(training.step_s),
                    "solver_steps": training.solver_steps,
                    "held_out_accuracy": training.accuracy,
                    "final_loss": float(training.losses[-1]),
                    "max_loss_difference": _difference(training, trainings[0]),
                }
                for entry, training in zip(config.solvers, trainings, strict=True)
            ],
        }
        write_json(folder / "results.json", record)
        losses: dict[str, Any] = {training.label: training.losses for training in trainings}
        np.savez_compressed(folder / "losses.npz", **losses)
        title = f"{self.context.name}: {config.cell}, {config.hidden_size} hidden units, {config.dataset.name}"
        curves = [
            Curve(training.label, entry.name, training.losses, training.accuracy)
            for entry, training in zip(config.solvers, trainings, strict=True)
        ]
        training_curves(folder / "training.png", curves, title)

    def _print(self, trainings: list[SolverTraining]) -> None:
        console = Console()
        if not console.is_terminal:
            console = Console(width=140)
        length, batch = self.train.shape[0], self.config.batch_size
        title = f"{self.context.name}: {self.config.cell} by rows, T = {length}, batch {batch}"
        table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
        for name in (
            "solver",
            "held-out accuracy",
            "last loss",
            "loss apart by",
            "solver steps",
            "training step",
            "compile",
        ):
            table.add_column(name, justify="left" if name == "solver" else "right", no_wrap=True)
        for training in trainings:
            table.add_row(
                training.label,
                f"{training.accuracy[-1]:.1%}",
                f"{training.losses[-1]:.4f}",
                f"{_difference(training, trainings[0]):.1e}",
                f"{training.solver_steps:.1f}",
                format_seconds(training.step_s.median),
                format_seconds(training.compile_s),
            )
        console.print(table)
        console.print(
            f"loss apart by: the largest difference from {trainings[0].label}'s at the same step; solver steps: "
            "sequential network evaluations of a forward pass.",
            highlight=False,
        )


def _logits(entry: SolverEntry, params: RNNNetwork, inputs: Float[Array, "T B I"]) -> tuple[Float[Array, "B O"], Any]:
    """The classifier's output and the solution that it was read from."""
    solution = solve(ForwardRNN.of(params.cell, inputs), entry.solver, max_steps=entry.max_steps, throw=False)
    return params.predict(jax.tree.map(lambda a: a[-1], solution.value)), solution


def _rows(images: np.ndarray) -> Float[Array, "T N I"]:
    """Images (N, H, W, C) as sequences of their H rows, from 0 to 1."""
    return jnp.moveaxis(jnp.asarray(images, jnp.float32).reshape(*images.shape[:2], -1) / 255.0, 1, 0)


def _difference(training: SolverTraining, first: SolverTraining) -> float:
    return float(np.max(np.abs(training.losses - first.losses)))

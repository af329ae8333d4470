"""Train any registered model by a task that suits it, and keep its averaged weights."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from common.paths import RUNS, user_path
from models import build, describe_config
from models.weights.checkpoint import digest
from models.weights.load import load_checkpoint
from models.weights.registry import registry, ship
from runners.config.schema import RunConfig, UsageError
from runners.experiment import RunContext
from runners.report.report import Report
from runners.training.config import (
    AudioConfig,
    ClassifierConfig,
    DenoisingConfig,
    LanguageTrainConfig,
    LikelihoodConfig,
    TrainConfig,
)
from runners.training.loop import TrainLoop
from runners.training.preview import BEST, Preview, TrainProgress
from runners.training.report import WEIGHTS, training_report
from runners.training.shared import SharedStore
from runners.training.task import TrainTask
from runners.training.tasks.audio import AudioTask
from runners.training.tasks.classifier import ClassifierTask
from runners.training.tasks.denoising import DenoisingTask
from runners.training.tasks.likelihood import LikelihoodTask
from runners.training.tasks.text import TextTask
from runners.training.trainer import Trainer


class TrainRunner:
    """Maximum likelihood of images by AdamW, resumable at any moment.

    A run that was killed or interrupted goes on from its newest saved state when the same command is given again, and
    ends with the same weights as one that never stopped. Its state is deleted once the results are written.
    """

    Config: ClassVar[type[RunConfig]] = LikelihoodConfig
    Task: ClassVar[type[TrainTask]] = LikelihoodTask

    def __init__(self, config: TrainConfig, context: RunContext) -> None:
        """Load the data and set up the first state; everything that can be refused is refused here."""
        self.config, self.context = config, context
        if config.checkpoint_name is not None:
            check_name(config.checkpoint_name, context)
        model = first_model(config)
        # The state of an unfinished run has no first weights, on which an objective or the history may depend.
        first = {} if config.init is None else {"SHA-256 of init": digest(model)}
        self.trainer = Trainer(config, model, self.Task(config, model))
        if config.checkpoint_name is not None:
            _check_no_less(config.checkpoint_name, config, self.trainer.task.dataset)
        folder = user_path(config.state_dir) if config.state_dir else RUNS / context.name
        if folder.resolve().is_relative_to(context.out.resolve()):
            raise UsageError(f"state_dir {folder} lies in the results folder, which is replaced; choose another")
        self.store = SharedStore(folder, {**config.identity(), **first}, context.console)

    @classmethod
    def to_check(cls, config: TrainConfig, context: RunContext) -> tuple[str, Any]:
        """The model that is trained, as it is before."""
        return str(config.model["name"]), build(config.model, config.seed)

    def run(self) -> Report:
        """Train to the end.

        Once the results are written, the weights are shipped where the config names a checkpoint, and then the state
        is removed. Raises RunFailure where a number that should be finite is not, and KeyboardInterrupt on Ctrl-C, with
        the state saved.
        """
        config, context, trainer = self.config, self.context, self.trainer
        progress = TrainProgress(context.console, trainer.task, trainer.epochs, trainer.num_steps)
        preview = Preview(trainer, self.store.progress_folder, context.name)
        try:
            snapshot = TrainLoop(trainer, self.store, progress, preview).run()
        except KeyboardInterrupt:
            progress.say(f"the state is in {self.store.folder}; the same command goes on from it")
            raise
        finally:
            self.store.close()
        report = training_report(context.name, trainer, snapshot, preview.folder / BEST)
        shipping = []
        if config.checkpoint_name is not None:
            shipping = [partial(ship_checkpoint, config.checkpoint_name, context, _training(config))]
        return dataclasses.replace(
            report, mesh=trainer.devices.record, afterwards=[*shipping, lambda place: self.store.remove()]
        )


class TrainClassifierRunner(TrainRunner):
    """The same for classifiers of images: cross-entropy with the dataset's labels."""

    Config = ClassifierConfig
    Task = ClassifierTask


class TrainWaveNetRunner(TrainRunner):
    """The same for audio: the likelihood of a clip, chunk by chunk."""

    Config = AudioConfig
    Task = AudioTask


class TrainDiffusionRunner(TrainRunner):
    """The same for diffusion models: how well they tell images from noise."""

    Config = DenoisingConfig
    Task = DenoisingTask


class TrainLanguageRunner(TrainRunner):
    """The same for models of text: the likelihood of its characters, and what the config's ``objective`` adds."""

    Config = LanguageTrainConfig
    Task = TextTask


def first_model(config: TrainConfig) -> Any:
    """The model with the weights that a training begins with: those of ``init``, or random ones.

    Raises CheckpointError where the weights cannot be had, or are of another architecture.
    """
    return build(config.model, config.seed) if config.init is None else load_checkpoint(config.init, config.model).model


def check_name(name: str, context: RunContext) -> None:
    """Raise UsageError where the registry has weights of that name which another config gave."""
    retrain = registry().get(name, {}).get("retrain")
    if retrain not in (None, _command(name, context)):
        raise UsageError(
            f"checkpoint_name {name!r}: the registry has weights of this name from another config ({retrain}); choose "
            "another name, or take its entry out of checkpoints/registry.json"
        )


def _check_no_less(name: str, config: TrainConfig, dataset: str) -> None:
    """Raise UsageError where weights of that name are of another network or training, or of a longer one.

    A try with a few keys overridden has the same command as the training that gave them. The name of the ``dataset`` is
    compared too: entries that were made before they had the ``training`` tell no more of it.
    """
    entry = registry().get(name)
    if entry is None:
        return
    shipped = load_checkpoint(name)
    network = describe_config(shipped.name, shipped.model.config)
    training, kept = _training(config), entry.get("training", {})
    if not kept:
        training = {"max_train_images": training.get("max_train_images")}
    found = {**network, "seed": entry.get("seed"), "dataset": entry.get("dataset"), **kept}
    wanted = {**config.model, "seed": config.seed, "dataset": dataset, **training}
    different = sorted(key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key))
    if entry.get("epochs", 0) > min(config.stop_after or config.epochs, config.epochs):
        different.append("epochs")
    if different:
        raise UsageError(
            f"checkpoint_name {name!r}: the registry has weights of this name, trained with another "
            f"{', '.join(different)}; choose another name, or take its entry out of checkpoints/registry.json"
        )


def _training(config: TrainConfig) -> dict[str, Any]:
    """The keys that weights depend on, as the registry keeps them; not those that it keeps in another way."""
    keys = {**config.identity(), "weights_dtype": config.weights_dtype}
    return {key: value for key, value in keys.items() if key not in ("model", "seed", "epochs")}


def ship_checkpoint(name: str, context: RunContext, training: Mapping[str, Any], results: Path) -> None:
    """Copy a training's weights to checkpoints/<name>.safetensors and enter them in the registry, each atomically.

    Args:
        name: the weights' name from now on.
        context: the run, whose command the registry has.
        training: the keys of the config that the weights depend on, for the registry.
        results: the folder that the run wrote the weights to.

    Raises UsageError as ``check_name``: another run may have taken the name in the meantime.
    """
    weights = results / WEIGHTS
    content, checkpoint = weights.read_bytes(), load_checkpoint(str(weights))
    entry = {
        "file": f"{name}.safetensors",
        "model": checkpoint.name,
        **{key: value for key, value in checkpoint.info.items() if key != "config"},
        "retrain": _command(name, context),
        "training": dict(training),
        "licence": "Apache-2.0",
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    ship(name, entry, content, lambda: check_name(name, context))


def _command(name: str, context: RunContext) -> str:
    """The command that gives these weights again."""
    return f"python main.py --runner {context.runner} --config {context.name}.yml --set checkpoint_name={name}"

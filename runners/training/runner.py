"""Train any registered model by a task that suits it, and keep its averaged weights."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import ClassVar

from common.paths import RUNS, user_path
from runners.config.schema import RunConfig, UsageError
from runners.experiment import RunContext
from runners.report.report import Report
from runners.training.config import AudioConfig, ClassifierConfig, LikelihoodConfig, TrainConfig
from runners.training.loop import TrainLoop
from runners.training.preview import BEST, Preview
from runners.training.progress import TrainProgress
from runners.training.report import WEIGHTS, training_report
from runners.training.ship import check_name, ship_checkpoint
from runners.training.store import StateStore
from runners.training.task import TrainTask
from runners.training.tasks.audio import AudioTask
from runners.training.tasks.classifier import ClassifierTask
from runners.training.tasks.likelihood import LikelihoodTask
from runners.training.trainer import Trainer, new_model


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
        model = new_model(config)
        self.trainer = Trainer(config, model, self.Task(config, model))
        folder = user_path(config.state_dir) if config.state_dir else RUNS / context.name
        if folder.resolve().is_relative_to(context.out.resolve()):
            raise UsageError(f"state_dir {folder} lies in the results folder, which is replaced; choose another")
        self.store = StateStore(folder, config.identity(), context.console)

    def run(self) -> Report:
        """Train to the end.

        Once the results are written, the weights are shipped where the config names a checkpoint, and then the state
        is removed.

        Raises:
            RunFailure: a number that should be finite is not.
            KeyboardInterrupt: on Ctrl-C, with the state saved.
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
        name, weights = config.checkpoint_name, context.out / WEIGHTS
        shipping = [] if name is None else [partial(ship_checkpoint, name, context, weights)]
        return dataclasses.replace(report, afterwards=[*shipping, self.store.remove])


class TrainClassifierRunner(TrainRunner):
    """The same for classifiers of images: cross-entropy with the dataset's labels."""

    Config = ClassifierConfig
    Task = ClassifierTask


class TrainWaveNetRunner(TrainRunner):
    """The same for audio: the likelihood of a clip, chunk by chunk."""

    Config = AudioConfig
    Task = AudioTask

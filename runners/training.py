"""Train any registered model that tells its bits/dim, and keep its averaged weights."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import jax.numpy as jnp

from data import load_dataset
from runners.config import RunConfig, UsageError
from runners.run import RunContext
from runners.ship import ship_checkpoint
from runners.train_config import TrainConfig
from runners.train_loop import TrainLoop
from runners.train_preview import BEST, Preview
from runners.train_progress import TrainProgress
from runners.train_report import WEIGHTS, write_training_report
from runners.train_samples import Sampler
from runners.train_step import Trainer
from runners.train_store import StateStore

_RUNS = Path(__file__).resolve().parent.parent / "runs"


class TrainRunner:
    """Maximum likelihood by AdamW on any model of ``models.MODELS``, resumable at any moment.

    A run that was killed or interrupted goes on from its newest saved state when the same command is given again, and
    ends with the same weights as one that never stopped. Its state is deleted once the results are written.
    """

    Config: ClassVar[type[RunConfig]] = TrainConfig

    def __init__(self, config: TrainConfig, context: RunContext) -> None:
        """Load the data and set up the first state; everything that can be refused is refused here."""
        self.config, self.context = config, context
        dataset = load_dataset(config.data.name, root=config.data.root, download=config.data.download)
        self.train_images = jnp.asarray(dataset.train[: config.max_train_images])
        self.held_out_images = jnp.asarray(dataset.held_out[: config.max_held_out_images])
        self.trainer = Trainer(config, len(self.train_images))
        fresh = self.trainer.model(self.trainer.start().params)
        if fresh.image_shape != dataset.image_shape:
            raise UsageError(
                f"model {config.model['name']} draws images of shape {list(fresh.image_shape)}, the dataset "
                f"{dataset.name} has {list(dataset.image_shape)}"
            )
        folder = Path(config.state_dir).expanduser() if config.state_dir else _RUNS / context.name
        if folder.resolve().is_relative_to(context.out.resolve()):
            raise UsageError(f"state_dir {folder} lies in the results folder, which is replaced; choose another")
        self.store = StateStore(folder, config.identity(), context.console)

    def run(self) -> None:
        """Train, write the results and, where the config names a checkpoint, ship the weights under that name.

        Raises:
            RunFailure: a number that should be finite is not.
            KeyboardInterrupt: on Ctrl-C, with the state saved.
        """
        progress = TrainProgress(self.context.console, self.trainer.epochs, self.trainer.num_steps)
        sampler = Sampler(self.trainer)
        preview = Preview(self.trainer, sampler, self.store.progress_folder, self.context.name)
        loop = TrainLoop(self.trainer, self.train_images, self.held_out_images, self.store, progress, preview)
        try:
            snapshot = loop.run()
        except KeyboardInterrupt:
            progress.say(f"the state is in {self.store.folder}; the same command goes on from it")
            raise
        finally:
            self.store.close()
        record = write_training_report(
            self.context, self.trainer, sampler, snapshot, self.held_out_images, preview.folder / BEST
        )
        if self.config.checkpoint_name is not None:
            ship_checkpoint(self.config.checkpoint_name, self.context, self.context.out / WEIGHTS, record)
        self.store.remove()
        progress.say(
            f"held-out bits/dim {record['held_out_bits_per_dim']:.4f} ({self.config.weights_dtype} weights); "
            f"results in {self.context.out}"
        )

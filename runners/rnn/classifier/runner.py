"""Train the same recurrent classifier with several solvers of its forward pass, gradients included."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from flax import nnx

from data import load_dataset
from models.rnn.model import RNN, RNNConfig
from models.rnn.systems import ForwardRNN
from runners.config.schema import RunConfig, UsageError
from runners.config.solvers import fit_entries, labels
from runners.experiment import RunContext, RunFailure
from runners.measure.choosing import decided
from runners.measure.devices import Devices
from runners.measure.interrupt import KeepingDone
from runners.report.report import Report
from runners.rnn.classifier.config import RNNClassifierConfig
from runners.rnn.classifier.report import classifier_report
from runners.rnn.classifier.training import ClassifierTraining, LabelledRows, RNNClassifierTask, train_classifier


class RNNClassifierRunner:
    """Images read row by row by an RNN whose last state tells the class.

    Everything but the solver is shared: first weights, the order of the images, the optimizer. The gradient is the
    implicit one of ``solve``, by the solver's default adjoint.
    """

    Config: ClassVar[type[RunConfig]] = RNNClassifierConfig

    def __init__(self, config: RNNClassifierConfig, context: RunContext) -> None:
        """Load the data and draw the weights; everything that can be refused is refused here."""
        self.context = context
        task = _task(config)
        system = ForwardRNN.of(task.first.cell, task.train.rows[:, :1])
        self.task, self.config = task, config.model_copy(update={"solvers": fit_entries(config.solvers, system)})

    def run(self) -> Report:
        """Train with every solver; the report fails with those that did, and RunFailure is raised where all did.

        After Ctrl-C it has the trainings that were done.
        """
        trainings: list[ClassifierTraining] = []
        failures: list[str] = []
        entries = dict(zip(labels(self.config.solvers), self.config.solvers, strict=True))
        system = ForwardRNN.of(self.task.first.cell, self.task.train.rows[:, : self.config.batch_size])
        with KeepingDone(trainings) as run:
            for label, entry in decided(entries, system, self.context.console).items():
                try:
                    trainings.append(train_classifier(self.task, entry, label, self.context.say))
                except RunFailure as error:
                    self.context.say(str(error))
                    failures.append(str(error))
        failure = "; ".join(failures) or None
        if not trainings:
            raise RunFailure(failure)
        num_equations = self.task.train.rows.shape[0]
        report = classifier_report(self.context.name, self.config, num_equations, trainings, failure)
        return dataclasses.replace(run.told(report), mesh=self.task.devices.record)


def _task(config: RNNClassifierConfig) -> RNNClassifierTask:
    """Images and first weights. Raises UsageError where the config asks for what cannot be had."""
    dataset = load_dataset(**config.data.model_dump())
    chosen = slice(config.max_train_images)
    train = LabelledRows.of(dataset.train[chosen], dataset.train_labels[chosen])
    held_out = LabelledRows.of(dataset.held_out, dataset.held_out_labels)
    num_classes = int(max(train.classes.max(), held_out.classes.max())) + 1
    if config.batch_size > len(train.classes):
        raise UsageError(f"batch_size {config.batch_size} is more than the {len(train.classes)} training images")
    try:
        options = RNNConfig(config.cell, train.rows.shape[-1], config.hidden_size, num_classes)
    except ValueError as error:
        raise UsageError(str(error)) from None
    devices = Devices.for_batch(config.mesh, config.batch_size, train.rows.shape[0], {})
    return RNNClassifierTask(config, RNN(options, rngs=nnx.Rngs(config.seed)).fold(), train, held_out, devices)

"""Sample from an autoregressive model with any list of solvers: same noise, same samples, different times."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from runners.config.models import resolved
from runners.config.schema import RunConfig
from runners.config.solvers import fit_entries, labels
from runners.experiment import RunContext
from runners.measure.comparison import compare_solvers
from runners.measure.devices import Devices
from runners.report.report import Report
from runners.sampling.config import InversionConfig, LanguageSamplerConfig, SamplerConfig, WaveNetSamplerConfig
from runners.sampling.guess import guessed
from runners.sampling.inversion import inversion_subject
from runners.sampling.report import sampling_report
from runners.sampling.sound import sound_subject
from runners.sampling.subject import Subject, image_subject, load_model
from runners.sampling.text import text_subject


class SamplerRunner:
    """Any model of images, or one that states its own equations, under any list of solvers, compared in one table."""

    Config: ClassVar[type[RunConfig]] = SamplerConfig
    model_name: ClassVar[str | None] = None  # a subclass may insist on one model
    # How a config becomes equations.
    bind: ClassVar[staticmethod[[Any, RunContext, str | None], Subject]] = staticmethod(image_subject)

    def __init__(self, config: SamplerConfig, context: RunContext) -> None:
        """Load the model and bind the noise; everything that can be refused is refused here."""
        self.context = context
        self.subject = self.bind(config, context, self.insists_on(config))
        self.devices = Devices.for_system(config.mesh, self.subject.system)
        self.plain = self.devices.divide(self.subject.system)
        self.system = guessed(self.plain, config.guess, self.subject.grid)
        self.config = config.model_copy(update={"solvers": fit_entries(config.solvers, self.system)})

    @classmethod
    def to_check(cls, config: SamplerConfig, context: RunContext) -> tuple[str, Any]:
        """The model that is sampled from."""
        checkpoint = load_model(config, context.runner, cls.insists_on(config))
        return checkpoint.name, checkpoint.model

    @classmethod
    def insists_on(cls, config: SamplerConfig) -> str | None:
        """The model that a config has to name, and may leave out; None where any will do."""
        return cls.model_name

    def run(self) -> Report:
        """Compare the solvers; the report fails where one did not converge."""
        config, subject = self.config, self.subject
        comparison = compare_solvers(
            self.system,
            dict(zip(labels(config.solvers), config.solvers, strict=True)),
            repeats=config.repeats,
            time_limit_s=config.time_limit_s,
            trace=config.trace,
            console=self.context.console,
            without_guesses=None if config.guess.is_default else self.plain,
        )
        title = f"{self.context.name}: {subject.words}"
        record = {**resolved(config, subject.checkpoint), "head": dict(subject.head)}
        report = sampling_report(title, record, comparison, subject.present(comparison, title))
        return dataclasses.replace(report, mesh=self.devices.record)


class MADESamplerRunner(SamplerRunner):
    """MADE on images: T pixels, one equation each."""

    model_name = "made"


class PixelCNNPPSamplerRunner(SamplerRunner):
    """PixelCNN++; each of the published ways has a name of its own in the table of runners."""

    model_name = "pixelcnnpp"


class WaveNetSamplerRunner(SamplerRunner):
    """WaveNet: T samples of sound, one equation each, and as much more of it as is wanted."""

    Config: ClassVar[type[RunConfig]] = WaveNetSamplerConfig
    model_name = "wavenet"
    bind = staticmethod(sound_subject)

    @classmethod
    def insists_on(cls, config: SamplerConfig) -> str | None:
        """WaveNet, or any model of sound from a user's own file."""
        return None if (config.model or {}).get("path") else cls.model_name


class InversionRunner(SamplerRunner):
    """From images to their noise, and back: a model's equations the other way round."""

    Config: ClassVar[type[RunConfig]] = InversionConfig
    bind = staticmethod(inversion_subject)


class LanguageSamplerRunner(SamplerRunner):
    """A language model: T characters of text, one equation each, behind a prompt."""

    Config: ClassVar[type[RunConfig]] = LanguageSamplerConfig
    model_name = "language"
    bind = staticmethod(text_subject)

    @classmethod
    def insists_on(cls, config: SamplerConfig) -> str | None:
        """The language model, or any model of text from a user's own file."""
        return None if (config.model or {}).get("path") else cls.model_name

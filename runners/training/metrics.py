"""Metrics of weights: their names in files and for people, and which examples they are of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A number that says how good weights are."""

    key: str  # in files
    label: str  # for people
    unit: str = ""
    style: str = ".3f"  # a format specification
    higher_is_better: bool = False

    @property
    def axis(self) -> str:
        """The label with the unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def shown(self, value: float) -> str:
        """The value, rounded."""
        return format(value, self.style)


@dataclass(frozen=True)
class Evaluated:
    """The examples that weights are evaluated on."""

    prefix: str  # of the metrics' keys in results.json
    words: str  # before a metric's name

    def key(self, metric: Metric) -> str:
        """The key of a metric of the weights themselves."""
        return self.prefix + metric.key

    def averaged_key(self, metric: Metric) -> str:
        """The key of a metric of the averaged weights."""
        return f"{self.prefix}{metric.key}_ema"


BITS_PER_DIM = Metric("bits_per_dim", "bits/dim")
CROSS_ENTROPY = Metric("cross_entropy", "cross-entropy", "nats")
SAMPLE_CROSS_ENTROPY = Metric("cross_entropy", "cross-entropy", "nats a sample")
CHARACTER_CROSS_ENTROPY = Metric("cross_entropy", "cross-entropy", "nats a character")
DENOISING = Metric("denoising_loss", "squared error of the velocity", style=".4f")
OBJECTIVE = Metric("objective", "loss", "nats")
CHARACTERS_A_STEP = Metric("characters_a_step", "characters a Jacobi step", style=".2f", higher_is_better=True)
ACCURACY = Metric("accuracy", "accuracy", style=".2%", higher_is_better=True)

HELD_OUT = Evaluated(prefix="held_out_", words="held-out")

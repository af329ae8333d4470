"""The keys of the experiment on WaveNet's time per sample: how deep, how wide, how often."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from runners.config.schema import IN_ORDER, Count, Keys, RunConfig

Layers = Annotated[int, Field(ge=1, le=20)]  # the longest dilation is 2^(layers - 1)


class Wide(Keys):
    """Another batch size, measured with queues only."""

    layers: Layers
    batch_size: Count


class WaveNetTimingConfig(RunConfig):
    """The networks, the batch sizes, and how often each is run."""

    layers: Annotated[list[Layers], Field(min_length=1), IN_ORDER] = Field(list(range(4, 16)))  # L: in each block
    num_blocks: Count = 2  # of layers with dilations 1, 2, ..., 2^(L - 1)
    block: Literal["plain", "gated"] = "plain"
    num_hidden: Count = 128
    num_classes: Annotated[int, Field(ge=2)] = 256
    sample_rate: Count = 16000  # in Hz: what counts as real time
    batch_size: Count = 1
    wide: list[Wide] = Field([])
    num_samples: Count = 4096  # of each timed run with queues
    repeats: Count = 7  # timed runs; of naive sweeps as many as fit into five seconds, and one at the least
    time_limit_s: Annotated[float, Field(gt=0)] = 20.0  # naive sweeps that would take longer are left out
    pin: bool = True  # measure the queues again on one core, where the system lets a process choose

    def architecture(self, layers: int) -> dict[str, Any]:
        """The network of so many layers a block, with its name."""
        return {
            "name": "wavenet",
            "block": self.block,
            "dilations": [2**i for i in range(layers)] * self.num_blocks,
            "num_hidden": self.num_hidden,
            "num_skip": self.num_hidden,
            "num_classes": self.num_classes,
            "sample_rate": self.sample_rate,
        }

    def request(self, layers: int, batch_size: int) -> dict[str, Any]:
        """The arguments of ``measure_speed``."""
        own = self.model_dump(include={"num_samples", "repeats", "seed"})
        return {"architecture": self.architecture(layers), "batch_size": batch_size, **own}

"""Time per sample of WaveNet by its number of layers: naive generation against queues (Fast WaveNet's figure).

Paine et al., "Fast Wavenet Generation Algorithm", 2016 (arXiv 1611.09482): naive generation computes the network on the
whole receptive field for every sample, which doubles with every layer; with queues the work is that of one step.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from models import model_config
from runners.config.schema import IN_ORDER, Count, Keys, RunConfig
from runners.experiment import RunContext
from runners.measure.interrupt import KeepingDone
from runners.measure.timing import Times
from runners.report.report import Report
from runners.report.units import format_seconds
from runners.wavenet_timing.pinned import can_pin, measure_pinned
from runners.wavenet_timing.report import Timed, timing_report
from runners.wavenet_timing.speed import Speed, measure_naive, measure_speed
from solvers.trees.platform import on_cpu

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


class WaveNetTimingRunner:
    """Time WaveNets of random weights from shallow to deep, generated naively and with queues."""

    Config: ClassVar[type[RunConfig]] = WaveNetTimingConfig

    def __init__(self, config: WaveNetTimingConfig, context: RunContext) -> None:
        """State every network; everything that can be refused is refused here."""
        self.config, self.context = config, context
        points = [(layers, config.batch_size) for layers in config.layers]
        self.points = points + [(wide.layers, wide.batch_size) for wide in config.wide]
        self.networks = [model_config(config.architecture(layers)) for layers, _ in self.points]

    def run(self) -> Report:
        """Measure everything, or what is done before Ctrl-C. Raises RunFailure where the process on one core fails."""
        requests = [self.config.request(layers, batch) for layers, batch in self.points]
        speeds: list[Speed] = []
        naive: dict[int, Times] = {}
        skipped: list[dict[str, Any]] = []
        pinned: list[Speed] = []
        with KeepingDone(speeds) as run:
            self._with_queues(requests, speeds)
            self._naive(naive, skipped)
            pinned += self._pinned(requests)
        timed = [
            Timed(*self.points[i], self.networks[i], speed, pinned[i] if pinned else None, naive.get(i))
            for i, speed in enumerate(speeds)
        ]
        title = f"{self.context.name}: time per sample, {self.config.block} network"
        report = timing_report(title, self.config.model_dump(), timed, skipped)
        return run.told(report)

    def _naive(self, found: dict[int, Times], skipped: list[dict[str, Any]]) -> None:
        """Add naive times by the number of the point, and which were left out because they would take too long."""
        config, say = self.config, self.context.say
        work_before, seconds_before = 0, 0.0
        for i, layers in enumerate(config.layers):
            network = self.networks[i]
            work = network.receptive_field * len(network.dilations)
            expected = seconds_before * work / work_before if work_before else 0.0
            if expected > config.time_limit_s:
                reason = f"a sweep would take about {format_seconds(expected)}, more than time_limit_s"
                skipped.append({"layers": layers, "reason": reason})
                say(f"{layers} layers a block: naive left out: {reason}")
                continue
            say(f"{layers} layers a block, batch {config.batch_size}: naive ...")
            found[i] = measure_naive(
                config.architecture(layers), batch_size=config.batch_size, repeats=config.repeats, seed=config.seed
            )
            work_before, seconds_before = work, found[i].median

    def _with_queues(self, requests: list[dict[str, Any]], speeds: list[Speed]) -> None:
        """Add the speed of every network with queues, on all cores."""
        for (layers, batch), request in zip(self.points, requests, strict=True):
            self.context.say(f"{layers} layers a block, batch {batch}: with queues ...")
            speeds.append(measure_speed(**request))

    def _pinned(self, requests: list[dict[str, Any]]) -> list[Speed]:
        """The same on one core, where that is wanted and can be had; else none."""
        if self.config.pin and can_pin() and on_cpu():
            self.context.say("all of it with queues again on one core ...")
            return measure_pinned(requests)
        if self.config.pin:
            self.context.say("not measured on one core: this system or device does not let a process choose its cores")
        return []

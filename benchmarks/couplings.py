"""Count Jacobi's steps by the way from noise to samples, the coupling: python -m benchmarks.couplings.

Digits, sound and text are drawn by the couplings that heads offer, at several temperatures, and by fresh draws, whose
noise is new in every step. All are solved by plain Jacobi and held against forward substitution with the same noise.
Nothing is timed: a step of any of them is a sweep that waits for the one before, and the steps are what differs. The
table is printed as docs/couplings.md has it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from benchmarks.limits import FOLDER, Limit
from common.files import write_atomically
from models.weights.load import load_checkpoint
from runners.measure.job import MISMATCH
from runners.report.environment import describe_environment
from runners.sampling.given import PromptConfig, load_prompt, network_behind
from solvers import CachedSequential, Guesses, Jacobi, pytree, solve, with_guesses
from solvers.heads.categorical import Argmax, Gumbel, InverseCDF
from solvers.systems.autoregressive import AutoregressiveSystem, Head, Known, Noise

BATCH, SEED = 4, 1234
COUPLINGS = ("gumbel", "inverse_cdf")
# The coupling that fresh draws are drawn by. As they share no noise with the sample, any agrees with it as often; this
# one takes one number a value.
FRESH_FROM = "inverse_cdf"
FRESH, GREEDY = "fresh draws", "argmax"
PROMPT_S, SAMPLES = 0.2, 500  # of sound, which goes on from where it does in configs/wavenet_gated_sampler.yml
PROMPT, CHARACTERS = "The ", 256


@pytree
@dataclass(frozen=True)
class FreshDraws(Guesses):
    """Values behind the exact prefix are drawn anew in every step, from the conditionals that the last step had.

    That is Jacobi's iteration without a coupling, x <- head.sample(network(x), noise of this step), where the equation
    behind the exact prefix takes the noise that it is bound to. So the sample is the same; a value further on is kept
    only where it happens to be drawn as its own noise will have it. Each step's noise is drawn from the length of the
    exact prefix, which grows in every step. To draw takes a sweep of its own, which is not counted as a step.
    """

    seed: int = field(metadata={"static": True})

    @property
    def sweeps(self) -> float:
        """One."""
        return 1.0

    def check(self, system: Any) -> None:
        """Raise ValueError where a system is no AutoregressiveSystem."""
        if not isinstance(system, AutoregressiveSystem):
            raise ValueError(f"fresh draws go with an AutoregressiveSystem, not with {type(system).__name__}")

    def guess(self, system: AutoregressiveSystem, x: Any, y: Any, frontier: Int[Array, " B"]) -> Any:
        """One sweep over x, with new noise."""

        def drawn(sample: Int[Array, ""], known: Int[Array, ""]) -> Noise:
            key = jax.random.fold_in(jax.random.fold_in(jax.random.key(self.seed), sample), known)
            noise = system.head.draw_noise(key, system.num_equations, 1)
            return {name: array[:, 0] for name, array in noise.items()}

        noise = jax.vmap(drawn, out_axes=1)(jnp.arange(len(frontier)), frontier)
        return dataclasses.replace(system, noise=noise).sweep(x)


class Case(NamedTuple):
    """A network, what is given of its samples, and its output distribution by coupling and temperature."""

    network: Any
    head: Callable[[str, float], Head]
    temperatures: Sequence[float]
    known: Known | None = None

    def system(self, coupling: str, temperature: float) -> AutoregressiveSystem:
        """The equations of a batch of samples."""
        head = self.head(coupling, temperature)
        noise = head.draw_noise(jax.random.key(SEED), self.network.num_equations, BATCH)
        return AutoregressiveSystem(self.network, head, noise, self.known)

    @property
    def values(self) -> int:
        """The number of values that are drawn, those that are given left out."""
        return int(self.network.num_equations) - (0 if self.known is None else int(self.known.length))


class Row(NamedTuple):
    """What Jacobi did on the equations of one coupling."""

    case: str
    temperature: float
    coupling: str
    values: int  # that are drawn, for each sample
    steps: tuple[int, ...]  # of each sample, with the one that sees that nothing changes
    mismatched: int  # of the batch: class ids that are others than by forward substitution, pixels off by over MISMATCH
    max_abs_error: float

    @property
    def mean_steps(self) -> float:
        """The mean over the samples."""
        return sum(self.steps) / len(self.steps)

    @property
    def values_a_step(self) -> float:
        """How many values a step finds, for one sample."""
        return self.values / self.mean_steps


def digits() -> Case:
    """Digits from PixelCNN++, a pixel an equation."""
    model = load_checkpoint("pixelcnnpp_mnist").model

    def head(coupling: str, temperature: float) -> Head:
        changed: Head = dataclasses.replace(model.head, component=coupling, temperature=temperature)
        return changed

    return Case(model.fold(), head, (0.7, 1.0))


def sound() -> Case:
    """Sound from WaveNet, a sample an equation, behind the beginning of a clip."""
    model = load_checkpoint("wavenet_speech_gated").model
    prompt = load_prompt(PromptConfig(duration_s=PROMPT_S), model, BATCH)
    network = network_behind(model.fold(len(prompt) + SAMPLES), prompt, SAMPLES)
    return Case(network, class_head(model.quantizer.num_classes), (0.5, 0.8, 1.0))


def text() -> Case:
    """Text from a language model, a character an equation, behind a prompt."""
    model = load_checkpoint("language_topics").model
    given = np.zeros((CHARACTERS, BATCH), np.int32)
    given[: len(PROMPT)] = model.encode(PROMPT)[:, None]
    known = Known(jnp.asarray(given), jnp.int32(len(PROMPT)))
    return Case(model.fold(CHARACTERS), class_head(model.num_classes), (0.0, 0.5, 0.8, 1.0), known)


CASES: dict[str, Callable[[], Case]] = {"PixelCNN++": digits, "WaveNet": sound, "text": text}


def class_head(num_classes: int) -> Callable[[str, float], Head]:
    """The output distribution of class ids by coupling and temperature."""

    def head(coupling: str, temperature: float) -> Head:
        if coupling == GREEDY:
            return Argmax(num_classes)
        return Gumbel(num_classes, temperature) if coupling == "gumbel" else InverseCDF(num_classes, temperature)

    return head


def measure(name: str, case: Case) -> Iterator[Row]:
    """Jacobi on every coupling at every temperature; at 0 there is no noise, and nothing to couple."""
    for temperature in case.temperatures:
        for coupling in COUPLINGS if temperature else (GREEDY,):
            system = case.system(coupling, temperature)
            exact = np.asarray(solve(system, CachedSequential()).value)
            yield Row(name, temperature, coupling, case.values, *count(system, exact))
            if coupling == FRESH_FROM:
                fresh = with_guesses(system, FreshDraws(SEED + 1))
                yield Row(name, temperature, FRESH, case.values, *count(fresh, exact))


def count(system: Any, exact: np.ndarray) -> tuple[tuple[int, ...], int, float]:
    """Jacobi's steps, mismatched values and largest error on equations whose solution is ``exact``."""
    solution = solve(system, Jacobi())
    steps = tuple(int(each) for each in np.asarray(solution.stats.steps_to_convergence))
    error = np.abs(np.asarray(solution.value, float) - exact)
    # Forward substitution rounds otherwise than a sweep, which pixels show and class ids do not.
    allowed = 0.0 if np.issubdtype(exact.dtype, np.integer) else MISMATCH
    return steps, int(np.sum(error > allowed)), float(error.max())


def limits(rows: Iterable[Row]) -> list[Limit]:
    """The figures that this benchmark is held against."""
    return [
        Limit(f"values that differ, {row.case} at {row.temperature:g}, {row.coupling}", row.mismatched, 0)
        for row in rows
    ]


def table(rows: Iterable[Row]) -> str:
    """Steps by coupling, and in brackets the values that a step finds, as a table in Markdown."""
    by_place: dict[tuple[str, int, float], dict[str, Row]] = {}
    for row in rows:
        by_place.setdefault((row.case, row.values, row.temperature), {})[row.coupling] = row
    lines = [
        "| model | values | temperature | `gumbel` | `inverse_cdf` | fresh draws | fresh over the better coupling |",
        "|---|---|---|---|---|---|---|",
    ]
    for (case, values, temperature), found in by_place.items():
        greedy = found.get(GREEDY)
        said = f"0 (`{GREEDY}`)" if greedy else f"{temperature:g}"
        shown = {"gumbel": greedy} if greedy else found
        cells = [_cell(shown.get(coupling)) for coupling in (*COUPLINGS, FRESH)]
        coupled = min((found[name].mean_steps for name in COUPLINGS if name in found), default=math.nan)
        ratio = f"{found[FRESH].mean_steps / coupled:.2f}" if FRESH in found else ""
        lines.append(f"| {' | '.join([case, f'{values:,}', said, *cells, ratio])} |")
    return "\n".join(lines)


def _cell(row: Row | None) -> str:
    return "" if row is None else f"{row.mean_steps:.0f} ({row.values_a_step:.2f})"


def main() -> int:
    """Solve, print, save; returns 1 where an answer is not that of forward substitution."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=CASES, help="a part of the table, which is not saved")
    options = parser.parse_args()
    rows = []
    for name in options.only or CASES:
        for row in measure(name, CASES[name]()):
            print(f"{name} at {row.temperature:g}, {row.coupling}: {row.mean_steps:g} steps", flush=True)
            rows.append(row)
    held = limits(rows)
    print(table(rows))
    for limit in held:
        if not limit.met:
            print(f"{limit.what}: {limit.ratio:g}: MISSED")
    if not options.only:
        record = {
            "benchmark": "couplings",
            **describe_environment(),
            "batch_size": BATCH,
            "seed": SEED,
            "rows": [
                {**row._asdict(), "mean_steps": row.mean_steps, "values_a_step": row.values_a_step} for row in rows
            ],
            "limits": [{**dataclasses.asdict(limit), "met": limit.met} for limit in held],
        }
        write_atomically(FOLDER / "couplings.json", (json.dumps(record, indent=2) + "\n").encode())
    return 0 if all(limit.met for limit in held) else 1


if __name__ == "__main__":
    sys.exit(main())

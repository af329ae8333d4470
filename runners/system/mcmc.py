"""Chains of Markov chain Monte Carlo, the same by one loop and in parallel, and what they say of their target."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar

import jax
import numpy as np
from arviz_stats.base import array_stats
from jaxtyping import Bool, Float
from pydantic import Field

from models.mcmc.chain import Chain
from models.mcmc.targets import Whitened
from runners.config.schema import RunConfig, UsageError
from runners.experiment import RunContext
from runners.measure.comparison import Comparison
from runners.measure.job import Frames
from runners.plotting.picture import Picture
from runners.report.report import Report
from runners.report.table import Cells, Column, ResultTable
from runners.system.figures import chain_figure, posterior_figure
from runners.system.runner import SystemConfig, SystemRunner
from solvers.systems.recurrence import shifted

LEAST = 4  # samples of a chain without which it has no diagnostics
AGREED = 1.01  # the rank-normalized split r-hat up to which chains agree, by Vehtari et al.
_SHOWN = 12  # parameters in the table

_decisions = jax.jit(lambda chain, x: chain.accepted(shifted(chain.initial_state, x)))


class MCMCConfig(SystemConfig):
    """A system {name: mcmc, target: ..., kernel: ...}, the solvers, and what of each chain is not looked at."""

    warmup: Annotated[int, Field(ge=0)]  # samples at the beginning of each chain that are left out of statistics


class MCMCRunner(SystemRunner):
    """MCMC chains by any list of solvers: the same samples, the same decisions, and how well the chains mixed."""

    Config: ClassVar[type[RunConfig]] = MCMCConfig
    config: MCMCConfig

    def __init__(self, config: MCMCConfig, context: RunContext) -> None:
        """Make the chains; everything that can be refused is refused here."""
        super().__init__(config, context)
        if not isinstance(self.system, Chain):
            raise UsageError("MCMCRunner needs system: {name: mcmc, target: ..., kernel: ...}; see SystemRunner")
        if self.system.num_equations - config.warmup < LEAST:
            raise UsageError(f"warmup {config.warmup} leaves fewer than {LEAST} of {self.system.num_equations} samples")

    def report(self, comparison: Comparison) -> Report:
        """What solvers found, which decisions differ from the reference's, and the moments of the samples."""
        report, chain = super().report(comparison), self.system
        decisions = np.asarray(_decisions(chain, comparison.reference))
        flips = {row.label: _flips(chain, row.value, decisions) for row in comparison.rows}
        samples = np.moveaxis(_outside(chain, comparison.reference)[self.config.warmup :], 1, 0)
        parameters = list(_parameters(samples))
        record = {
            **report.record,
            "accepted": float(decisions.mean()),
            "flips": flips,
            "parameters": parameters,
            "largest_r_hat": float(np.max([each["r_hat"] for each in parameters])),  # of NaN and others NaN
            "least_bulk_ess": float(np.min([each["bulk_ess"] for each in parameters])),
        }
        errors = {row.label: _errors(row.frames, comparison.reference) for row in comparison.rows if row.frames}
        draw = partial(chain_figure, errors, report.title)
        return dataclasses.replace(
            report,
            kind="mcmc",
            record=record,
            arrays={**report.arrays, "samples.npz": {"samples": samples, "accepted": np.moveaxis(decisions, 1, 0)}},
            artifacts=[
                *report.artifacts,
                *([Picture("chain.png", draw)] if errors else []),
                Picture("posterior.png", partial(posterior_figure, samples, report.title)),
            ],
            tables=[*report.tables, _table(parameters)],
            sentences=[*report.sentences, *_sentences(record)],
        )


def _flips(chain: Chain, x: Any, decisions: Bool[np.ndarray, "T B K"]) -> int:
    """How many proposals are taken along ``x`` that the reference does not take, or the other way round."""
    return int((np.asarray(_decisions(chain, x)) != decisions).sum())


def _errors(frames: Frames, exact: Any) -> dict[str, np.ndarray]:
    """How far each state of the first chain is from the exact one, after more and more steps: num_steps and error."""
    far = np.abs(frames.states[:, :, 0] - np.asarray(exact)[:, 0])
    return {"num_steps": frames.num_steps, "error": far.max(axis=-1)}


def _outside(chain: Chain, x: Any) -> Float[np.ndarray, "T B D"]:
    """States in the coordinates in which the target was stated."""
    return np.asarray(chain.target.outside(x) if isinstance(chain.target, Whitened) else x)


def _parameters(samples: Float[np.ndarray, "B T D"]) -> Iterator[dict[str, Any]]:
    """Mean, standard deviation, r-hat and bulk effective sample size of every parameter, over all chains.

    (Vehtari, Gelman, Simpson, Carpenter and Bürkner, "Rank-normalization, folding, and localization: an improved R-hat
    for assessing convergence of MCMC", Bayesian Analysis 16, 2021.)
    """
    axes = {"chain_axis": 0, "draw_axis": 1}
    with np.errstate(invalid="ignore", divide="ignore"):  # a chain that does not move has no variance
        r_hat, ess = array_stats.rhat(samples, **axes), array_stats.ess(samples, **axes)
    mean, sd = samples.mean(axis=(0, 1)), samples.std(axis=(0, 1), ddof=1)
    for i in range(samples.shape[-1]):
        yield {
            "parameter": i,
            "mean": float(mean[i]),
            "sd": float(sd[i]),
            "r_hat": float(r_hat[i]),
            "bulk_ess": float(ess[i]),
        }


_CELLS: Cells = (
    (Column("parameter"), lambda row: str(row["parameter"])),
    (Column("mean"), lambda row: f"{row['mean']:.3f}"),
    (Column("sd"), lambda row: f"{row['sd']:.3f}"),
    (Column("r-hat"), lambda row: f"{row['r_hat']:.4f}"),
    (Column("bulk ESS"), lambda row: f"{row['bulk_ess']:,.0f}"),
)


def _table(parameters: Sequence[Mapping[str, Any]]) -> ResultTable:
    """The parameters, or of many those of the largest r-hat."""
    shown = sorted(parameters, key=lambda row: -row["r_hat"])[:_SHOWN]
    which = "" if len(shown) == len(parameters) else f": the {_SHOWN} of {len(parameters)} of the largest r-hat"
    return ResultTable.of(f"parameters{which}", _CELLS, sorted(shown, key=lambda row: row["parameter"]))


def _sentences(record: Mapping[str, Any]) -> Iterator[str]:
    """How the chains mixed, and which solvers decided otherwise than the reference."""
    yield (
        f"{record['accepted']:.1%} of the proposals were accepted; largest r-hat {record['largest_r_hat']:.4f}, least "
        f"bulk effective sample size {record['least_bulk_ess']:,.0f}."
    )
    if not record["largest_r_hat"] <= AGREED:
        said = f"above {AGREED}" if record["largest_r_hat"] > AGREED else "not a number: a chain does not move"
        yield f"r-hat is {said}; the chains do not agree, so take more samples, or another kernel."
    for label, count in record["flips"].items():
        if count:
            yield f"{label}: {count} proposals were accepted or refused otherwise than by {record['error_reference']}."

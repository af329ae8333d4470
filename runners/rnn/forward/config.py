"""The keys of an experiment on the forward pass of RNNs: which cells, how long, how large, which solvers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field, field_validator, model_validator

from common.names import unknown
from runners.config.schema import Count, Keys
from runners.config.solvers import SolverEntry, labels
from runners.measure.order_one import BASELINE, OrderOneConfig

Counts = list[Count]


class CellEntry(Keys):
    """One cell, and what it has of its own of the run's settings."""

    network: dict[str, Any]  # {cell: gru} or {cell: elman, activation: tanh, gain: 0.5}: see models/rnn/model.py
    input_scale: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0  # standard deviation of the inputs
    sequence_lengths: Counts | None = None
    state_size: Count | None = None
    state_sizes: Counts | None = None
    sequence_length: Count | None = None
    solvers: list[str] | None = None  # names among the run's; default: all

    @field_validator("network")
    @classmethod
    def _refuse_sizes(cls, value: dict[str, Any]) -> dict[str, Any]:
        for key, instead in (("hidden_size", "state_size"), ("num_inputs", "num_inputs of the run")):
            if key in value:
                raise ValueError(f"{key} does not belong here; see {instead}")
        return value


class ForwardRNNConfig(OrderOneConfig):
    """Cells at several lengths and one state size, and at several state sizes and one length."""

    shares_devices: ClassVar[bool] = True
    cells: dict[str, CellEntry]  # by the name that tables and pictures give them
    num_inputs: Count = 2
    batch_size: Count = 4
    sequence_lengths: Counts = Field([100, 1_000, 10_000, 100_000])  # T, each with state_size
    state_size: Count = 4  # hidden units
    state_sizes: Counts = Field([1, 2, 4, 8, 16, 32, 64])  # each with sequence_length
    sequence_length: Count = 10_000

    @field_validator("cells")
    @classmethod
    def _need_cells(cls, value: Mapping[str, CellEntry]) -> Mapping[str, CellEntry]:
        if not value:
            raise ValueError("expected one or more cells by name, for example {gru: {network: {cell: gru}}}")
        return value

    @model_validator(mode="after")
    def _check_lists(self) -> ForwardRNNConfig:
        names = [entry.name for entry in self.solvers]
        for where, part in (("", self), *((f"cells.{name}.", cell) for name, cell in self.cells.items())):
            for key in ("sequence_lengths", "state_sizes"):
                if getattr(part, key) == []:
                    raise ValueError(f"{where}{key} is empty; expected one or more numbers")
        for cell, entry in self.cells.items():
            for name in entry.solvers or ():
                if name not in names:
                    raise ValueError(f"cells.{cell}.solvers: {unknown('solver', name, names)}")
        return self

    def points(self, cell: str) -> list[tuple[int, int]]:
        """(T, hidden units) of a cell's experiments, each once."""
        entry = self.cells[cell]
        size, length = entry.state_size or self.state_size, entry.sequence_length or self.sequence_length
        along = [(other, size) for other in entry.sequence_lengths or self.sequence_lengths]
        across = [(length, other) for other in entry.state_sizes or self.state_sizes]
        return list(dict.fromkeys([*along, *across]))

    def entries(self, cell: str) -> dict[str, SolverEntry]:
        """A cell's solvers by the label that they have in all cells; the baseline is always one of them."""
        wanted, named = self.cells[cell].solvers, zip(labels(self.solvers), self.solvers, strict=True)
        return {label: entry for label, entry in named if wanted is None or entry.name in (BASELINE, *wanted)}

"""WaveNet's time per sample, from the command line to results.json, and the laws and bounds beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from flax import nnx

from models import MODELS
from models.wavenet.model import WaveNetConfig
from runners.cli.main import main
from runners.experiment import RunFailure
from runners.measure.timing import Times
from runners.wavenet_timing.laws import growth_laws, law_value
from runners.wavenet_timing.pinned import can_pin, measure_pinned
from runners.wavenet_timing.report import Timed, timing_report
from runners.wavenet_timing.speed import Speed, bare_chain
from tests.kit.results import assert_readable, read_results


def time_it(folder: Path, **changes: Any) -> dict[str, Any]:
    tiny = {
        "layers": [3, 2],
        "num_hidden": 4,
        "num_classes": 5,
        "num_samples": 16,
        "repeats": 2,
        "pin": False,
        **changes,
    }
    (folder / "times.yml").write_text(yaml.safe_dump(tiny))
    line = ["--runner", "WaveNetTimingRunner", "--config", str(folder / "times.yml"), "--out", str(folder / "out")]
    assert main(line) == 0
    return read_results(folder / "out")


@pytest.mark.skipif(not can_pin(), reason="this system does not let a process choose its cores")
def test_times_by_layers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = time_it(tmp_path, pin=True, wide=[{"layers": 2, "batch_size": 3}])
    rows = record["rows"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"results.json", "timing.png"}
    assert [row["layers"] for row in rows] == [2, 3]
    assert [row["receptive_field"] for row in rows] == [7, 15]
    assert [(row["layers"], row["batch_size"]) for row in record["wide"]] == [(2, 3)]
    for row in [*rows, *record["wide"]]:
        for prefix in ("", "pinned_"):
            queues, chain = row[f"{prefix}queues_ms"], row[f"{prefix}chain_ms"]
            assert queues["n"] == chain["n"] == 2
            assert row[f"{prefix}ratio_to_chain"] == pytest.approx(queues["median"] / chain["median"])
            assert row[f"{prefix}real_time_factor"] == pytest.approx(16 * queues["median"])
    assert [row["naive_ms"] is None for row in [*rows, *record["wide"]]] == [False, False, True]
    assert all(record["laws"].values())
    assert record["skipped"] == []
    assert "one core: queues" in capsys.readouterr().out


def test_naive_is_left_out_where_it_would_take_too_long(tmp_path: Path) -> None:
    record = time_it(tmp_path, time_limit_s=1e-9, block="gated")
    assert [row["naive_ms"] is None for row in record["rows"]] == [False, True]
    assert [row["pinned_queues_ms"] for row in record["rows"]] == [None, None]
    assert record["laws"]["naive"] is record["laws"]["pinned_queues"] is None
    assert [left_out["layers"] for left_out in record["skipped"]] == [3]
    assert "time_limit_s" in record["skipped"][0]["reason"]


def test_the_table_fits_a_terminal_of_80_columns() -> None:
    times = Times.of([1.23456e-3])
    network = WaveNetConfig(dilations=tuple(2**i for i in range(15)) * 2)
    speed = Speed(times, times, 1)
    timed = Timed(15, 16, network, speed, speed, times)
    (table,) = timing_report("times", {"layers": [15], "batch_size": 16}, [timed], []).tables
    assert_readable(table)


def test_a_failure_on_one_core_is_told() -> None:
    with pytest.raises(RunFailure, match="measurement on one core failed: .*unknown model 'nothing'"):
        measure_pinned(
            [{"architecture": {"name": "nothing"}, "batch_size": 1, "num_samples": 1, "repeats": 1, "seed": 1}]
        )


def test_growth_laws_are_found_again() -> None:
    rows = [
        {"layers": n, "queues_ms": {"median": 2 + 0.5 * n}, "pinned_queues_ms": None, "chain_ms": {"median": n**1.5}}
        | {"naive_ms": {"median": 3.0 if n < 8 else 0.25 * 2 ** (1.1 * n)}}
        for n in range(4, 13)
    ]
    laws = growth_laws(rows)
    assert laws["pinned_queues"] is None
    assert laws["queues"] | {"exponent": 0} == pytest.approx({"a_ms": 2, "b_ms": 0.5, "r_squared": 1, "exponent": 0})
    assert laws["chain"]["exponent"] == pytest.approx(1.5)
    assert laws["chain"]["r_squared"] < 0.999
    naive = {"c_ms": 0.25, "doublings_per_layer": 1.1, "r_squared": 1, "from_layers": 8}
    assert laws["naive"] == pytest.approx(naive)
    layers = np.array([2.0, 9.0])
    np.testing.assert_allclose(law_value(laws["queues"], layers), [3, 6.5])
    np.testing.assert_allclose(law_value(laws["naive"], layers), 0.25 * 2 ** (1.1 * layers))
    assert growth_laws(rows[:1]) == dict.fromkeys(("queues", "pinned_queues", "chain", "naive"))


@pytest.mark.parametrize("batch_size", [1, 2])
def test_the_bare_chain_is_that_of_the_network_s_products(batch_size: int) -> None:
    model = MODELS["wavenet"](WaveNetConfig(dilations=(2, 1, 3), num_hidden=6, num_classes=9), rngs=nnx.Rngs(3))
    model.readout.bias[...] = jnp.linspace(0.0, 2.0, 9)
    network = model.fold()
    ids = np.zeros(batch_size, int)
    for _ in range(3):
        h = np.maximum(np.asarray(network.first.tables[0])[ids], 0)
        for layer in network.stack.layers:
            h = np.maximum(h @ np.asarray(layer.filter.kernel(1)), 0)
        ids = np.argmax(h @ np.asarray(model.readout.kernel[...]) + np.linspace(0.0, 2.0, 9), axis=-1)
    assert ids.any()
    np.testing.assert_array_equal(np.atleast_1d(bare_chain(network, batch_size, 3)()), ids)

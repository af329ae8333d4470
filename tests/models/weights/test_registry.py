"""The registry of shipped weights, when two trainings end at once."""

from __future__ import annotations

from pathlib import Path
from threading import Thread

import pytest
from filelock import FileLock

from models.weights import registry


def test_an_entry_that_came_in_the_meantime_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "CHECKPOINTS", tmp_path)
    (tmp_path / "registry.json").write_text("{}")
    second = Thread(target=registry.ship, args=("second", {"file": "second.safetensors"}, b"2", lambda: None))
    with FileLock(tmp_path / "registry.lock"):
        second.start()
        second.join(timeout=0.2)
        assert not (tmp_path / "second.safetensors").exists()
        (tmp_path / "registry.json").write_text('{"first": {"file": "first.safetensors"}}')
    second.join()
    assert list(registry.registry()) == ["first", "second"]

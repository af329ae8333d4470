"""A user's mistake, wherever it is found, is a UserError: one sentence on the command line, exit code 2."""

from __future__ import annotations

import pytest

import runners.cli.main
from common.errors import UserError
from common.table import UnknownNameError
from data.audio.wave_file import AudioError
from data.images.dataset import DatasetError
from models import ModelError
from models.weights.checkpoint import CheckpointError
from models.weights.stream_state import StateError
from runners.config.schema import UsageError

KINDS = (UnknownNameError, AudioError, DatasetError, ModelError, CheckpointError, StateError, UsageError)


@pytest.mark.parametrize("kind", KINDS)
def test_a_mistake_is_one_sentence(
    kind: type[UserError], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def mistaken(*_: object) -> None:
        raise kind("this\ncannot be had")

    monkeypatch.setattr(runners.cli.main, "find_config", mistaken)
    assert runners.cli.main.main(["--runner", "SamplerRunner", "--config", "x"]) == 2
    assert capfd.readouterr().err == "error: this cannot be had\n"

"""Which form of a computation is chosen: by JAX's default device, or by all devices that it has."""

from __future__ import annotations

from contextlib import nullcontext

import jax
import jax.numpy as jnp
import pytest

from solvers.trees import platform
from solvers.trees.platform import has_accelerator, on_cpu


@pytest.mark.parametrize(
    ("backend", "device", "expected"),
    [
        ("cpu", None, True),
        ("gpu", None, False),
        ("gpu", "cpu", True),
        ("gpu", jax.devices("cpu")[0], True),
        ("cpu", "gpu", False),
    ],
)
def test_programs_are_made_for_the_default_device(
    backend: str, device: object, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    with nullcontext() if device is None else jax.default_device(device):
        assert on_cpu() == expected


def test_a_traced_function_is_told_of_the_default_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    form = jax.jit(lambda x: x + (1 if on_cpu() else 2))
    assert form(jnp.zeros(())) == 2
    with jax.default_device(jax.devices("cpu")[0]):
        assert form(jnp.zeros(())) == 1


@pytest.mark.parametrize(
    ("backend", "present", "expected"),
    [("cpu", ["cpu"], False), ("cuda", ["cpu", "cuda"], True), ("cpu", ["cpu", "cuda"], True), ("gpu", ["cpu"], True)],
)
def test_an_accelerator_is_one_wherever_jax_computes(
    backend: str, present: list[str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setattr(platform, "backends", lambda: dict.fromkeys(present))
    assert has_accelerator() == expected

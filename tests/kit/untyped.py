"""What users get who make a mistake in a type: tests check annotations, users' runs do not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from jaxtyping import config


@contextmanager
def untyped() -> Iterator[None]:
    """No check of annotations in the body."""
    config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        config.update("jaxtyping_disable", False)

"""Another way to draw from a trained network: options of the output distribution."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from common.names import unknown
from common.options import build_options
from runners.config.schema import UsageError


def head_options(head: Any) -> dict[str, Any]:
    """What may be changed in a head, a dataclass, and stands there now: its fields with a default.

    Those without one are the architecture's.
    """
    return {
        field.name: getattr(head, field.name)
        for field in dataclasses.fields(head)
        if field.default is not dataclasses.MISSING
    }


def replace_head(head: Any, options: Mapping[str, Any]) -> Any:
    """The head with other options, types checked. Raises UsageError, which names what is wrong and what is valid."""
    valid = head_options(head)
    for name in options:
        if name not in valid:
            raise UsageError(f"head: {unknown('option', name, valid)}")
    try:
        return build_options(type(head), {**vars(head), **options})
    except ValueError as error:
        raise UsageError(f"head: {error}") from None

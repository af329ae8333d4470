"""Build a frozen dataclass from the options in a config, with errors for people."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from common.names import unknown

T = TypeVar("T")


def build_options(kind: type[T], options: Mapping[str, Any]) -> T:
    """An instance of the dataclass ``kind``, types checked and converted where nothing is lost (a list to a tuple).

    Raises ValueError: one sentence that names the option, what was found and what was expected; an unknown option
    comes with the valid ones, near misses first.
    """
    names = [field.name for field in dataclasses.fields(kind) if field.init]  # type: ignore[arg-type]
    for name in options:
        if name not in names:
            raise ValueError(unknown("option", name, names))
    try:
        return TypeAdapter(kind).validate_python(dict(options))
    except ValidationError as error:
        raise ValueError(explain(error)) from None


def explain(error: ValidationError) -> str:
    """The first problem of a validation, as one sentence."""
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "missing" or problem["type"] == "missing_argument":
        return f"{where} is missing"
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if problem["type"] == "value_error":
        return f"{where}: {message}" if where else message
    return f"{where} should be {message}, not {problem['input']!r}"

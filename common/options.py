"""Build a frozen dataclass from the options in a config, with errors for people."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from common.names import unknown

T = TypeVar("T")

# What was expected, by the type of pydantic's error; braces stand for the limits that came with it.
_EXPECTED: dict[str, str] = {
    **dict.fromkeys(("int_type", "int_parsing", "int_parsing_size", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    "finite_number": "a finite number",
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    "string_type": "text",
    "string_pattern_mismatch": "text that matches {pattern}",
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "a mapping of keys to values"),
    **dict.fromkeys(("list_type", "tuple_type"), "a list"),
    "too_short": "a list of at least {min_length} items",
    "too_long": "a list of at most {max_length} items",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
}


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


def arguments_for(make: Any, options: Mapping[str, Any], source: str, **offered: Any) -> dict[str, Any]:
    """The options by which a user's function or class is called, with those ``offered`` that it takes.

    It is not called here, so that what it raises is not taken for a mistake in the options. Raises ValueError, one
    sentence after ``source``, where it cannot be called, or takes other options.
    """
    if not callable(make):
        raise ValueError(f"{source} should be a function or a class, not {make!r:.50}")
    parameters = inspect.signature(make).parameters
    if not any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
        for key in options:
            if key not in parameters:
                raise ValueError(f"{source}: {unknown('option', key, parameters)}")
    for key, each in parameters.items():
        plain = each.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        if plain and each.default is inspect.Parameter.empty and key not in options and key not in offered:
            raise ValueError(f"{source}: option {key} is missing")
    return {**{key: value for key, value in offered.items() if key in parameters}, **options}


def explain(error: ValidationError) -> str:
    """The first problem of a validation, as one sentence."""
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "missing" or problem["type"] == "missing_argument":
        return f"{where} is missing"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] not in _EXPECTED:
        return f"{where}: {message}" if where else message
    limits = {name: f"{x:.12g}" if isinstance(x, float) else x for name, x in problem.get("ctx", {}).items()}
    expected = _EXPECTED[problem["type"]].format(**limits)
    return f"{where} should be {expected}, not {_in_yaml(problem['input'])}"


def _in_yaml(value: Any) -> str:
    """A value as a config says it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 200 else text[:200] + " ..."

"""The keys of a config for people: types, defaults, and the comments that stand beside the fields of the schema."""

from __future__ import annotations

import ast
import inspect
import io
import textwrap
import tokenize
import types
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

_WORDS = {int: "whole number", float: "number", str: "text", bool: "true or false", type(None): "null"}
_NUMBERS = (int, float)
_LIMITS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


class Key(NamedTuple):
    """A key that a config may have."""

    name: str  # with dots, where it lies in a mapping
    kind: str  # what its value may be
    default: str | None  # as a config would say it; None: it must be given
    sentence: str  # what it is for; "" where the name says it


def describe_keys(schema: type[BaseModel], prefix: str = "") -> Iterator[Key]:
    """Every key of a schema in its order, those of mappings behind the mapping."""
    comments = {name: text for kind in reversed(schema.__mro__) for name, text in field_comments(kind).items()}
    for name, field in schema.model_fields.items():
        kind = _kind(field.annotation, field.metadata)
        default = None if field.is_required() else _in_yaml(field.get_default(call_default_factory=True))
        yield Key(prefix + name, kind, default, comments.get(name, ""))
        for nested in (field.annotation, *get_args(field.annotation)):
            if isinstance(nested, type) and issubclass(nested, BaseModel):
                yield from describe_keys(nested, f"{prefix}{name}.")


def field_comments(kind: type) -> dict[str, str]:
    """The comments of a class's annotated fields in its source: in the lines above a field, and behind it."""
    if kind.__module__.split(".")[0] in ("builtins", "pydantic"):
        return {}
    source = textwrap.dedent(inspect.getsource(kind))
    lines = source.split("\n")
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    found = {}
    for node in ast.parse(source).body[0].body:  # type: ignore[attr-defined]  # a class
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            first = node.lineno
            while lines[first - 2].lstrip().startswith("#"):
                first -= 1
            numbers = [*range(first, node.lineno), node.end_lineno]
            found[node.target.id] = " ".join(comments[number] for number in numbers if number in comments)
    return found


def _kind(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """A type in words, with its limits."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(arguments[0], arguments[1:])
    if origin in (Union, types.UnionType):
        return " or ".join(_kind(part, metadata) for part in arguments)
    if origin is Literal:
        return " or ".join(map(str, arguments))
    if origin is list:
        item = _kind(arguments[0])
        return "list" if item == "mapping" else f"list, each {item}"
    limits = ", ".join(_limits(metadata)) if annotation in _NUMBERS else ""
    return f"{_WORDS.get(annotation, 'mapping')} {limits}".rstrip()


def _limits(metadata: Sequence[Any]) -> Iterator[str]:
    for item in metadata:
        if isinstance(item, FieldInfo):  # of a type inside another one
            yield from _limits(item.metadata)
        for name, words in _LIMITS.items():
            if (limit := getattr(item, name, None)) is not None:
                yield f"{words} {limit:.12g}"


def _in_yaml(value: Any) -> str:
    """A default as a config says it; a mapping's is told by its keys."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, BaseModel):
        return "as its keys"
    return f"{value:g}" if isinstance(value, float) else str(value)

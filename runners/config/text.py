"""A user's text as values: YAML with the numbers of YAML 1.2, and text wherever the schema wants text.

A plain scalar is what YAML 1.2's core schema says: ``010`` is ten, ``1e-6`` a number, ``on``, ``1:30`` and a date are
text. Where a schema wants text a plain scalar is text whatever it looks like, but for ``null`` and an empty one.
Mappings name each key once; ``<<``, which YAML 1.1 had, merges another mapping's keys behind their own. Tags, which ask
for objects, are refused.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

_NOTHING = ("", "null", "Null", "NULL")  # never text, unless in quotes
_NULL = re.compile(r"null|Null|NULL|~|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_NUMBERS: tuple[tuple[re.Pattern[str], Callable[[str], int | float]], ...] = (
    (re.compile(r"[-+]?[0-9]+"), int),
    (re.compile(r"0o[0-7]+"), lambda text: int(text, 8)),
    (re.compile(r"0x[0-9a-fA-F]+"), lambda text: int(text, 16)),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
    (re.compile(r"[-+]?\.(inf|Inf|INF)"), lambda text: float(text.replace(".", ""))),
    (re.compile(r"\.(nan|NaN|NAN)"), lambda text: float("nan")),
)
_LONGEST = 4000  # digits of a number: Python refuses to read more
_MOST = 100_000  # values in a text, those that aliases repeat counted each time


class TextError(ValueError):
    """Text that is not YAML, or holds something that has no place in it; the message says where."""


class _Loader(yaml.SafeLoader):
    """Composes nodes; which scalar is what is decided afterwards, with the schema at hand."""

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        """The next node. Raises TextError where the text gives it a tag: in the node it looks like a plain one's."""
        event: Any = self.peek_event()
        if getattr(event, "tag", None) is not None:  # an alias has none at all
            allowed = "expected plain text, lists and mappings"
            raise TextError(f"the tag {event.tag!r} is not allowed; {allowed}{_at(event.start_mark)}")
        return super().compose_node(parent, index)


_Loader.yaml_implicit_resolvers = {}  # every plain scalar is text to begin with


def read_text(text: str, schema: Any = None) -> Any:
    """The value that a YAML text stands for.

    Args:
        text: one document; an empty one is None.
        schema: the type that is wanted: a pydantic model, or what annotates one of its fields. None: any.

    Raises:
        TextError: one sentence, with the line and the column.
    """
    try:
        node = yaml.compose(text, _Loader)
    except yaml.MarkedYAMLError as error:
        first = f"{error.context}, " if str(error.problem).startswith("but ") else ""
        raise TextError(f"{first}{error.problem}{_at(error.problem_mark)}") from None
    except yaml.YAMLError as error:
        raise TextError(" ".join(str(error).split())) from None
    except RecursionError:
        raise TextError("lists and mappings are nested too deeply") from None
    except TextError:
        raise
    except (ValueError, OverflowError):  # the parser's own conversions
        raise TextError('the code of a letter, as in "\\U0001F600", or the version in %YAML is out of range') from None
    return None if node is None else _Reader().value(node, schema)


def read_override(text: str, schema: Any) -> Any:
    """The value of an override ``key=text``: text as it stands where the schema wants text, else as in a file."""
    if not _wants_text(schema):
        return read_text(text, schema)
    return None if text in _NOTHING else text


def field_schema(schema: Any, key: str) -> Any:
    """What annotates the part ``key`` of a type: a model's field, a mapping's value, a list's item; None: anything."""
    for kind in _alternatives(schema):
        origin, arguments = get_origin(kind), get_args(kind)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field = kind.model_fields.get(key)
            if field is not None:
                return field.annotation
        elif origin is list and arguments:
            return arguments[0]
        elif origin is dict and len(arguments) == 2:
            return arguments[1]
    return None


class _Reader:
    """From nodes to values."""

    def __init__(self) -> None:
        self._count = 0

    def value(self, node: Node, schema: Any) -> Any:
        """The value of a node."""
        self._count += 1
        if self._count > _MOST:
            raise TextError(f"there are more than {_MOST} values")
        try:
            if isinstance(node, MappingNode):
                return self._mapping(node, schema)
            if isinstance(node, SequenceNode):
                return [self.value(item, field_schema(schema, "0")) for item in node.value]
        except RecursionError:
            raise TextError("lists and mappings are nested too deeply, or hold themselves") from None
        return self._scalar(node, schema)

    def _mapping(self, node: MappingNode, schema: Any) -> dict[str, Any]:
        return {key: self.value(value, field_schema(schema, key)) for key, value in self._entries(node).items()}

    def _entries(self, node: MappingNode) -> dict[str, Node]:
        """The nodes of a mapping by key, its own and those that it merges where it has none of that name."""
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                raise TextError("a key should be a word" + _at(key_node.start_mark))
            key, line = str(key_node.value), key_node.start_mark.line + 1
            if key in lines:
                raise TextError(f"key {key!r} stands twice, in line {lines[key]} and in line {line}")
            lines[key] = line
            if key == "<<" and key_node.style is None:
                for other in self._merged(value_node):
                    merged = self._entries(other) | merged  # the first that has a key gives it
            else:
                own[key] = value_node
        return own | {key: value for key, value in merged.items() if key not in own}

    def _merged(self, node: Node) -> list[MappingNode]:
        """The mappings behind a <<: one, or a list of them."""
        found = node.value if isinstance(node, SequenceNode) else [node]
        self._count += len(found)
        if self._count > _MOST:
            raise TextError(f"there are more than {_MOST} values")
        mappings = [each for each in found if isinstance(each, MappingNode)]
        if len(mappings) < len(found):
            raise TextError("<< merges a mapping, or a list of them" + _at(node.start_mark))
        return mappings

    def _scalar(self, node: Node, schema: Any) -> Any:
        assert isinstance(node, ScalarNode)  # the third kind of node
        text = str(node.value)
        if node.style is not None:  # quoted, or a block
            return text
        if _wants_text(schema):
            return None if text in _NOTHING else text
        if _NULL.fullmatch(text):
            return None
        if _BOOL.fullmatch(text):
            return text.lower() == "true"
        for pattern, convert in _NUMBERS:
            if pattern.fullmatch(text):
                if len(text) > _LONGEST:
                    raise TextError(f"a number of {len(text)} digits is too long" + _at(node.start_mark))
                return convert(text)
        return text


def _alternatives(schema: Any) -> list[Any]:
    """The types of a union, or the one type; what is Annotated is looked into."""
    origin = get_origin(schema)
    if origin is Annotated:
        return _alternatives(get_args(schema)[0])
    if origin in (Union, types.UnionType):
        return [kind for part in get_args(schema) for kind in _alternatives(part)]
    return [schema]


def _wants_text(schema: Any) -> bool:
    """Whether text is all that a type takes, null aside."""
    kinds = [kind for kind in _alternatives(schema) if kind is not type(None)]
    return bool(kinds) and all(kind is str for kind in kinds)


def _at(mark: Any) -> str:
    return "" if mark is None else f" (line {mark.line + 1}, column {mark.column + 1})"

"""Configs as people give them: YAML files, and overrides on the command line."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.names import unknown
from common.paths import CONFIGS, user_path
from runners.config.schema import RunConfig, UsageError
from runners.config.text import TextError, field_schema, read_override, read_text

_LONGEST_INDEX = 100  # digits of a number in a key: Python refuses to read thousands


def find_config(reference: str) -> Path:
    """The file that a name in configs/ or a path means. Raises UserError with the nearest name."""
    given = user_path(reference)
    candidates = [given, CONFIGS / reference, CONFIGS / f"{reference}.yml"]
    for path in candidates:
        if os.path.isfile(path):  # which is false, and no error, of a name that is too long
            return path
    if reference and os.path.isdir(given):
        raise UsageError(f"config {reference} is a folder; expected a YAML file")
    names = sorted(path.name for path in CONFIGS.glob("*.yml"))
    raise UsageError(unknown("config", reference, names))


def read_config(path: Path, schema: type[RunConfig] | None = None) -> dict[str, Any]:
    """A YAML file's mapping, with text where ``schema`` wants text. Raises UsageError where it is no such thing."""
    try:
        content = read_text(path.read_text(encoding="utf-8-sig"), schema)
    except UnicodeDecodeError:
        raise UsageError(f"config {path} is not a text file") from None
    except OSError as error:
        raise UsageError(f"config {path} cannot be read: {error.strerror}") from None
    except TextError as error:
        raise UsageError(f"config {path} is not valid YAML: {error}") from None
    if not isinstance(content, dict):
        found = "empty" if content is None else "a list" if isinstance(content, list) else repr(content)
        raise UsageError(f"config {path} should be a mapping of keys to values; it is {found}")
    return content


def apply_overrides(
    config: dict[str, Any], overrides: Sequence[str], schema: type[RunConfig] | None = None
) -> dict[str, Any]:
    """A config with ``key=value`` applied; a dot steps into a mapping or, with a number, into a list.

    A value is text as it stands where ``schema`` wants text, else YAML. A mapping that is not there is made; whether it
    belongs there is the schema's business. Raises UsageError where an override has no ``=``, no valid value, or steps
    into a list or a plain value in a way that makes no sense.
    """
    result = copy.deepcopy(config)
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key:
            raise UsageError(f"override {override!r} should be key=value, for example batch_size=16")
        path = key.split(".")
        wanted: Any = schema
        for part in path:
            wanted = field_schema(wanted, part)
        try:
            value = read_override(text, wanted)
        except TextError as error:
            raise UsageError(f"override {override!r}: the value is not valid YAML: {error}") from None
        _set(result, path, value, override)
    return result


def anchor_paths(value: Any, folder: Path) -> Any:
    """A config in which the files of a user's own code, {path: ..., name: ...}, are looked for from ``folder`` on."""
    if isinstance(value, list):
        return [anchor_paths(item, folder) for item in value]
    if not isinstance(value, dict):
        return value
    anchored = {key: anchor_paths(item, folder) for key, item in value.items()}
    if "name" in value and isinstance(value.get("path"), str):
        anchored["path"] = str((folder / user_path(value["path"])).resolve())
    return anchored


def _set(config: dict[str, Any], path: Sequence[str], value: Any, override: str) -> None:
    node: Any = config
    for depth, part in enumerate(path):
        last = depth == len(path) - 1
        if isinstance(node, list):
            if not (part.isascii() and part.isdigit()) or len(part) > _LONGEST_INDEX or int(part) >= len(node):
                raise UsageError(
                    f"override {override!r}: {'.'.join(path[:depth])} is a list of {len(node)}; "
                    f"expected a number from 0 to {len(node) - 1}, not {part!r}"
                )
            index: Any = int(part)
        elif isinstance(node, dict):
            index = part
            if not last and node.get(part) is None:
                node[part] = {}
        else:
            raise UsageError(f"override {override!r}: {'.'.join(path[:depth])} is a plain value, nothing to step into")
        if last:
            node[index] = value
        else:
            node = node[index]

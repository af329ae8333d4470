"""Configs: YAML files, overrides, and schemas that answer mistakes with the nearest valid choice."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.errors import UserError
from common.names import unknown
from common.options import explain
from common.paths import CONFIGS

# Keys of the two published code bases, and what took their place.
SUCCESSORS: dict[str, str] = {
    "algo": "solvers (a list of {name: ...})",
    "algorithm": "solvers (a list of {name: ...})",
    "ckpt_path": "checkpoint",
    "sample_batch_size": "batch_size",
    "max_rows": "block_size (an option of the solver gs_jacobi, in equations)",
    "block_size": "block_size inside an entry of solvers",
    "n_iters": "max_steps",
    "num_iters": "max_steps",
    "image_folder": "the flag --out",
    "doc": "the flag --out",
    "run": "the flag --out",
}


class UsageError(UserError):
    """The command line or the config asks for something that cannot be had (exit code 2)."""


class RunConfig(BaseModel):
    """What every config has."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1234


class DataConfig(BaseModel):
    """Which dataset, and where its files are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = "mnist5k"
    root: str | None = None
    download: bool = False


C = TypeVar("C", bound=RunConfig)


class _Loader(yaml.SafeLoader):
    """YAML, with numbers like 1e-6: YAML 1.1, which PyYAML reads, takes them for text."""


_EXPONENT = re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+0123456789"))


def find_config(reference: str) -> Path:
    """The file that a name in configs/ or a path means. Raises UsageError with the nearest name."""
    candidates = [Path(reference), CONFIGS / reference, CONFIGS / f"{reference}.yml"]
    for path in candidates:
        if path.is_file():
            return path
    if reference and Path(reference).is_dir():
        raise UsageError(f"config {reference} is a folder; expected a YAML file")
    names = sorted(path.name for path in CONFIGS.glob("*.yml"))
    raise UsageError(unknown("config", reference, names))


def read_config(path: Path) -> dict[str, Any]:
    """A YAML file's mapping. Raises UsageError where it is no such thing."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except UnicodeDecodeError:
        raise UsageError(f"config {path} is not a text file") from None
    except OSError as error:
        raise UsageError(f"config {path} cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise UsageError(f"config {path} is not valid YAML: {_yaml_problem(error)}") from None
    if not isinstance(content, dict):
        found = "empty" if content is None else "a list" if isinstance(content, list) else repr(content)
        raise UsageError(f"config {path} should be a mapping of keys to values; it is {found}")
    return {str(key): value for key, value in content.items()}


def _yaml_problem(error: yaml.YAMLError) -> str:
    """What is wrong, and where."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return str(error)
    mark = error.problem_mark
    return f"{error.problem} (line {mark.line + 1}, column {mark.column + 1})"


def apply_overrides(config: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A config with ``key=value`` applied; a dot steps into a mapping or, with a number, into a list.

    A mapping that is not there is made; whether it belongs there is the schema's business. Raises UsageError where an
    override has no ``=``, no valid value, or steps into a list or a plain value in a way that makes no sense.
    """
    result = copy.deepcopy(config)
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key:
            raise UsageError(f"override {override!r} should be key=value, for example batch_size=16")
        try:
            value = yaml.load(text, _Loader)
        except yaml.YAMLError:
            raise UsageError(f"override {override!r}: the value is not valid YAML") from None
        _set(result, key.split("."), value, override)
    return result


def _set(config: dict[str, Any], path: Sequence[str], value: Any, override: str) -> None:
    node: Any = config
    for depth, part in enumerate(path):
        last = depth == len(path) - 1
        if isinstance(node, list):
            if not part.isdigit() or int(part) >= len(node):
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


def check_config(schema: type[C], config: Mapping[str, Any], source: str) -> C:
    """Build the schema's instance. Raises UsageError: one sentence, with the valid keys, near misses first."""
    try:
        return schema.model_validate(dict(config))
    except ValidationError as error:
        raise UsageError(f"{source}: {_explain(schema, error)}") from None


def _explain(schema: type[BaseModel], error: ValidationError) -> str:
    problems = error.errors()
    extra = [problem for problem in problems if problem["type"] == "extra_forbidden"]
    if not extra:
        return explain(error)
    location = [str(part) for part in extra[0]["loc"]]
    key, fields = location[-1], _fields_at(schema, location[:-1])
    if key in SUCCESSORS:
        return f"config key {'.'.join(location)!r} belongs to an older code base; its successor is {SUCCESSORS[key]}"
    inside = f" in {'.'.join(location[:-1])}" if location[:-1] else ""
    return unknown(f"config key{inside}", key, fields)


def _fields_at(schema: type[BaseModel], location: Sequence[str]) -> list[str]:
    current = schema
    for part in location:
        field = current.model_fields.get(part)
        if field is None:
            continue  # an index into a list
        kinds = [field.annotation, *get_args(field.annotation)]
        nested = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        current = nested[0] if nested else current
    return list(current.model_fields)

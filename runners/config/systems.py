"""A system by name, or from a user's own file and then held against what solvers need of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

from common.code import load_object
from common.names import lacks
from common.options import arguments_for, build_options
from models import PROBLEMS
from runners.config.schema import UsageError
from solvers import TriangularSystem


def problem(options: Mapping[str, Any]) -> Any:
    """The system of PROBLEMS that ``name`` means, with the other options. Raises ValueError, a sentence."""
    if options.get("name") is None:
        raise ValueError(
            f"name is missing; expected one of {', '.join(PROBLEMS)} and its options, or of a file of your own "
            "{path: my_system.py, name: make_system, ...options}"
        )
    kind = PROBLEMS[options["name"]]
    try:
        return build_options(kind, {key: value for key, value in options.items() if key not in ("path", "name")})
    except ValueError as error:
        raise ValueError(f"{options['name']}: {error}") from None


def with_defaults(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a system, every one filled in where it is one of PROBLEMS. Raises as ``problem`` does."""
    if options.get("path") is not None:
        return dict(options)
    return {"name": options.get("name"), **dataclasses.asdict(problem(options))}


def make_system(options: Mapping[str, Any], seed: int) -> Any:
    """The system of PROBLEMS that is meant, or what ``name`` in the file ``path`` makes.

    That is made of the other options, and of ``seed`` where it takes one.

    Raises:
        UserError: there is no such function or class, it takes other options, or what it makes is no system.
    """
    if options.get("path") is None:
        return problem(options).system(seed)
    if options.get("name") is None:
        raise UsageError("system: name is missing; expected {path: my_system.py, name: make_system, ...options}")
    source = f"system: {options['name']}"
    given = {key: value for key, value in options.items() if key not in ("path", "name")}
    make = load_object(options["path"], options["name"])
    try:
        arguments = arguments_for(make, given, source, seed=seed)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return usable_system(make(**arguments), source)


def usable_system(system: Any, source: str) -> Any:
    """The system, of which a sweep can be traced. Raises UsageError, its sentence after ``source``, where none can."""
    name, has = type(system).__name__, set(dir(system))
    missing = {"num_equations", "initial_guess", "sweep"} - has
    if not isinstance(system, TriangularSystem):
        raise UsageError(f"{source}: {name} is not a TriangularSystem: {lacks(missing, has)}")
    if any(leaf is system for leaf in jax.tree.leaves(system)):
        raise UsageError(
            f"{source}: {name} is not a pytree; put @jax.tree_util.register_dataclass above its @dataclass"
        )
    guess = system.initial_guess()
    wanted, found = (jax.tree.map(_layout, tree) for tree in (guess, jax.eval_shape(lambda s: s.sweep(guess), system)))
    if wanted != found:
        raise UsageError(f"{source}: sweep should give what it is given, {wanted}, not {found}")
    return system


def _layout(leaf: Any) -> str:
    return f"{leaf.dtype}{list(leaf.shape)}"

"""Floating-point operations of a program, from its equations as JAX traces them.

The compiler's own count has one round of every loop. Here the rounds of a loop are multiplied where they are known.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

# What computes one number of each number of its result.
_EACH = re.compile(
    "add|sub|mul|div|rem|max|min|neg|abs|sign|floor|ceil|round|pow|integer_pow|sqrt|rsqrt|square|exp|exp2|expm1|log|log1p"
    "|tanh|logistic|sin|cos|tan|erf|erf_inv|erfc|cumsum|cumprod|cumlogsumexp|cummax|add_any"
)
# What computes one number of each number that it is given.
_ALL = re.compile("reduce_(sum|max|min|prod)|argmax|argmin")


@dataclass(frozen=True)
class Operations:
    """How many a program does."""

    flops: float
    whole: bool  # False: a loop whose length is unknown is in it, of which one round is counted

    @classmethod
    def of_all(cls, parts: Iterable[Operations]) -> Operations:
        """Those of several programs, one after the other."""
        each = list(parts)
        return cls(sum(one.flops for one in each), all(one.whole for one in each))


def operations_of_a_step(function: Callable[..., Any], *arguments: Any) -> Operations:
    """Those of one round of the first loop of unknown length that a function of arrays has: of a solve, one step."""
    traced = jax.make_jaxpr(function)(*arguments)
    return operations(next(_loops(traced.jaxpr)))


def operations(program: Jaxpr) -> Operations:
    """Products and convolutions, two for each pair of numbers; one for each number of other arithmetic of floats.

    Factorizations and sorting are left out. Of branches those of the longest are counted.
    """
    return Operations.of_all(map(_operations, program.eqns))


def _operations(equation: JaxprEqn) -> Operations:
    name, parts = equation.primitive.name, list(_parts(equation))
    if name == "scan":
        body = operations(parts[0])
        return Operations(body.flops * equation.params["length"], body.whole)
    if name == "while":
        return Operations(operations(equation.params["body_jaxpr"].jaxpr).flops, whole=False)
    if name == "cond":
        each = [operations(part) for part in parts]
        return Operations(max(one.flops for one in each), all(one.whole for one in each))
    return Operations.of_all(map(operations, parts)) if parts else Operations(_arithmetic(equation), whole=True)


def _arithmetic(equation: JaxprEqn) -> float:
    """The operations of an equation that has no programs inside."""
    name, read, made = equation.primitive.name, [_array(each) for each in equation.invars], _array(equation.outvars[0])
    if name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        return 2.0 * made.size * math.prod(read[0].shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        features = read[1].shape[equation.params["dimension_numbers"].rhs_spec[0]]
        return 2.0 * made.size * read[1].size / features
    if _EACH.fullmatch(name):
        return _floats(made)
    return _floats(read[0]) if _ALL.fullmatch(name) else 0.0


def _array(value: Any) -> Any:
    """The shape and the type of an equation's operand or result."""
    return value.aval


def _floats(array: Any) -> float:
    """How many floating-point numbers an array has."""
    return float(array.size) if jnp.issubdtype(array.dtype, jnp.inexact) else 0.0


def _loops(program: Jaxpr) -> Iterator[Jaxpr]:
    """The bodies of the loops of unknown length, in the order of the program."""
    for equation in program.eqns:
        if equation.primitive.name == "while":
            yield equation.params["body_jaxpr"].jaxpr
        for part in _parts(equation):
            yield from _loops(part)


def _parts(equation: JaxprEqn) -> Iterator[Jaxpr]:
    """The programs inside an equation: of a call, a loop, or branches."""
    for value in equation.params.values():
        for each in value if isinstance(value, tuple | list) else (value,):
            if isinstance(each, ClosedJaxpr):
                yield each.jaxpr
            elif isinstance(each, Jaxpr):
                yield each

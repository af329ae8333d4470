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

# Primitives that compute one number for each number of their result.
_PER_RESULT = re.compile(
    "add|sub|mul|div|rem|max|min|neg|abs|sign|floor|ceil|round|pow|integer_pow|sqrt|rsqrt|square|exp|exp2|expm1|log|log1p"
    "|tanh|logistic|sin|cos|tan|erf|erf_inv|erfc|cumsum|cumprod|cumlogsumexp|cummax|add_any"
)
# Primitives that compute one number for each number of their operand.
_PER_OPERAND = re.compile("reduce_(sum|max|min|prod)|argmax|argmin")
# Primitives whose programs stay apart in the compiled program; a program that any other calls is copied into it.
_CONTROL_FLOW = ("while", "scan", "cond")


@dataclass(frozen=True)
class Operations:
    """The floating-point operations of a program."""

    flops: float
    whole: bool  # False: a loop whose length is unknown is in it, of which one round is counted

    @classmethod
    def of_all(cls, parts: Iterable[Operations]) -> Operations:
        """The sum over several programs that run one after the other."""
        each = list(parts)
        return cls(sum(one.flops for one in each), all(one.whole for one in each))


def operations_of_a_step(function: Callable[..., Any], *arguments: Any) -> Operations:
    """The operations of one round of the first loop of unknown length in a function of arrays: of a solve, one step.

    Loops outside of other loops and of branches come first, as the compiled program's step is looked for there alone
    (``step_of`` in benchmarks/gpu_programs.py).
    """
    traced = jax.make_jaxpr(function)(*arguments)
    return operations(next(_loops(traced.jaxpr)))


def operations(program: Jaxpr) -> Operations:
    """Count the operations of a program: two for each pair of numbers that a product or a convolution multiplies.

    Other arithmetic counts one for each number. Factorizations, triangular solves and sorting are left out. Of
    branches the one with the most operations is counted.
    """
    return Operations.of_all(map(_operations, program.eqns))


def _operations(equation: JaxprEqn) -> Operations:
    name, parts = equation.primitive.name, list(_parts(equation))
    if name == "while":
        return Operations(operations(equation.params["body_jaxpr"].jaxpr).flops, whole=False)
    if name == "cond":
        each = [operations(part) for part in parts]
        return Operations(max(one.flops for one in each), all(one.whole for one in each))
    if parts:
        inside = Operations.of_all(map(operations, parts))
        return Operations(inside.flops * _repeats(equation), inside.whole)
    return Operations(_arithmetic(equation), whole=True)


def _repeats(equation: JaxprEqn) -> int:
    """How often the programs inside an equation run: a scatter or a reduction runs them for each of its numbers."""
    name = equation.primitive.name
    if name == "scan":
        return int(equation.params["length"])
    if name.startswith("scatter"):
        _, _, updates = equation.invars
        return int(_array(updates).size)
    return int(_array(equation.invars[0]).size) if name == "reduce" else 1


def _arithmetic(equation: JaxprEqn) -> float:
    """The operations of an equation that has no programs inside."""
    name, read, made = equation.primitive.name, [_array(each) for each in equation.invars], _array(equation.outvars[0])
    if name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        return 2.0 * made.size * math.prod(read[0].shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        features = read[1].shape[equation.params["dimension_numbers"].rhs_spec[0]]
        inserted = math.prod(
            equation.params["lhs_dilation"]
        )  # one in so many of the numbers that a tap meets is no inserted zero
        return 2.0 * made.size * read[1].size / features / inserted
    if _PER_RESULT.fullmatch(name):
        return _floats(made)
    return _floats(read[0]) if _PER_OPERAND.fullmatch(name) else 0.0


def _array(value: Any) -> Any:
    """The shape and the type of an equation's operand or result."""
    return value.aval


def _floats(array: Any) -> float:
    """How many floating-point numbers an array has."""
    return float(array.size) if jnp.issubdtype(array.dtype, jnp.inexact) else 0.0


def _loops(program: Jaxpr) -> Iterator[Jaxpr]:
    """The bodies of the loops of unknown length: first those outside of other loops and branches, then the rest."""
    inside: list[Jaxpr] = []
    for equation in _called(program):
        if equation.primitive.name == "while":
            yield equation.params["body_jaxpr"].jaxpr
        if equation.primitive.name in _CONTROL_FLOW:
            inside += _parts(equation)
    for part in inside:
        yield from _loops(part)


def _called(program: Jaxpr) -> Iterator[JaxprEqn]:
    """The equations of a program and of the programs that it calls, in their order."""
    for equation in program.eqns:
        yield equation
        if equation.primitive.name not in _CONTROL_FLOW:
            for part in _parts(equation):
                yield from _called(part)


def _parts(equation: JaxprEqn) -> Iterator[Jaxpr]:
    """The programs inside an equation: of a call, a loop, or branches."""
    for value in equation.params.values():
        for each in value if isinstance(value, tuple | list) else (value,):
            if isinstance(each, ClosedJaxpr):
                yield each.jaxpr
            elif isinstance(each, Jaxpr):
                yield each

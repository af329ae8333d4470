"""Reading what tracing and the compiler made of a program."""

import re

from jax.extend.core import jaxprs_in_params


def all_jaxprs(jaxpr):
    """A traced program, and the functions, loops and branches in it, each as often as it is called."""
    yield jaxpr
    for equation in jaxpr.eqns:
        for inside in jaxprs_in_params(equation.params):
            yield from all_jaxprs(inside)


def while_bodies(text):
    """The computations that loops repeat, by name, with the lines of each."""
    computations, name = {}, None
    for line in text.splitlines():
        head = re.match(r"^(?:ENTRY )?%?([\w.\-]+) .*\{$", line)
        if head and not line.startswith(" "):
            name = head.group(1)
            computations[name] = []
        elif name:
            computations[name].append(line)
    loops = re.findall(r"body=%?([\w.\-]+)", text)
    return {loop: computations[loop] for loop in loops}


def kernels_of(text):
    """The distinct texts of the fused computations of a program that was compiled for a CPU.

    Names and metadata are left out, so those that differ in nothing else count once; those that differ only in the
    computations that they call, such as two reductions, do too.
    """
    bodies = re.findall(
        r"^%(?:fused_computation|wrapped_[\w\-]+)[\w.\-]* \(.*?\) -> .*? \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL
    )
    return {_without_names(re.sub(r", metadata=\{.*?\}", "", body)) for body in bodies}


def _without_names(body):
    numbers = {}
    return re.sub(r"%[\w.\-]+", lambda name: numbers.setdefault(name.group(), str(len(numbers))), body)

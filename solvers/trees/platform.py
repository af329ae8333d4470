"""Which form of a computation suits the kind of device that a program is made for.

On a CPU the work is the cost, on an accelerator the steps that follow one another and the kernels that each starts.
Where one form serves one of them badly there are two, of the same definition, and this module alone tells which.
"""

from __future__ import annotations

import jax
from jax.extend.backend import backends


def on_cpu() -> bool:
    """Whether programs are made for CPUs, as they are where JAX computes on one by default.

    It is asked while a function is traced: a program that is compiled already keeps the form that it has. Where arrays
    will be is not known then: those that were put on another device than the default one do not change the answer,
    ``jax.default_device`` does. Their programs take the form for the default device. An accelerator that runs the CPU's
    form is right but slow; a CPU that runs an accelerator's form is right up to rounding, but passes of the same shape
    may differ there in their last bits from one program to another (see ``isolated`` in equations.py). A solve is
    continued under the default device under which it began, as some states are laid out by it.
    """
    device = jax.config.jax_default_device  # type: ignore[attr-defined]
    platform = jax.default_backend() if device is None else getattr(device, "platform", device)
    return bool(platform == "cpu")


def has_accelerator() -> bool:
    """Whether JAX has any device beside CPUs, whichever it computes on by default."""
    return bool({jax.default_backend(), *backends()} - {"cpu"})

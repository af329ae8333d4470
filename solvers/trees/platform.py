"""Which form of a computation suits the kind of device that a program is made for.

On a CPU the work is the cost, on an accelerator the steps that follow one another and the kernels that each starts.
Where one form serves one of them badly there are two, of the same definition, and this module alone tells which.
"""

from __future__ import annotations

import jax


def on_cpu() -> bool:
    """Whether programs are made for CPUs, as they are where JAX computes on one by default.

    It is asked while a function is traced: a program that is compiled already keeps the form that it has. Where JAX has
    an accelerator, arrays that were put on the CPU one by one do not change the answer; ``jax.default_device`` does.
    """
    device = jax.config.jax_default_device  # type: ignore[attr-defined]
    platform = jax.default_backend() if device is None else getattr(device, "platform", device)
    return bool(platform == "cpu")

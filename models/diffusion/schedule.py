"""Noise schedules and the steps of samplers: every step is known but for what the network says.

A noisy image is x = alpha y + sigma e, of an image y and standard normal noise e, alpha^2 + sigma^2 = 1; so a schedule
is an angle: alpha = cos, sigma = sin. The network tells the velocity v = alpha e - sigma y, of which follow the image,
y = alpha x - sigma v, and the noise, e = sigma x + alpha v (Salimans and Ho, "Progressive distillation for fast
sampling of diffusion models", 2022, arXiv 2202.00512).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from common.table import Table

LAST = 0.999  # the time of pure noise, at which an image would be a thousandth of it: log(alpha / sigma) is finite
_BETAS = (0.1, 20.0)  # of the linear schedule, as published for 1,000 steps

Angles = Callable[[Float[Array, "..."]], Float[Array, "..."]]


def cosine(t: Float[Array, "..."]) -> Float[Array, "..."]:
    """The angle grows evenly, from 0 at time 0 to pi / 2 at time 1 (Nichol and Dhariwal, 2021, arXiv 2102.09672)."""
    return 0.5 * math.pi * t


def linear(t: Float[Array, "..."]) -> Float[Array, "..."]:
    """Variance is added at a rate that grows evenly (Ho et al., 2020, arXiv 2006.11239)."""
    least, most = _BETAS
    log_alpha = -0.5 * (least * t + 0.5 * (most - least) * t * t)
    return jnp.arctan2(jnp.sqrt(-jnp.expm1(2.0 * log_alpha)), jnp.exp(log_alpha))


SCHEDULES: Table[Angles] = Table(
    "schedule", {"cosine": "models.diffusion.schedule:cosine", "linear": "models.diffusion.schedule:linear"}
)


class Steps(NamedTuple):
    """x_t = on_x x_{t-1} + on_v v(x_{t-1}) + on_before y_{t-2} + on_noise z_t, with numbers for each step.

    y_{t-2} is the image that the network saw in x_{t-2}, which samplers of order two remember; z_t is noise.
    """

    time: Float[Array, " T"]  # of x_{t-1}
    angle: Float[Array, " T"]  # of x_{t-1}
    on_x: Float[Array, " T"]
    on_v: Float[Array, " T"]
    on_before: Float[Array, " T"]
    on_noise: Float[Array, " T"]

    def slopes(self, variance: float) -> Float[Array, " T"]:
        """The slope d x_t / d x_{t-1}, were the numbers of images normal, independent, and of that variance.

        Of variance 1 the velocity would not depend on x, and the slope is ``on_x``.
        """
        alpha, sigma = jnp.cos(self.angle), jnp.sin(self.angle)
        of_velocity = alpha * sigma * (1.0 - variance) / (alpha**2 * variance + sigma**2)
        return self.on_x + self.on_v * of_velocity


def _angles(schedule: str, num_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Times from that of pure noise to 0, evenly, and their angles, T + 1 numbers each."""
    times = LAST * (1.0 - np.arange(num_steps + 1) / num_steps)
    with jax.ensure_compile_time_eval():  # they are numbers and no part of a program
        return times, np.asarray(SCHEDULES[schedule](jnp.asarray(times, jnp.float32)), np.float64)


def _steps(time: np.ndarray, angle: np.ndarray, **numbers: np.ndarray) -> Steps:
    zeros = np.zeros(len(time))
    every = {"on_before": zeros, "on_noise": zeros, **numbers}
    return Steps(*(jnp.asarray(a, jnp.float32) for a in (time, angle, *(every[name] for name in Steps._fields[2:]))))


def ddim(schedule: str, num_steps: int, *, invert: bool = False) -> Steps:
    """DDIM: x <- alpha' y + sigma' e, a turn by the difference of the angles (Song et al., 2021, arXiv 2010.02502).

    With ``invert`` the same from an image to its noise: times grow.
    """
    times, angles = _angles(schedule, num_steps)
    if invert:
        times, angles = times[::-1], angles[::-1]
    turn = angles[:-1] - angles[1:]
    return _steps(times[:-1], angles[:-1], on_x=np.cos(turn), on_v=-np.sin(turn))


def ddpm(schedule: str, num_steps: int) -> Steps:
    """DDPM: x <- alpha' y + sqrt(sigma'^2 - s^2) e + s z, ancestral (Ho et al., 2020, arXiv 2006.11239).

    s^2 = sigma'^2 / sigma^2 (1 - alpha^2 / alpha'^2) is the variance of x' given x and y.
    """
    times, angles = _angles(schedule, num_steps)
    alpha, sigma = np.cos(angles), np.sin(angles)
    fresh = sigma[1:] / sigma[:-1] * np.sqrt(np.maximum(0.0, 1.0 - (alpha[:-1] / alpha[1:]) ** 2))
    left = np.sqrt(np.maximum(0.0, sigma[1:] ** 2 - fresh**2))
    return _steps(
        times[:-1],
        angles[:-1],
        on_x=alpha[1:] * alpha[:-1] + left * sigma[:-1],
        on_v=left * alpha[:-1] - alpha[1:] * sigma[:-1],
        on_noise=fresh,
    )


def dpm_solver(schedule: str, num_steps: int) -> Steps:
    """DPM-Solver++(2M): x <- sigma'/sigma x + alpha' (1 - e^-h) ((1 + q) y - q y_before), q = h / (2 h_before).

    h is the growth of log(alpha / sigma) in a step (Lu et al., 2022, arXiv 2211.01095). The first step and the last are
    of order one.
    """
    times, angles = _angles(schedule, num_steps)
    alpha, sigma = np.cos(angles), np.sin(angles)
    with np.errstate(divide="ignore"):
        growth = np.diff(np.log(alpha) - np.log(np.where(sigma > 1e-12, sigma, 0.0)))
    ratio = np.zeros(num_steps)
    ratio[1:-1] = 0.5 * growth[1:-1] / growth[:-2]
    pull = alpha[1:] * -np.expm1(-growth)
    keep = sigma[1:] / sigma[:-1]
    return _steps(
        times[:-1],
        angles[:-1],
        on_x=keep + pull * (1.0 + ratio) * alpha[:-1],
        on_v=-pull * (1.0 + ratio) * sigma[:-1],
        on_before=-pull * ratio,
    )

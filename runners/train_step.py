"""Optimisation steps, compiled: the state after a step is a pure function of (seed, step).

Noise comes from keys folded with the step, the order of the images from keys folded with the epoch, so that it makes no
difference where a run is cut into calls or interrupted and resumed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax  # type: ignore[import-untyped]
from flax import nnx
from jax import lax
from jaxtyping import Array, Bool, Float, Int, UInt8

from models import model_class, model_config
from runners.config import UsageError
from runners.held_out import held_out_bits_per_dim
from runners.train_config import TrainConfig


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """Everything that a step changes."""

    params: Any  # what the optimiser moves
    ema: Any  # its moving average, which is evaluated and kept
    opt_state: Any
    step: Int[Array, ""]  # steps done
    loss_sum: Float[Array, ""]  # of this epoch's steps so far, bits/dim
    finite: Bool[Array, ""]  # False: step ``step`` gave a loss or gradient that is not, and nothing here is of use


class Trainer:
    """A model under training.

    The model needs ``bits_per_dim(images, key)``, which in training mode (``model.train()``) draws dropout and the like
    from its key. Its ``nnx.Param`` variables are trained; all others (masks) stay as they are.
    """

    def __init__(self, config: TrainConfig, num_images: int) -> None:
        """``num_images``: size of the training part. Raises UsageError where batches or schedule do not fit it."""
        self.config = config
        self.steps_per_epoch = num_images // config.batch_size
        self.epochs = min(config.epochs, config.stop_after or config.epochs)
        self.num_steps = self.steps_per_epoch * self.epochs
        if self.steps_per_epoch == 0:
            raise UsageError(f"batch_size {config.batch_size} is more than the {num_images} training images")
        if config.warmup_steps >= self.num_steps:
            raise UsageError(f"warmup_steps {config.warmup_steps} is not less than the {self.num_steps} steps in all")
        architecture = config.model
        model = model_class(architecture["name"])(model_config(architecture), rngs=nnx.Rngs(config.seed))
        model.train()
        self._train_def = nnx.graphdef(model)
        model.eval()
        self._eval_def = nnx.graphdef(model)
        self._first_params, self._fixed = nnx.state(model, nnx.Param, ...)
        self._optimizer = _optimizer(config, self.steps_per_epoch * config.epochs)
        keys = jax.random.split(jax.random.key(config.seed), 4)
        self._noise_key, self._order_key, self._eval_key, self.sample_key = keys
        self._advance = jax.jit(self._step)
        self._order = jax.jit(self._epoch_order, static_argnums=1)
        self._evaluate = jax.jit(self._mean_bits)

    def start(self) -> TrainState:
        """The state before the first step."""
        return TrainState(
            params=self._first_params,
            ema=self._first_params,
            opt_state=self._optimizer.init(self._first_params),
            step=jnp.int32(0),
            loss_sum=jnp.float32(0.0),
            finite=jnp.bool_(True),
        )

    def advance(self, state: TrainState, images: UInt8[Array, "N H W C"], until: int) -> TrainState:
        """Take steps until ``until`` are done, which must lie in the epoch of the next step, or one is not finite."""
        # A loop of calls and not a compiled one: in the latter, on a CPU, the gradients of convolutions take nine times
        # as long.
        step = int(state.step)
        order = self._order(step // self.steps_per_epoch, images.shape[0])
        while step < until and state.finite:
            state = self._advance(state, self._fixed, images, order)
            step += 1
        return state

    def evaluate(self, params: Any, images: UInt8[Array, "M H W C"]) -> float:
        """Bits/dim of images, with the same noise every time."""
        return float(self._evaluate(params, self._fixed, images))

    def model(self, params: Any) -> Any:
        """The module with these parameters, in evaluation mode."""
        return nnx.merge(self._eval_def, params, self._fixed)

    def _epoch_order(self, epoch: Int[Array, ""], num_images: int) -> Int[Array, " N"]:
        return jax.random.permutation(jax.random.fold_in(self._order_key, epoch), num_images)

    def _step(
        self, state: TrainState, fixed: Any, images: UInt8[Array, "N H W C"], order: Int[Array, " N"]
    ) -> TrainState:
        place, size = state.step % self.steps_per_epoch, self.config.batch_size
        shift_key, model_key = jax.random.split(jax.random.fold_in(self._noise_key, state.step))
        batch = images[lax.dynamic_slice_in_dim(order, place * size, size)]
        batch = shifted(batch, shift_key, self.config.max_shift)

        def mean_bits(params: Any) -> Float[Array, ""]:
            return jnp.mean(nnx.merge(self._train_def, params, fixed).bits_per_dim(batch, model_key))

        loss, gradient = jax.value_and_grad(mean_bits)(state.params)
        updates, opt_state = self._optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        finite = jnp.isfinite(loss) & jnp.isfinite(optax.tree.norm(gradient))
        # Early on the average is over few steps, or the random first weights would stay in it for long.
        decay = jnp.minimum(self.config.ema_decay, (1.0 + state.step) / (10.0 + state.step))
        return TrainState(
            params=params,
            ema=jax.tree.map(lambda old, new: decay * old + (1.0 - decay) * new, state.ema, params),
            opt_state=opt_state,
            step=state.step + finite,
            loss_sum=jnp.where(place == 0, loss, state.loss_sum + loss),
            finite=finite,
        )

    def _mean_bits(self, params: Any, fixed: Any, images: UInt8[Array, "M H W C"]) -> Float[Array, ""]:
        model = nnx.merge(self._eval_def, params, fixed)
        config = self.config
        return held_out_bits_per_dim(
            model, images, self._eval_key, draws=config.eval_draws, batch_size=config.batch_size
        )


def shifted(images: UInt8[Array, "B H W C"], key: Array, most: int) -> UInt8[Array, "B H W C"]:
    """Each image moved by up to ``most`` pixels down or up and right or left, zeros coming in."""
    if most == 0:
        return images
    padded = jnp.pad(images, ((0, 0), (most, most), (most, most), (0, 0)))
    corners = jax.random.randint(key, (images.shape[0], 2), 0, 2 * most + 1)
    return jax.vmap(lambda image, corner: lax.dynamic_slice(image, (*corner, 0), images.shape[1:]))(padded, corners)


def _optimizer(config: TrainConfig, num_steps: int) -> optax.GradientTransformation:
    """AdamW, with the schedule and the clipping that the config asks for."""
    top, warmup = config.learning_rate, config.warmup_steps
    if config.lr_schedule == "cosine":
        after = optax.cosine_decay_schedule(top, num_steps - warmup)
    else:
        after = optax.constant_schedule(top)
    rate = optax.join_schedules([optax.linear_schedule(0.0, top, max(1, warmup)), after], [warmup])
    adam = optax.adamw(rate, weight_decay=config.weight_decay, mask=_is_matrix)
    return adam if config.grad_clip is None else optax.chain(optax.clip_by_global_norm(config.grad_clip), adam)


def _is_matrix(params: Any) -> Any:
    """True for what weight decay is for."""
    return jax.tree.map(lambda a: a.ndim > 1, params)

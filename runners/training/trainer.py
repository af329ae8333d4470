"""Optimization steps, compiled: the state after a step is a pure function of (seed, step).

Noise comes from keys folded with the step, the order of the examples from keys folded with the epoch, so that it makes
no difference where a run is cut into calls or interrupted and resumed.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax  # type: ignore[import-untyped]
from flax import nnx
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from runners.config.schema import UsageError
from runners.experiment import RunFailure
from runners.measure.devices import Devices, on_one_device
from runners.training.config import TrainConfig
from runners.training.task import ModelOutput, TrainTask


class Weights(NamedTuple):
    """The variables of a model that training changes."""

    params: Any
    statistics: Any  # running ones of its batch norms; of most models there are none


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """Everything that a step changes."""

    params: Any  # what the optimizer moves
    ema: Any  # its moving average, which is evaluated and kept
    statistics: Any  # running statistics, which the model moves itself: averages already
    opt_state: Any
    carry: Any  # what the task's next step of the epoch reads
    step: Int[Array, ""]  # steps done
    loss_sum: Float[Array, ""]  # of this epoch's steps so far
    finite: Bool[Array, ""]  # False: step ``step`` gave a loss or gradient that is not, and nothing here is of use

    @property
    def weights(self) -> Weights:
        """The weights as the last step left them."""
        return Weights(self.params, self.statistics)

    @property
    def averaged(self) -> Weights:
        """The averaged weights, which are evaluated and kept."""
        return Weights(self.ema, self.statistics)


class Trainer:
    """A model under training by a task.

    The model's ``nnx.Param`` variables are trained, its ``nnx.BatchStat`` variables follow; all others (masks) stay as
    they are.
    """

    def __init__(self, config: TrainConfig, model: Any, task: TrainTask) -> None:
        """``model``: with its first weights. Raises UsageError where the schedule does not fit the task."""
        self.config, self.task = config, task
        self.steps_per_epoch = task.num_examples // task.batch_size
        self.epochs = min(config.epochs, config.stop_after or config.epochs)
        self.num_steps = self.steps_per_epoch * self.epochs
        if config.warmup_steps >= self.num_steps:
            raise UsageError(f"warmup_steps {config.warmup_steps} is not less than the {self.num_steps} steps in all")
        model.train()
        self._train_def = nnx.graphdef(model)
        model.eval()
        self._eval_def = nnx.graphdef(model)
        *first, self._fixed = nnx.state(model, nnx.Param, nnx.BatchStat, ...)
        self._first = Weights(*first)
        self._optimizer = _optimizer(config, self.steps_per_epoch * config.epochs)
        keys = jax.random.split(jax.random.key(config.seed), 4)
        self._noise_key, self._order_key, self._eval_key, self._output_key = keys
        self.devices = Devices.for_batch(config.mesh, task.batch_size)
        self._advance = self.devices.replicating(self._step)
        self._examples, self._everywhere = self.devices.whole((task.train, self._fixed))
        self._order = jax.jit(lambda epoch: task.order(jax.random.fold_in(self._order_key, epoch)))
        self._begin_epoch = jax.jit(lambda model: task.begin_epoch(model))

    def start(self) -> TrainState:
        """The state before the first step."""
        first = TrainState(
            params=self._first.params,
            ema=self._first.params,
            statistics=self._first.statistics,
            opt_state=self._optimizer.init(self._first.params),
            carry=self._begin_epoch(self.model(self._first)),
            step=jnp.int32(0),
            loss_sum=jnp.float32(0.0),
            finite=jnp.bool_(True),
        )
        return self.placed(first)

    def placed(self, state: TrainState) -> TrainState:
        """A state with all of it on every device that takes part."""
        return cast(TrainState, self.devices.whole(state))

    def advance(self, state: TrainState, until: int) -> TrainState:
        """Take steps until ``until`` are done, which must lie in the epoch of the next step, or one is not finite."""
        # A loop of calls and not a compiled one: in the latter, on a CPU, the gradients of convolutions take nine times
        # as long.
        step = int(state.step)
        order = self.devices.whole(self._order(step // self.steps_per_epoch))
        if step % self.steps_per_epoch == 0:
            carry = self._begin_epoch(self.model(state.weights))
            state = dataclasses.replace(state, carry=self.devices.whole(carry))
        while step < until and state.finite:
            state = self._advance(state, self._everywhere, self._examples, order)
            step += 1
        return state

    def evaluate(self, weights: Weights, when: str) -> dict[str, float]:
        """The task's metrics, with the same noise every time.

        Raises RunFailure where one is not finite; ``when`` ends its sentence.
        """
        values = self.task.evaluate(self.model(weights), self._eval_key)
        for metric in self.task.metrics:
            if not math.isfinite(values[metric.key]):
                raise RunFailure(f"the {self.task.evaluated.words} {metric.label} is not finite {when}")
        return values

    def output(self, weights: Weights, suffix: str = "") -> ModelOutput:
        """Something that the model makes, with the same noise every time. Raises RunFailure where it cannot be had."""
        return self.task.output(self.model(weights), self._output_key, suffix)

    def model(self, weights: Weights) -> Any:
        """The module with these weights, in evaluation mode, on one device."""
        return nnx.merge(self._eval_def, *on_one_device(weights), self._fixed)

    def _step(self, state: TrainState, fixed: Any, examples: Any, order: Int[Array, " N"]) -> TrainState:
        place, size = state.step % self.steps_per_epoch, self.task.batch_size
        augment_key, loss_key = jax.random.split(jax.random.fold_in(self._noise_key, state.step))
        rows = lax.dynamic_slice_in_dim(order, place * size, size)
        batch = self.devices.by_sample(jax.tree.map(lambda a: a[rows], examples))
        batch = self.task.augmented(batch, augment_key)

        def mean_loss(params: Any) -> tuple[Float[Array, ""], tuple[Any, Any]]:
            model = nnx.merge(self._train_def, params, state.statistics, fixed, copy=True)
            losses, carry = self.task.loss(model, state.carry, batch, loss_key)
            return jnp.mean(losses), (nnx.state(model, nnx.BatchStat), carry)

        (loss, (statistics, carry)), gradient = jax.value_and_grad(mean_loss, has_aux=True)(state.params)
        updates, opt_state = self._optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        finite = jnp.isfinite(loss) & jnp.isfinite(optax.tree.norm(gradient))
        # Early on the average is over few steps, or the random first weights would stay in it for long.
        decay = jnp.minimum(self.config.ema_decay, (1.0 + state.step) / (10.0 + state.step))
        return TrainState(
            params=params,
            ema=jax.tree.map(lambda old, new: decay * old + (1.0 - decay) * new, state.ema, params),
            statistics=statistics,
            opt_state=opt_state,
            carry=carry,
            step=state.step + finite,
            loss_sum=jnp.where(place == 0, loss, state.loss_sum + loss),
            finite=finite,
        )


def _optimizer(config: TrainConfig, num_steps: int) -> optax.GradientTransformation:
    """AdamW, with the schedule and the clipping that the config asks for."""
    top, warmup = config.learning_rate, config.warmup_steps
    if config.lr_schedule == "cosine":
        after = optax.cosine_decay_schedule(top, num_steps - warmup)
    else:
        after = optax.constant_schedule(top)
    rate = optax.join_schedules([optax.linear_schedule(0.0, top, max(1, warmup)), after], [warmup])
    adam = optax.adamw(rate, weight_decay=config.weight_decay, mask=partial(jax.tree.map, lambda a: a.ndim > 1))
    return adam if config.grad_clip is None else optax.chain(optax.clip_by_global_norm(config.grad_clip), adam)

"""What language models are trained for: the likelihood, and to foretell where their own Jacobi iterations end."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from common.paths import ROOT
from models.language.model import Language, LanguageConfig
from runners.config.schema import UsageError, check_config
from runners.training.config import LanguageTrainConfig
from runners.training.tasks import objectives
from runners.training.tasks.objectives import OBJECTIVES, Consistency, Likelihood, read
from runners.training.tasks.text import TextTask
from solvers import CachedSequential, Jacobi, solve
from solvers.systems.autoregressive import AutoregressiveSystem, Known

LENGTH, BATCH, WINDOW = 24, 3, 6


@pytest.fixture(scope="module")
def model() -> Language:
    config = LanguageConfig(width=8, num_layers=1, num_heads=2, alphabet="abcde", context=LENGTH)
    model = Language(config, rngs=nnx.Rngs(3))
    model.readout[...] = 10.0 * model.readout[...]  # so that characters really depend on each other
    return model


@pytest.fixture(scope="module")
def x() -> Any:
    return jax.random.randint(jax.random.key(1), (LENGTH, BATCH), 0, 5)


def continued(model: Language, x: Any, start: int) -> Any:
    """The equations of the likeliest window behind the first ``start`` characters."""
    head = model.greedy
    noise = head.draw_noise(jax.random.key(0), start + WINDOW, BATCH)
    return AutoregressiveSystem(model.fold(start + WINDOW), head, noise, Known(x[: start + WINDOW], jnp.int32(start)))


def test_a_window_is_where_the_models_own_iteration_ends(model: Language, x: Any) -> None:
    """Its answer is the greedy text, and a state that was iterated to the end is that answer."""
    objective = Consistency(window=WINDOW, max_steps=1)
    _, prefix = read(model, x)
    key = jax.random.key(5)
    place, _ = jax.random.split(key)
    start = int(objective._start(x, place))
    window = objective.window_at(model, x, prefix, key)
    greedy = solve(continued(model, x, start), CachedSequential()).value
    np.testing.assert_array_equal(window.answer, greedy[start:])
    np.testing.assert_array_equal(window.guesses, continued(model, x, start).initial_guess()[start:])
    network = model.fold(LENGTH)
    whole, _ = network.conditionals(
        jnp.concatenate([x[:start], window.guesses, x[start + WINDOW :]]),
        network.init_cache(BATCH, x.dtype),
        0,
        LENGTH,
        LENGTH,
    )
    np.testing.assert_allclose(window.logits, whole[start : start + WINDOW], atol=1e-5)


def test_steps_are_those_that_jacobi_takes(model: Language, x: Any) -> None:
    _, prefix = read(model, x)
    for seed in range(3):
        key = jax.random.key(seed)
        objective = Consistency(window=WINDOW)
        start = int(objective._start(x, key))
        solution = solve(continued(model, x, start), Jacobi())
        np.testing.assert_array_equal(objective.steps(model, x, prefix, key), solution.stats.steps_to_convergence)


def test_characters_count_from_the_first_wrong_guess_on_each_less_than_the_one_before() -> None:
    answer = jnp.array([[0, 1], [1, 1], [0, 1]])
    guesses = jnp.array([[0, 1], [0, 1], [0, 1]])  # wrong at the second of the first text, and nowhere in the other
    logits = jnp.log(jnp.array([[[0.5, 0.5]] * 2, [[0.2, 0.8]] * 2, [[0.7, 0.3]] * 2]))
    window = objectives._Windows(answer, guesses, logits)
    expected = -(0.9 * np.log(0.8) + 0.81 * np.log(0.7)) / (0.9 + 0.81)
    np.testing.assert_allclose(objectives._behind(window), [expected, 0.0], rtol=1e-5)


def test_training_for_it_saves_steps() -> None:
    """Texts that go round the alphabet: learnt by their likelihood, characters come one a step; then several do."""
    x = (jnp.arange(LENGTH)[:, None] + jnp.arange(BATCH)) % 5
    config = LanguageConfig(width=16, num_layers=1, num_heads=2, alphabet="abcde", context=LENGTH)
    graph, weights = nnx.split(Language(config, rngs=nnx.Rngs(3)))
    optimizer, key = optax.adam(0.02), jax.random.key(4)
    own = Consistency(window=WINDOW, num_windows=2, max_steps=3)

    def trained(objective: Any, weights: Any, number: int) -> Any:
        def mean_loss(weights: Any, key: Any) -> Any:
            return jnp.mean(objective.loss(nnx.merge(graph, weights), x, key))

        @jax.jit
        def step(weights: Any, state: Any, key: Any) -> Any:
            updates, state = optimizer.update(jax.grad(mean_loss)(weights, key), state)
            return optax.apply_updates(weights, updates), state

        state = optimizer.init(weights)
        for index in range(number):
            weights, state = step(weights, state, jax.random.fold_in(key, index))
        return weights

    learnt = trained(Likelihood(), weights, 60)
    before = own.metrics_of(nnx.merge(graph, learnt), x, 0.0, key)
    after = own.metrics_of(nnx.merge(graph, trained(own, learnt, 60)), x, 0.0, key)
    assert after["objective"] < 0.3 * before["objective"]
    assert after["characters_a_step"] > before["characters_a_step"]


def test_a_task_has_the_metrics_of_its_objective() -> None:
    text = {"name": "text", "file": str(ROOT / "LICENSE")}
    objective = {"name": "consistency", "window": 4}
    mapping = {"model": {"name": "language"}, "data": text, "batch_size": 2, "objective": objective}
    config = check_config(LanguageTrainConfig, mapping, "c.yml")
    small = Language(LanguageConfig(width=8, num_layers=1, num_heads=2, context=20), rngs=nnx.Rngs(0))
    task = TextTask(config, small)
    values = task.evaluate(small, jax.random.key(0))
    assert set(values) == {metric.key for metric in task.metrics}
    assert task.metrics[0] is task.selection_metric
    assert values["objective"] > values["cross_entropy"]
    assert 1.0 <= values["characters_a_step"] <= 4.0
    assert [metric.key for metric in TextTask.metrics] == ["cross_entropy", "accuracy"]  # of an evaluation


def test_every_objective_has_a_name_and_takes_what_configs_say() -> None:
    assert set(OBJECTIVES) == {"likelihood", "consistency"}
    config = check_config(LanguageTrainConfig, {"model": {"name": "language"}, "objective": "consistency"}, "c.yml")
    assert OBJECTIVES[config.objective.name](**config.objective.options) == Consistency()
    config = check_config(
        LanguageTrainConfig, {"model": {"name": "language"}, "objective": {"name": "consistency", "window": 8}}, "c.yml"
    )
    assert OBJECTIVES[config.objective.name](**config.objective.options) == Consistency(window=8)
    fields = {field.name for field in dataclasses.fields(Consistency)}
    assert {*config.objective.model_dump()} - {"name"} == fields


@pytest.mark.parametrize(
    ("objective", "sentence"),
    [
        ("consistant", "objective.name should be 'likelihood' or 'consistency', not 'consistant'"),
        ({"name": "consistency", "window": 0}, "objective.window should be at least 1, not 0"),
        ({"name": "consistency", "weight": -1}, "objective.weight"),
        ({"name": "likelihood", "window": 8}, "window goes with name: consistency, not with likelihood"),
        ({"name": "consistency", "window": 512}, "objective: window must be less than the 512 characters of a text"),
    ],
)
def test_a_mistake_is_one_sentence(objective: Any, sentence: str) -> None:
    def task() -> TextTask:
        config = check_config(LanguageTrainConfig, {"model": {"name": "language"}, "objective": objective}, "c.yml")
        return TextTask(config, Language(LanguageConfig(width=8, num_layers=1, num_heads=2), rngs=nnx.Rngs(0)))

    with pytest.raises(UsageError) as raised:
        task()
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)

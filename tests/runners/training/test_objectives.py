"""What language models are trained for: the likelihood, and to foretell where their own Jacobi iterations end."""

from __future__ import annotations

import inspect
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
from runners.training.tasks.objectives import OBJECTIVES, Consistency, Likelihood, Window, behind, read
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


def test_a_window_is_where_the_first_weights_go_on(model: Language, x: Any) -> None:
    """Its answer is their greedy text, its state that of Jacobi with the weights now, its logits those of a sweep."""
    objective = Consistency(model, LENGTH, window=WINDOW, max_steps=1)
    now = Language(model.config, rngs=nnx.Rngs(8))
    window = objective.window_at(now, x, read(now, x)[1], read(model, x)[1], jnp.int32(9), jax.random.key(5))
    greedy = solve(continued(model, x, 9), CachedSequential()).value
    np.testing.assert_array_equal(window.answer, greedy[9:])
    np.testing.assert_array_equal(window.guesses, continued(now, x, 9).initial_guess()[9:])
    for weights, values, logits in ((model, window.answer, window.told), (now, window.guesses, window.logits)):
        whole, _ = read(weights, jnp.concatenate([x[:9], values, x[9 + WINDOW :]]))
        np.testing.assert_allclose(logits, whole[9 : 9 + WINDOW], atol=1e-5)


def test_steps_are_those_that_jacobi_takes(model: Language, x: Any) -> None:
    objective, (_, prefix) = Consistency(model, LENGTH, window=WINDOW), read(model, x)
    for start in (4, 18):
        solution = solve(continued(model, x, start), Jacobi())
        steps = objective.steps(model, x, prefix, jnp.int32(start))
        np.testing.assert_array_equal(steps, solution.stats.steps_to_convergence)


def test_characters_count_less_the_more_wrong_guesses_they_read() -> None:
    """And those that read none are held against the distribution of the first weights, not against its likeliest."""
    answer, shares = jnp.ones((3, 2), int), jnp.array([[0.5, 0.5], [0.2, 0.8], [0.7, 0.3]])
    guesses = jnp.array([[0, 1], [1, 1], [1, 1]])  # wrong at the first of the first text, and nowhere in the other
    told = jnp.log(jnp.array([[0.4, 0.6]] * 3))[:, None].repeat(2, 1)
    losses = behind(Window(answer, told, guesses, jnp.log(shares)[:, None].repeat(2, 1)))
    kept = -np.sum([0.4, 0.6] * np.log(shares), axis=1)
    foretold = -np.log(shares[:, 1])
    expected = [(kept[0] + 0.9 * foretold[1] + 0.81 * foretold[2]) / (1 + 0.9 + 0.81), kept.mean()]
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


def test_training_for_it_saves_steps() -> None:
    """Texts that go round the alphabet: learnt by their likelihood, characters come one a step; then several do."""
    x = (jnp.arange(LENGTH)[:, None] + jnp.arange(BATCH)) % 5
    config = LanguageConfig(width=16, num_layers=1, num_heads=2, alphabet="abcde", context=LENGTH)
    graph, weights = nnx.split(Language(config, rngs=nnx.Rngs(3)))
    optimizer, key = optax.adam(0.02), jax.random.key(4)

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

    learnt = trained(Likelihood(nnx.merge(graph, weights), LENGTH), weights, 60)
    own = Consistency(nnx.merge(graph, learnt), LENGTH, window=WINDOW, num_windows=2, max_steps=3)
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
    assert config.objective.options == {}
    options = inspect.signature(Consistency).parameters.keys() - {"model", "length"}
    assert config.objective.model_dump().keys() - {"name"} == options


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

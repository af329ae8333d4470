"""What language models are trained for: the likelihood, and guesses that tell what the first weights would write."""

from __future__ import annotations

import inspect
import signal
from pathlib import Path
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import yaml
from flax import nnx
from safetensors.numpy import load_file

from common.paths import ROOT
from models import build
from models.language.model import Language, LanguageConfig
from models.weights.native import save_checkpoint
from runners.cli.main import main
from runners.config.schema import UsageError, check_config
from runners.training.config import LanguageTrainConfig, ObjectiveConfig
from runners.training.loop import TrainLoop
from runners.training.store import Snapshot, StateStore
from runners.training.tasks.objectives import (
    _PLACES,
    OBJECTIVES,
    Consistency,
    Likelihood,
    Window,
    behind,
    logits_of,
)
from runners.training.tasks.text import TextTask
from solvers import CachedSequential, Jacobi, solve
from solvers.systems.autoregressive import AutoregressiveSystem, Known

LENGTH, BATCH, WINDOW = 24, 3, 6
SMALL: dict[str, Any] = {"width": 8, "num_layers": 1, "num_heads": 2, "alphabet": "abcde"}


@pytest.fixture(scope="module")
def model() -> Language:
    model = Language(LanguageConfig(**SMALL, context=LENGTH), rngs=nnx.Rngs(3))
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


OPTIONS = {"window": WINDOW, "num_windows": 2, "max_steps": 3, "weight": 1.0}


def test_windows_are_where_the_first_weights_go_on(model: Language, x: Any) -> None:
    """Answers are their greedy text, states those of Jacobi with the weights now, logits those of whole sweeps."""
    objective = Consistency(model, LENGTH, **OPTIONS)
    now = Language(model.config, rngs=nnx.Rngs(8))
    now.readout[...] = 10.0 * now.readout[...]
    logits, windows = objective.windows_at(now, x, jnp.int32(9), jnp.array([2, 1]))
    np.testing.assert_allclose(logits, logits_of(now, x), atol=1e-5)
    text = x
    for index, number in enumerate((2, 1)):
        start = 9 + index * WINDOW
        window = jax.tree.map(lambda leaf, index=index: leaf[index], windows)
        greedy = solve(continued(model, text, start), CachedSequential()).value
        np.testing.assert_array_equal(window.answer, greedy[start:])
        system = continued(now, text, start)
        state = system.initial_guess()
        for _ in range(number):
            state = system.sweep(state)
        np.testing.assert_array_equal(window.guesses, state[start:])
        assert (window.guesses != window.answer).any()
        assert (window.guesses != system.initial_guess()[start:]).any()
        for weights, values, found in ((model, window.answer, window.told), (now, window.guesses, window.logits)):
            whole = logits_of(weights, text.at[start : start + WINDOW].set(values))
            np.testing.assert_allclose(found, whole[start : start + WINDOW], atol=1e-5)
        text = text.at[start : start + WINDOW].set(window.answer)


def test_the_first_weights_stay(x: Any) -> None:
    """Whatever becomes of the module that they came in."""
    changing = Language(LanguageConfig(**SMALL, context=LENGTH), rngs=nnx.Rngs(3))
    objective = Consistency(changing, LENGTH, **OPTIONS)
    told = objective.windows_at(changing, x, jnp.int32(9), jnp.zeros(2, int))[1].told
    changing.readout[...] = 2.0 * changing.readout[...]
    _, windows = objective.windows_at(changing, x, jnp.int32(9), jnp.zeros(2, int))
    np.testing.assert_array_equal(windows.told, told)
    assert not np.allclose(windows.logits, told)


def test_steps_are_those_that_jacobi_takes(model: Language, x: Any) -> None:
    steps, text = Consistency(model, LENGTH, **OPTIONS).steps(model, x, jnp.int32(4)), x
    for start, found in zip((4, 4 + WINDOW), steps, strict=True):
        solution = solve(continued(model, text, start), Jacobi())
        np.testing.assert_array_equal(found, solution.stats.steps_to_convergence)
        text = text.at[start : start + WINDOW].set(solution.value[start:])


def test_characters_count_less_the_further_they_are_behind_a_wrong_guess() -> None:
    """And those that read none are held against the distribution of the first weights, not against its likeliest."""
    answer, shares = jnp.ones((3, 2), int), jnp.array([[0.5, 0.5], [0.2, 0.8], [0.7, 0.3]])
    guesses = jnp.array([[0, 1], [1, 1], [1, 1]])  # wrong at the first of the first text, and nowhere in the other
    told = jnp.log(jnp.array([[0.4, 0.6]] * 3))[:, None].repeat(2, 1)
    losses = behind(Window(answer, told, guesses, jnp.log(shares)[:, None].repeat(2, 1)))
    kept = np.sum(np.array([0.4, 0.6]) * np.log(np.array([0.4, 0.6]) / shares), axis=1)
    foretold = -np.log(shares[:, 1])
    expected = [kept[0] + (0.7 * foretold[1] + 0.49 * foretold[2]) / (0.7 + 0.49), kept.mean()]
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


@pytest.mark.slow  # two trainings; the cousins above and below hold the loss, its steps and its metrics
def test_training_for_it_saves_steps() -> None:
    """Texts that go round the alphabet, whose characters come one a step when their likelihood has been learnt."""
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
    own = Consistency(nnx.merge(graph, learnt), LENGTH, **OPTIONS)
    before = own.metrics_of(nnx.merge(graph, learnt), x, 0.0, key)
    after = own.metrics_of(nnx.merge(graph, trained(own, learnt, 60)), x, 0.0, key)
    assert after["objective"] < 0.3 * before["objective"]
    assert after["characters_a_step"] > before["characters_a_step"]


def test_a_task_has_the_metrics_of_its_objective() -> None:
    text = {"name": "text", "file": str(ROOT / "LICENSE")}
    objective = {"name": "consistency", "window": 4}
    mapping = {"model": {"name": "language"}, "data": text, "batch_size": 2, "objective": objective, "init": "x"}
    config = check_config(LanguageTrainConfig, mapping, "c.yml")
    small = Language(LanguageConfig(width=8, num_layers=1, num_heads=2, context=20), rngs=nnx.Rngs(0))
    task = TextTask(config, small)
    values = task.evaluate(small, jax.random.key(0))
    assert set(values) == {metric.key for metric in task.metrics}
    assert task.metrics[0] is task.selection_metric
    assert values["objective"] > values["cross_entropy"]
    assert 1.0 <= values["characters_a_step"] <= 4.0
    assert [metric.key for metric in TextTask.metrics] == ["cross_entropy", "accuracy"]  # of an evaluation


def test_held_out_windows_are_at_several_places(model: Language, x: Any) -> None:
    window, key = 3, jax.random.key(5)
    objective = Consistency(model, LENGTH, **{**OPTIONS, "window": window, "num_windows": 1})
    places = [objective._drawn(x, model, each)[0] for each in jax.random.split(key, _PLACES)]
    assert len({int(place) for place in places}) > 1
    steps = [objective.steps(model, x, place) for place in places]
    found = objective.metrics_of(model, x, 0.0, key)
    assert found["characters_a_step"] == pytest.approx(window / np.mean(steps))


class Stopped:
    """A training from weights in a file, whose command can be given again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.init = folder, folder / "init.safetensors"
        lines = ("".join("abcde"[(i // 5**place) % 5] for place in range(9)) for i in range(60))
        (folder / "text.txt").write_text("\n".join(lines))
        self.model = {"name": "language", **SMALL, "alphabet": "abcde\n", "context": LENGTH}
        self.first_weights(0)

    def first_weights(self, seed: int) -> None:
        save_checkpoint(self.init, "language", build(self.model, seed), {})

    def run(self, out: str, state: str) -> int:
        folder = self.folder
        config = {
            **{"model": self.model, "data": {"name": "text", "file": str(folder / "text.txt")}, "init": str(self.init)},
            **{"objective": {"name": "consistency", "window": 4, "num_windows": 2}, "epochs": 2, "batch_size": 4},
            **{"warmup_steps": 1, "sample_every_epochs": 0, "save_every_s": 0, "state_dir": str(folder / state)},
        }
        (folder / "c.yml").write_text(yaml.safe_dump(config))
        line = ["--runner", "TrainLanguageRunner", "--config", str(folder / "c.yml"), "--out", str(folder / out)]
        return main(line)


def test_does_not_go_on_from_other_first_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are no part of the state that is restored, but what they would write is what is learnt."""
    training = Stopped(tmp_path)

    def stop(loop: TrainLoop) -> Snapshot:
        loop.store.save(Snapshot(loop.trainer.start(), [], 0.0))
        raise KeyboardInterrupt

    monkeypatch.setattr(TrainLoop, "run", stop)
    assert training.run("out", "state") == 130
    training.first_weights(1)
    assert training.run("out", "state") == 2
    found = " ".join(capsys.readouterr().err.split())
    assert "holds the state of an unfinished run with SHA-256 of init: " in found
    training.first_weights(0)
    assert training.run("out", "state") == 130


@pytest.mark.slow  # three trainings are compiled; the cousin above compiles none
def test_goes_on_bit_for_bit_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training, save = Stopped(tmp_path), StateStore.save
    assert training.run("straight", "one") == 0

    def save_and_press(store: StateStore, snapshot: Snapshot) -> None:
        save(store, snapshot)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(StateStore, "save", save_and_press)
        assert training.run("resumed", "two") == 130
    assert training.run("resumed", "two") == 0
    straight, resumed = (load_file(tmp_path / out / "weights.safetensors") for out in ("straight", "resumed"))
    assert all(straight[key].tobytes() == resumed[key].tobytes() for key in straight)
    assert any(straight[key].tobytes() != array.tobytes() for key, array in load_file(training.init).items())


def test_every_objective_has_a_name_and_takes_what_configs_say() -> None:
    assert tuple(OBJECTIVES) == get_args(ObjectiveConfig.model_fields["name"].annotation)
    config = check_config(
        LanguageTrainConfig, {"model": {"name": "language"}, "objective": "consistency", "init": "x"}, "c.yml"
    )
    assert config.objective.options.keys() == inspect.signature(Consistency).parameters.keys() - {"model", "length"}
    assert config.objective.model_dump() == {"name": "consistency", **config.objective.options}


def test_a_training_by_the_likelihood_alone_is_what_it_was_before_there_was_a_choice() -> None:
    config = check_config(LanguageTrainConfig, {"model": {"name": "language"}}, "c.yml")
    assert config.model_dump()["objective"] == {"name": "likelihood"}
    assert "objective" not in config.identity()
    assert OBJECTIVES["likelihood"](None, 1, **config.objective.options).metrics == Likelihood.metrics


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"objective": "consistant"}, "objective.name should be 'likelihood' or 'consistency', not 'consistant'"),
        ({"objective": {"name": "consistency", "window": 0}}, "objective.window should be at least 2, not 0"),
        ({"objective": {"name": "consistency", "weight": -1}}, "objective.weight should be more than 0, not -1"),
        ({"objective": {"window": 8}}, "window goes with name: consistency, not with likelihood"),
        (
            {"objective": {"name": "consistency", "window": 512}},
            "objective: 4 windows of 512 (num_windows, window) are not less than 512, the number",
        ),
        ({"objective": "consistency", "init": None}, "goes on from trained weights, which init should name"),
    ],
)
def test_a_mistake_is_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    def task() -> TextTask:
        config = check_config(LanguageTrainConfig, {"model": {"name": "language"}, "init": "x", **changes}, "c.yml")
        return TextTask(config, Language(LanguageConfig(width=8, num_layers=1, num_heads=2), rngs=nnx.Rngs(0)))

    with pytest.raises(UsageError) as raised:
        task()
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)

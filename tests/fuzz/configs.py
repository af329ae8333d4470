"""Random configs and command lines, up to the first refusal: each is one line, and none is a traceback.

``python -m tests.fuzz.configs [N] [SEED]``. Nothing is computed: behind the schema the runners are stand-ins.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from runners import RUNNERS
from runners.cli import execute as program
from runners.config.files import apply_overrides, read_config
from runners.config.schema import UsageError, check_config
from runners.experiment import RunFailure
from tests.fuzz.program import call, fuzz
from tests.kit.smallest import CASES

ACCEPTED = "the schema accepts it"
WORDS = [
    *("", "~", "null", "true", "on", "010", "0x1f", "1e400", "-1e-400", ".inf", ".nan", "1_000", "1:30", "2024-13-45"),
    *(
        "0000-00-00",
        "²",
        "٣",
        "!!int x",
        "!!timestamp x",
        "!!python/object:os.system x",
        "&a [*a]",
        "*nowhere",
        "<<: 1",
    ),
    *(
        "{a: 1, a: 2}",
        "[1, [2, [3]]]",
        "{",
        "]",
        "'",
        '"',
        "- a",
        "? a",
        "|",
        ">-",
        "%TAG",
        "@x",
        "`",
        "\t",
        "#1 take.wav",
    ),
    *("take: 1.wav", "~nosuch/x", "\x00", "\ud800", "\udcff", "\ufeff", "\u2028", "x" * 300, "9" * 5000, "$^$", "[/a]"),
    *(
        "jacobi",
        "{name: jacobi, tol: nan}",
        "[jacobi, {name: [1]}]",
        "{name: {}}",
        "[{name: segmented, solver: segmented}]",
    ),
    *("[{name: jacobi, max_steps: true}]", "[{name: null}]", "[{1: 2}]", "{name: made, num_inputs: 1e3}", "made_mnist"),
    *(
        "[{name: gs_jacobi, block_size: 99999999999999999999}]",
        "[{name: anderson, window: -1}]",
        "{name: wavenet, dilations: [0]}",
    ),
]
VALUES: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2,
        3.5,
        10**30,
        -(10**400),
        1e308,
        float("inf"),
        float("-inf"),
        float("nan"),
        "",
        "x",
    ),
    *(
        [],
        {},
        [[]],
        [None],
        {"name": None},
        {"name": "jacobi"},
        [{"name": "jacobi"}],
        [1, "a", None],
        {"a": {"b": {"c": []}}},
    ),
    *(
        "made",
        "wavenet",
        "densenet",
        "densenet_mnist",
        "made_mnist",
        {"name": "made"},
        {"name": "wavenet", "dilations": []},
    ),
]
KEYS = ["solvers", "model", "checkpoint", "name", "0", "00", "-1", "99", "a.b", "", "seed", "trace", "algo", "lr", "²"]
FLAGS = [
    *(["--seed", "x"], ["--seed", "-1"], ["--seed", "9" * 5000], ["--seed"], ["--out", ""], ["--out", "~nosuch/x"]),
    *(["--out", "/dev/null"], ["--out", "/proc/x/y"], ["--out", "a\x00b"], ["--out", "x" * 5000], ["--verbose", "x"]),
    *(["--device", "gpx"], ["--set"], ["--doc", "x"], ["-x"], ["x"], ["--runner", "Made"], ["--config", "\x00"]),
    *(
        ["--config", "x" * 5000],
        ["--config", "~nosuch/c.yml"],
        ["--config", "/"],
        ["--config", ""],
        ["--out", "\udcff\ud800"],
    ),
]


class StandIn:
    """In the place of a runner: takes what its schema accepts, and stops."""

    Config: Any = None

    def __init__(self, config: Any, context: Any) -> None:
        raise RunFailure(ACCEPTED)


class StandIns:
    """In the place of the table of runners."""

    def __getitem__(self, name: str) -> type[StandIn]:
        return type(name, (StandIn,), {"Config": RUNNERS[name].Config})


@contextmanager
def nothing_runs() -> Iterator[None]:
    """Within it the program stops where a runner would begin."""
    before = program.RUNNERS
    program.RUNNERS = StandIns()  # type: ignore[assignment]
    try:
        yield
    finally:
        program.RUNNERS = before


def case(seed: int, number: int) -> tuple[str, str | None]:
    """One command line with its config: how it ended, and what was wrong with that."""
    dice = random.Random(f"{seed}/{number}")
    name = dice.choice(sorted(CASES))
    runner, config = CASES[name]
    content = yaml_text(dice, {"seed": 1, **config})
    overrides = [override(dice, config) for _ in range(dice.choice((0, 0, 1, 3)))]
    with tempfile.TemporaryDirectory() as folder, nothing_runs():
        path = Path(folder) / "c.yml"
        path.write_bytes(content)
        line = ["--runner", runner, "--config", str(path), "--out", str(Path(folder) / "out")]
        line += ["--set", *overrides] if overrides else []
        line += dice.choice(FLAGS) if dice.random() < 0.15 else []
        done = call(line)
        fault = done.fault or judged(done.code, done.out, done.err) or by_parts(path, overrides, runner)
        if sorted(Path(folder).iterdir()) != [path]:
            fault = f"left behind: {sorted(Path(folder).iterdir())}"
    kind = "accepted" if ACCEPTED in done.err else "refused"
    return kind, fault and f"{line}\n{content.decode('utf-8', 'backslashreplace')}\n{fault}"


def judged(code: int | None, out: str, err: str) -> str | None:
    """What is wrong with a refusal, if anything: it is one line on standard error, and the exit code is not zero."""
    if code not in (1, 2) or (code == 1 and ACCEPTED not in err):
        return f"exit {code}: {err!r}"
    if out or len(err.splitlines()) != 1:
        return f"more than one line: {out!r} {err!r}"
    return None


def by_parts(path: Path, overrides: list[str], runner: str) -> str | None:
    """The same by the functions that others call: nothing but UsageError comes out of them."""
    schema = RUNNERS[runner].Config
    for kind in (schema, None):
        try:
            check_config(schema, apply_overrides(read_config(path, kind), overrides, kind), "c.yml")
        except UsageError as error:
            if not str(error).strip():
                return "a refusal without words"
    return None


def override(dice: random.Random, config: dict[str, Any]) -> str:
    """``key=value``, or something like it."""
    path, node = [], config
    while isinstance(node, dict | list) and node and (not path or dice.random() < 0.6):
        key = dice.choice(sorted(node)) if isinstance(node, dict) else dice.randrange(len(node))
        path.append(str(key))
        node = node[key]
    if dice.random() < 0.4:
        path.insert(dice.randint(0, len(path)), dice.choice(KEYS))
    return ".".join(path) + dice.choice(("=", "=", "=", "=", "", "==", "=\n")) + dice.choice(WORDS)


def yaml_text(dice: random.Random, config: dict[str, Any]) -> bytes:
    """A config with some of its keys and some of its letters changed."""
    for _ in range(dice.choice((0, 1, 1, 2))):
        config = changed(dice, config)
    text = yaml.safe_dump(config, sort_keys=False, default_flow_style=dice.choice((None, True, False)))
    for _ in range(dice.choice((0, 0, 1, 2))):
        text = spoiled(dice, text)
    content = text.encode("utf-8", "surrogatepass")
    if dice.random() < 0.05:
        at = dice.randrange(len(content) + 1)
        content = content[:at] + dice.randbytes(2) + content[at:]
    return content


def changed(dice: random.Random, value: Any) -> Any:
    """A value with one part of it replaced, taken out, doubled or called otherwise."""
    if not isinstance(value, dict | list) or not value or dice.random() < 0.15:
        return dice.choice(VALUES)
    if isinstance(value, list):
        at = dice.randrange(len(value))
        return [*value[:at], changed(dice, value[at]), *value[at + dice.choice((0, 1, 1)) :]]
    key = dice.choice(list(value))
    turn = dice.random()
    if turn < 0.15:
        return {name: item for name, item in value.items() if name != key}
    if turn < 0.3:
        letters = list(str(key) or "x")
        letters[dice.randrange(len(letters))] = dice.choice("abxyz_0 ")
        return {("".join(letters) if name == key else name): item for name, item in value.items()}
    if turn < 0.4:
        return {**value, dice.choice(KEYS): dice.choice(VALUES)}
    return {**value, key: changed(dice, value[key])}


def spoiled(dice: random.Random, text: str) -> str:
    """A text with letters put in, taken out or doubled."""
    at, to = sorted(dice.randrange(len(text) + 1) for _ in range(2))
    lines = text.splitlines(keepends=True) or [""]
    row = dice.randrange(len(lines))
    return dice.choice(
        (
            text[:at] + dice.choice(WORDS) + text[at:],
            text[:at] + dice.choice("[]{}:,#&*!|>'\"%@`-?\t\n \\") + text[at:],
            text[:at] + text[to:],
            "".join([*lines[:row], lines[row], *lines[row:]]),
            text.replace(": ", ": " + dice.choice(WORDS) + " ", 1),
            dice.choice("[{") * dice.choice((3, 3, 100, 1200)) + text,
        )
    )


if __name__ == "__main__":
    sys.exit(fuzz("random configs", case, 10_000))

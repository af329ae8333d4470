"""Mistakes in configs, overrides and entries of solvers: one sentence that helps, and the right exit code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import solvers
from tests.kit.mistakes import (
    LEFT_OUT,
    OF_JACOBI,
    OLD,
    Row,
    check_in_a_process_of_its_own,
    check_mistake,
    key_near,
    near,
    sampling,
    training,
)

DATA_KEYS = ("root", "download", "size", "mode", "file", "key", "labels", "held_out")

CONFIGS = [
    sampling(
        "yaml_broken",
        "config {here}/c.yml is not valid YAML: expected ',' or ']', but got ':' (line 2, column 2)",
        text="a: [1, 2\nb: 3",
    ),
    sampling(
        "yaml_tag",
        "config {here}/c.yml is not valid YAML: the tag 'tag:yaml.org,2002:python/object/apply:os.getcwd' is not "
        "allowed; expected plain text, lists and mappings (line 1, column 4)",
        text="a: !!python/object/apply:os.getcwd []",
    ),
    sampling(
        "yaml_control_character",
        re.compile("config {here}/c.yml is not valid YAML: .*special characters are not allowed.*"),
        text="a: \x01",
    ),
    sampling("yaml_binary", "config {here}/c.yml is not a text file", text=b"\xff\xfe\x00\x81"),
    sampling("yaml_list", "config {here}/c.yml should be a mapping of keys to values; it is a list", text="- a\n- b"),
    sampling("yaml_empty", "config {here}/c.yml should be a mapping of keys to values; it is empty", text="# nothing"),
    sampling("yaml_text", "config {here}/c.yml should be a mapping of keys to values; it is 'hello'", text="hello"),
    sampling("key_near", key_near("batch_sze", "batch_size"), batch_sze=3),
    sampling("key_capitals", key_near("Solvers", "solvers"), Solvers=3),
    sampling("key_far", re.compile("c.yml: unknown config key 'zzz'; valid: .*batch_size.*"), zzz=3),
    sampling("key_number", re.compile("c.yml: unknown config key '3'; valid: .*batch_size.*"), text="3: 4"),
    *(
        sampling(f"old_key_{key}", f"c.yml: config key {key!r} {OLD} {successor}", **{key: 1})
        for key, successor in {
            "algo": "solvers (a list of {name: ...})",
            "algorithm": "solvers (a list of {name: ...})",
            "ckpt_path": "checkpoint",
            "sample_batch_size": "batch_size",
            "max_rows": "block_size (an option of the solver gs_jacobi, in equations)",
            "block_size": "block_size inside an entry of solvers",
            "n_iters": "max_steps",
            "num_iters": "max_steps",
            "image_folder": "the flag --out",
            "doc": "the flag --out",
            "run": "the flag --out",
        }.items()
    ),
    sampling("batch_size_text", "c.yml: batch_size should be a whole number, not 'many'", batch_size="many"),
    sampling("batch_size_zero", "c.yml: batch_size should be at least 1, not 0", batch_size=0),
    sampling("batch_size_half", "c.yml: batch_size should be a whole number, not 2.5", batch_size=2.5),
    sampling("batch_size_null", "c.yml: batch_size should be a whole number, not null", batch_size=None),
    sampling("batch_size_list", "c.yml: batch_size should be a whole number, not [1]", batch_size=[1]),
    sampling("batch_size_huge", "the device ran out of memory; try a smaller batch_size", batch_size=10**13, code=1),
    sampling("repeats_negative", "c.yml: repeats should be at least 1, not -1", repeats=-1),
    sampling("seed_in_config_negative", "c.yml: seed should be at least 0, not -1", seed=-1),
    sampling("trace_text", "c.yml: trace should be true or false, not 'maybe'", trace="maybe"),
    sampling("time_limit_zero", "c.yml: time_limit_s should be more than 0, not 0", time_limit_s=0),
    sampling("time_limit_nan", "c.yml: time_limit_s should be more than 0, not nan", time_limit_s=float("nan")),
    sampling("time_limit_text", "c.yml: time_limit_s should be a number, not 'long'", time_limit_s="long"),
    sampling(
        "precision_near",
        "c.yml: precision should be 'float32', 'tensorfloat32' or 'bfloat16', not 'float23'",
        precision="float23",
    ),
    sampling("nothing_to_sample", "c.yml: model or checkpoint is needed", model=None),
    training("choice", "c.yml: lr_schedule should be 'constant' or 'cosine', not 'cosin'", lr_schedule="cosin"),
    training("data_text", "c.yml: data should be a mapping of keys to values, not 'mnist'", data="mnist"),
    training(
        "nested_key_near",
        near("c.yml: unknown config key in data 'nam'; did you mean 'name'?", "name", *DATA_KEYS),
        data={"nam": "mnist5k"},
    ),
    training("nested_old_key", f"c.yml: config key 'data.doc' {OLD} the flag --out", data={"doc": 1}),
    training(
        "pattern",
        "c.yml: checkpoint_name should be text that matches ^[a-z0-9][a-z0-9_-]*$, not '../x'",
        checkpoint_name="../x",
    ),
    training("key_of_a_sampler", re.compile("c.yml: unknown config key 'solvers'; valid: .*model.*"), solvers=[]),
    sampling("key_of_training", re.compile("c.yml: unknown config key 'epochs'; valid: .*"), epochs=1),
]


JACOBI = "c.yml: solvers: solver jacobi"


OVERRIDES = [
    sampling("set_no_equals", "override 'trace' should be key=value, for example batch_size=16", "--set", "trace"),
    sampling("set_no_key", "override '=3' should be key=value, for example batch_size=16", "--set", "=3"),
    sampling(
        "set_no_yaml",
        re.compile(re.escape("override 'seed=[1': the value is not valid YAML: ") + ".*"),
        "--set",
        "seed=[1",
    ),
    sampling("set_nothing", "c.yml: seed should be a whole number, not null", "--set", "seed="),
    sampling("set_unknown_key", key_near("batch_sze", "batch_size"), "--set", "batch_sze=3"),
    sampling("set_into_missing_key", key_near("modle", "model"), "--set", "modle.name=made"),
    sampling("set_into_null", "c.yml: noise_file should be text, not {'x': 3}", "--set", "noise_file.x=3"),
    *(
        sampling(
            f"set_index_{index}",
            f"override 'solvers.{index}.name=jacobi': solvers is a list of 2; expected a number from 0 to 1, "
            f"not '{index}'",
            *("--set", f"solvers.{index}.name=jacobi"),
        )
        for index in ("2", "-1", "first")
    ),
    sampling(
        "set_into_value",
        "override 'batch_size.x=2': batch_size is a plain value, nothing to step into",
        *("--set", "batch_size.x=2"),
    ),
    sampling(
        "set_second_of_many",
        "c.yml: batch_size should be a whole number, not 'b'",
        *("--set", "seed=3", "batch_size=b"),
    ),
    sampling(
        "set_option",
        near(f"{JACOBI}: unknown option 'dampng'; did you mean 'damping'?", "damping", *OF_JACOBI),
        *("--set", "solvers.1.dampng=0.5"),
    ),
]


EXPECTED_LIST = "c.yml: solvers: expected a list of one or more solvers, for example [{name: jacobi}]"


EXPECTED_ENTRY = "c.yml: solvers: each solver should be a mapping with a name, for example {name: jacobi}, not"


SOLVERS = [
    sampling("solvers_text", EXPECTED_LIST, solvers="jacobi"),
    sampling("solvers_empty", EXPECTED_LIST, solvers=[]),
    sampling("solvers_mapping", EXPECTED_LIST, solvers={"name": "jacobi"}),
    sampling("solvers_left_out", "c.yml: solvers is missing", solvers=LEFT_OUT),
    sampling("solver_number", f"{EXPECTED_ENTRY} 3", solvers=[3]),
    sampling("solver_nameless", f"{EXPECTED_ENTRY} {{'nam': 'jacobi'}}", solvers=[{"nam": "jacobi"}]),
    sampling(
        "solver_near",
        near(
            "c.yml: solvers: unknown solver 'jacoby'; did you mean 'jacobi'?",
            "jacobi",
            *(name for name in [*solvers.SOLVERS, "auto"] if name != "jacobi"),
        ),
        solvers=[{"name": "jacoby"}],
    ),
    sampling("solver_far", re.compile("c.yml: solvers: unknown solver 'zzz'; valid: .*jacobi.*"), solvers=["zzz"]),
    sampling(
        "solver_name_list",
        re.compile(r"c.yml: solvers: unknown solver \"\['jacobi'\]\"; did you mean 'jacobi'\? valid: jacobi, .*"),
        solvers=[{"name": ["jacobi"]}],
    ),
    sampling(
        "option_near",
        near(f"{JACOBI}: unknown option 'dampng'; did you mean 'damping'?", "damping", *OF_JACOBI),
        solvers=[{"name": "jacobi", "dampng": 0.5}],
    ),
    sampling(
        "option_of_another",
        re.compile("c.yml: solvers: solver sequential: unknown option 'block_size'; valid: (?=.*tol).*max_steps.*"),
        solvers=[{"name": "sequential", "block_size": 3}],
    ),
    *(
        sampling(f"option_{name}", f"c.yml: solvers: solver {sentence}", solvers=[entry])
        for name, sentence, entry in (
            (
                "old",
                f"gs_jacobi: option 'max_rows' {OLD} block_size, in equations",
                {"name": "gs_jacobi", "max_rows": 2},
            ),
            ("old_steps", f"jacobi: option 'n_iters' {OLD} max_steps", {"name": "jacobi", "n_iters": 2}),
            (
                "damping_range",
                "jacobi: damping must be in (0, 1], where 1 is plain Jacobi, not 2.0",
                {"name": "jacobi", "damping": 2},
            ),
            ("damping_text", "jacobi: damping should be a number, not 'much'", {"name": "jacobi", "damping": "much"}),
            (
                "block_size_zero",
                "gs_jacobi: block_size must be at least 1, not 0",
                {"name": "gs_jacobi", "block_size": 0},
            ),
            (
                "block_size_half",
                "jacobi_gs: block_size should be a whole number, not 2.5",
                {"name": "jacobi_gs", "block_size": 2.5},
            ),
            (
                "history_size_zero",
                "anderson: history_size must be at least 1, not 0",
                {"name": "anderson", "history_size": 0},
            ),
            (
                "max_steps_zero",
                "jacobi: max_steps should be a whole number of at least 1, not 0",
                {"name": "jacobi", "max_steps": 0},
            ),
            (
                "repeats_zero",
                "jacobi: repeats should be a whole number of at least 1, not 0",
                {"name": "jacobi", "repeats": 0},
            ),
            (
                "trace_text",
                "jacobi: trace should be true or false, not 'maybe'",
                {"name": "jacobi", "trace": "maybe"},
            ),
            (
                "stop_number",
                "jacobi: stop should be a mapping, for example {max_steps: 10, expected: true}, not 3",
                {"name": "jacobi", "stop": 3},
            ),
            (
                "stop_empty",
                "jacobi: stop: expected max_steps or tol, for example {max_steps: 10, expected: true}",
                {"name": "jacobi", "stop": {}},
            ),
            (
                "stop_near",
                "jacobi: stop: unknown option 'max_step'; did you mean 'max_steps'? valid: max_steps, expected, tol",
                {"name": "jacobi", "stop": {"max_step": 3}},
            ),
            (
                "stop_unexpected",
                "jacobi: stop: expected should be True, not false",
                {"name": "jacobi", "stop": {"max_steps": 3, "expected": False}},
            ),
            (
                "stop_zero",
                "jacobi: stop: max_steps should be at least 1, not 0",
                {"name": "jacobi", "stop": {"max_steps": 0}},
            ),
            (
                "stop_twice",
                "jacobi: tol 0.1 and tol 0.2 of stop differ; leave out the former",
                {"name": "jacobi", "tol": 0.1, "stop": {"tol": 0.2}},
            ),
            ("tol_negative", "jacobi: tol must be at least 0, not -1.0", {"name": "jacobi", "tol": -1}),
            ("tol_nan", "anderson: tol must be at least 0, not nan", {"name": "anderson", "tol": float("nan")}),
        )
    ),
]


SOLVERS.append(
    sampling(
        "stop_all",
        "c.yml: solvers: every solver has a stop, so there is no exact answer to hold rough ones against; add one "
        "without, such as {name: cached_sequential}",
        solvers=[{"name": "jacobi", "stop": {"max_steps": 2}}],
    )
)

ROWS = CONFIGS + OVERRIDES + SOLVERS


@pytest.mark.parametrize("row", ROWS)
def test_mistake_is_one_sentence(row: Row, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    check_mistake(row, tmp_path, capfd)


def test_rows_have_names_of_their_own() -> None:
    names = [row.id for row in ROWS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("row", [row for row in ROWS if row.id == "solver_near"])
def test_mistake_is_one_sentence_in_a_process_of_its_own(row: Row, tmp_path: Path) -> None:
    check_in_a_process_of_its_own(row, tmp_path)

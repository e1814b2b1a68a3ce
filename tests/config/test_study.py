"""The file of a study: what it may say, and the configs of its runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurosim.config import load_config, plan_study, study_schema
from neurosim.config.overrides import as_setting
from neurosim.config.study import StudyConfig
from neurosim.errors import ConfigError
from neurosim.yamlfile import parse_yaml

STUDY = """\
name: tried
base: base.yaml
factors:
  width:
    narrow: {model.sizes: [64, 8, 10]}
    wide: {model.sizes: [64, 32, 10]}
  rule:
    adam: {}
    sgd: {train.optimizer.lr: 0.1, train.optimizer.kind: sgd}
seeds: 2
"""


def problems_of(text: str, overrides: list[str] | None = None, **choice: Any) -> list[str]:
    Path("study.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        plan_study("study.yaml", overrides or [], **choice)
    return list(caught.value.problems)


@pytest.mark.parametrize("name", ["mpbn/study.yaml", "deepeisnn/study.yaml", "studies/digits.yaml", "studies/repair_cells.yaml"])
def test_every_run_of_a_shipped_study_is_what_its_settings_make_of_the_base(name: str) -> None:
    plan = plan_study(f"pkg:{name}", ["train.epochs=2"], seeds=1)
    assert len(plan.runs) >= 4
    for run in plan.runs[::3]:
        assert load_config(plan.base, run.settings) == run.config
        assert run.config.train.epochs == 2


def test_a_study_runs_every_combination_with_every_seed_from_that_of_the_base_on(here: Path) -> None:
    Path("study.yaml").write_text(STUDY)
    plan = plan_study("study.yaml")
    assert [(run.levels["width"], run.levels["rule"], run.seed) for run in plan.runs] == [
        (width, rule, seed) for seed in (3, 4) for width in ("narrow", "wide") for rule in ("adam", "sgd")
    ]
    assert [run.config.seed for run in plan.runs] == [run.seed for run in plan.runs]
    assert plan.runs[0].title == "width = narrow, rule = adam, seed 3"


def test_settings_act_as_on_the_command_line_also_where_a_kind_changes(here: Path) -> None:
    """The base has betas, which SGD does not; the rate that a level set before the kind stays."""
    Path("study.yaml").write_text(STUDY)
    run = plan_study("study.yaml").runs[1]
    assert run.levels["rule"] == "sgd"
    assert run.config.train.optimizer.model_dump()["lr"] == 0.1
    for one in plan_study("study.yaml", ["data.batch_size=16"]).runs:
        assert load_config("base.yaml", one.settings) == one.config


def test_levels_and_seeds_can_be_chosen(here: Path) -> None:
    Path("study.yaml").write_text(STUDY)
    plan = plan_study("study.yaml", only={"width": ["wide"]}, seeds=[7])
    assert [(run.levels, run.seed) for run in plan.runs] == [({"width": "wide", "rule": rule}, 7) for rule in ("adam", "sgd")]
    assert plan.factors == {"width": ("wide",), "rule": ("adam", "sgd")}


def test_combinations_can_be_left_out(here: Path) -> None:
    Path("study.yaml").write_text(STUDY + "exclude: [{width: narrow, rule: [sgd]}]\n")
    left = [(run.levels["width"], run.levels["rule"]) for run in plan_study("study.yaml", seeds=1).runs]
    assert left == [("narrow", "adam"), ("wide", "adam"), ("wide", "sgd")]


def test_a_study_can_stand_on_another(here: Path) -> None:
    Path("study.yaml").write_text(STUDY)
    Path("more.yaml").write_text("extends: study.yaml\nname: more\nseeds: [0]\nfactors: {width: {none: {model.sizes: [64, 10]}}}\n")
    plan = plan_study("more.yaml")
    assert plan.factors["width"] == ("narrow", "wide", "none")
    assert {run.seed for run in plan.runs} == {0}


def test_the_seed_goes_where_the_study_says(here: Path) -> None:
    Path("study.yaml").write_text(STUDY + "seed_keys: [seed, hardware.seed]\nsettings: {hardware.profile: photonic_avnn}\n")
    for run in plan_study("study.yaml").runs:
        assert run.config.hardware is not None
        assert run.config.hardware.seed == run.config.seed == run.seed


def test_every_run_says_how_many_threads_it_has(here: Path) -> None:
    Path("study.yaml").write_text(STUDY + "engine: {threads: 2}\n")
    run = plan_study("study.yaml").runs[0]
    assert run.config.train.threads == 2
    assert "train.threads=2" in run.settings
    assert plan_study("study.yaml", ["train.threads=3"]).runs[0].config.train.threads == 3


def test_paths_are_those_from_the_file_of_the_study(here: Path) -> None:
    Path("sub").mkdir()
    for name in ("a.safetensors", "b.safetensors"):
        (Path("sub") / name).touch()
    levels = "factors: {start: {a: {model.init_from: a.safetensors}, b: {model: {kind: mlp, sizes: [64, 10], init_from: b.safetensors}}}}"
    Path("sub/study.yaml").write_text(f"name: n\nbase: ../base.yaml\nseeds: 1\n{levels}\n")
    a, b = plan_study("sub/study.yaml").runs
    assert a.config.model.init_from == str(here / "sub/a.safetensors")
    assert b.config.model.init_from == str(here / "sub/b.safetensors")
    assert [load_config("base.yaml", run.settings) == run.config for run in (a, b)] == [True, True]


S = "study.yaml:"
LEVEL = "adam: {}"
SGD = "{train.optimizer.lr: 0.1, train.optimizer.kind: sgd}"
FAULTS = [
    (STUDY.replace("seeds:", "seed:"), f"{S}10: seed: unknown key; did you mean 'seeds'?"),
    (STUDY.replace("base: base.yaml", "base: bas.yaml"), f"{S}2: base: bas.yaml: no such file; did you mean 'base.yaml'?"),
    (STUDY.replace("base: base.yaml", "base: pkg:no.yaml"), f"{S}2: base: there is no packaged config 'pkg:no.yaml'"),
    (STUDY.replace("64, 8, 10", "64, 0, 10"), f"{S}5: model.sizes.1: must be > 0, got 0 (in width = narrow, rule = adam and 1 more)"),
    (STUDY.replace("model.sizes: [64, 8", "model.size: [64, 8"), f"{S}5: model.size: unknown key; did you mean 'sizes'?"),
    (STUDY.replace(LEVEL, "adam: {log.dir: x}"), f'{S}8: factors.rule.adam."log.dir": must not be set by a study: the study has a'),
    (
        STUDY.replace(LEVEL, "adam: {model: {}}"),
        f"{S}8: factors.rule.adam.model: must be varied by one factor only, is also in factors.width.n",
    ),
    (STUDY.replace(LEVEL, "adam: {seed: 1}"), f"{S}8: factors.rule.adam.seed: must not be set: it is given the seed (seed_keys)"),
    (STUDY.replace(LEVEL, "'a,b': {}"), f"{S}8: factors.rule.a,b: the name of a level must not have a comma"),
    (STUDY.replace(LEVEL, f"adam: {SGD}"), f"{S}9: factors.rule.sgd: must differ from the level 'adam', sets the same"),
    (STUDY.replace(LEVEL, "adam: {'': 3}"), f"{S}8: factors.rule.adam.\"\": must not be empty, got ''"),
    (STUDY.replace(LEVEL, "adam: {train..lr: 3}"), f"{S}8: must be a dotted key, such as train.epochs, got 'train..lr'"),
    (STUDY + "settings: {seed: 3}\n", f"{S}11: settings.seed: must not be set: it is given the seed (seed_keys)"),
    (STUDY + "settings: {train.epoch: 3}\n", f"{S}11: train.epoch: unknown key; did you mean 'epochs'?"),
    (STUDY + "exclude: [{widht: wide}]\n", f"{S}11: exclude.0.widht: no factor is named 'widht'; did you mean 'width'?"),
    (STUDY + "exclude: [{width: wid}]\n", f"{S}11: exclude.0.width: the factor width has no level 'wid'; did you mean 'wide'?"),
    (STUDY + "exclude: [{}]\n", f"{S}11: exclude.0: must name at least one factor, got an empty mapping"),
    (STUDY + "exclude: [{width: [narrow, wide]}]\n", f"{S}3: factors: no combination is left to run"),
    (STUDY + "metrics: {}\n", f"{S}11: metrics: must name at least one number of the result, got an empty mapping"),
    (STUDY + "metrics: {test_loss: {better: less}}\n", f"{S}11: metrics.test_loss.better: must be 'higher' or 'lower', got 'less'"),
    (STUDY + "seed_keys: [seed, seed]\n", f"{S}11: seed_keys: must not have an entry twice, got 'seed' more than once"),
    (STUDY + "seed_keys: [model]\n", f'{S}5: factors.width.narrow."model.sizes": must not be set: it is given the seed (seed_keys)'),
    (STUDY.replace("seeds: 2", "seeds: [1, 1]"), f"{S}10: seeds: must not have an entry twice, got 1 more than once"),
    (STUDY.replace("name: tried", "name: a/b"), f"{S}1: name: must be up to 100 letters"),
    ("name: n\nbase: base.yaml\nfactors: {}\n", f"{S}3: factors: must have at least one factor, got an empty mapping"),
    ("name: n\nbase: base.yaml\nfactors: {a: {}}\n", f"{S}3: factors.a: must have at least one level, got an empty mapping"),
    ("name: n\nbase: base.yaml\nfactors: {a=b: {x: {}}}\n", f'{S}3: factors."a=b": the name of a factor must not have a comma or an'),
]


@pytest.mark.parametrize(("text", "expected"), FAULTS, ids=[str(at) for at in range(len(FAULTS))])
def test_what_does_not_hold_is_said_with_its_place(here: Path, text: str, expected: str) -> None:
    found = problems_of(text)
    assert any(problem.startswith(expected) for problem in found), found


def test_all_problems_of_all_runs_are_said_at_once(here: Path) -> None:
    text = STUDY.replace("[64, 8, 10]", "[64, 0, 10]").replace("adam: {}", "adam: {train.optimizer.lr: -1}")
    assert problems_of(text, ["train.epochs=0"]) == [
        "study.yaml:5: model.sizes.1: must be > 0, got 0 (in width = narrow, rule = adam and 1 more)",
        "--set train.epochs=0: train.epochs: must be ≥ 1, got 0",
        "study.yaml:8: train.optimizer.lr: must be > 0, got -1 (in width = narrow, rule = adam and 1 more)",
    ]


def test_problems_of_the_base_are_those_of_the_base(here: Path) -> None:
    Path("base.yaml").write_text(Path("base.yaml").read_text().replace("epochs: 5", "epoch: 5"))
    assert problems_of(STUDY) == ["base.yaml:9: train.epoch: unknown key; did you mean 'epochs'?"]


def test_what_the_study_sets_cannot_be_set_beside_it(here: Path) -> None:
    assert problems_of(STUDY, ["model.sizes.0=3", "seed=2", "train.optimizer={kind: adam}"]) == [
        "--set model.sizes.0=3: model.sizes.0: must not be set for a study in which the factor width sets it",
        "--set seed=2: seed: must not be set for a study in which the seed sets it",
        "--set train.optimizer={kind: adam}: train.optimizer: must not be set for a study in which the factor rule sets it",
    ]


def test_a_choice_that_is_none_is_refused(here: Path) -> None:
    assert problems_of(STUDY, only={"widht": ["wide"], "rule": ["adm"]}) == [
        "only: no factor is named 'widht'; did you mean 'width'?",
        "only: the factor rule has no level 'adm'; did you mean 'adam'?",
    ]
    assert problems_of(STUDY, only={"rule": []}) == ["only: the factor rule must keep at least one level"]
    assert problems_of(STUDY, seeds=0) == ["--seeds: seeds: must be ≥ 1, got 0"]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=80)
@given(values)
def test_a_value_survives_the_command_line(value: Any) -> None:
    key, _, text = as_setting("a.b", value).partition("=")
    assert key == "a.b"
    assert parse_yaml(text, "--set").plain() == value


def test_the_schema_of_a_study_has_all_its_keys() -> None:
    schema = json.loads(json.dumps(study_schema()))
    assert set(schema["$defs"]["StudyConfig"]["properties"]) == {"extends", *StudyConfig.model_fields}
    assert schema["$defs"]["StudyConfig"]["required"] == ["name", "base", "factors"]
    assert "required" not in schema["$defs"]["partial.StudyConfig"]

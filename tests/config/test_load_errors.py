"""Every kind of mistake: one line each, with the file and line that are to be changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from neurosim.config import AcceptConfig, TrainConfig, load_config
from neurosim.errors import ConfigError

Problems = Callable[..., list[str]]


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        # keys
        ("sed: 1", 2, "sed: unknown key; did you mean 'seed'?"),
        ("train:\n  epoch: 1", 3, "train.epoch: unknown key; did you mean 'epochs'?"),
        (
            "train: {optimizer: {momentum: 0.5}}",
            2,
            "train.optimizer.momentum: unknown key; valid: 'betas', 'eps', 'kind', 'lr', 'weight_decay'",
        ),
        ("hardware:\n  seed: 3", 2, "hardware.profile: must be given, is missing"),
        # types
        ("train:\n  epochs: 5.5", 3, "train.epochs: must be a whole number, got 5.5"),
        ("train:\n  epochs: '5'", 3, "train.epochs: must be a whole number, got '5'"),
        ("train: {epochs: yes}", 2, "train.epochs: must be a whole number, got 'yes'"),
        ("train: {epochs: true}", 2, "train.epochs: must be a whole number, got true"),
        ("train: {epochs: 1_000}", 2, "train.epochs: must be a whole number, got '1_000'"),
        ("train: {clip_grad_norm: no}", 2, "train.clip_grad_norm: must be a number, got 'no'"),
        ("log: {tensorboard: on}", 2, "log.tensorboard: must be true or false, got 'on'"),
        ("log: {dir: 5}", 2, "log.dir: must be a text, got 5"),
        ("log: {dir: ''}", 2, "log.dir: must not be empty, got ''"),
        ("name: 5", 2, "name: must be a text, got 5"),
        ("log: runs", 2, "log: must be a mapping (key: value), got 'runs'"),
        ("model: [mlp]", 2, "model: must be a mapping (key: value), got ['mlp']"),
        ("train: null", 2, "train: must be a mapping (key: value), got null"),
        ("train:\n  optimizer:\n    betas:\n    - 0.8\n    - x", 6, "train.optimizer.betas.1: must be a number, got 'x'"),
        # ranges
        ("train: {epochs: 0}", 2, "train.epochs: must be ≥ 1, got 0"),
        ("seed: -1", 2, "seed: must be ≥ 0, got -1"),
        (f"seed: {1 << 63}", 2, f"seed: must be < {1 << 63}, got {1 << 63}"),
        ("data: {validation: 1.0}", 2, "data.validation: must be < 1, got 1.0"),
        ("train: {optimizer: {lr: 0}}", 2, "train.optimizer.lr: must be > 0, got 0"),
        ("train: {optimizer: {lr: .nan}}", 2, "train.optimizer.lr: must be a finite number, got nan"),
        ("train: {clip_grad_norm: .inf}", 2, "train.clip_grad_norm: must be a finite number, got inf"),
        ("train:\n  optimizer:\n    betas: [0.8, 1.5]", 4, "train.optimizer.betas.1: must be < 1, got 1.5"),
        ("train: {optimizer: {betas: [0.9]}}", 2, "train.optimizer.betas.1: must be given, is missing"),
        # choices and kinds
        ("train: {precision: fp23}", 2, "train.precision: must be 'fp32', 'bf16' or 'fp16', got 'fp23'; did you mean 'fp32'?"),
        ("data: {kind: digit}", 2, "data.kind: no data set is named 'digit'; did you mean 'digits'?"),
        ("data: {kind: 5}", 2, "data.kind: must be a text, got 5"),
        ("model: {kind: mpl}", 2, "model.kind: no model is named 'mpl'; did you mean 'mlp'?"),
        (
            "train:\n  optimizer:\n    kind: adamm",
            4,
            "train.optimizer.kind: must be 'adam' or 'adamp' or 'adamw' or 'sgd' or 'sgdp' or 'eisgd', got 'adamm'; did you mean 'adam'?",
        ),
        ("train: {optimizer: adam}", 2, "train.optimizer: must be a mapping (key: value), got 'adam'"),
        ("recipe: clasify", 2, "recipe: must be a shipped recipe, got 'clasify'; did you mean 'classify'?"),
        # arguments of models and data sets
        ("model: {sizes: 64}", 2, "model.sizes: must be a list, got 64"),
        ("model:\n  sizes: [64, 1.5, 10]", 3, "model.sizes.1: must be a whole number, got 1.5"),
        ("model: {sizes: [64]}", 2, "model.sizes: must have at least 2 entries, got [64]"),
        ("model: {drop: 0.1}", 2, "model.drop: unknown key; did you mean 'dropout'?"),
        ("data:\n  bach_size: 3", 3, "data.bach_size: unknown key; did you mean 'batch_size'?"),
        ("data:\n  arguments: {}", 3, "data.arguments: unknown key; did you mean 'augment'?"),
        ("data: {kind: idx}", 2, "data.path: must be given, is missing"),
        ("data: {augment: {kind: outliers, share: 2}}", 2, "data.augment.share: must be ≤ 1, got 2"),
        ("data: {augment: crop}", 2, "data.augment: must be 'none', 'flip' or 'crop_flip', got 'crop'; did you mean 'crop_flip'?"),
        # what only holds together
        (
            "train: {optimizer: {kind: sgd, nesterov: true}}",
            2,
            "train.optimizer.nesterov: must be false without momentum, got true; set momentum > 0",
        ),
        ("data: {value_range: [1, 0]}", 2, "data.value_range: must be [low, high] with low < high, got [1.0, 0.0]"),
        # version and name
        ("version: 2", 2, "version: must be 1, the version that this neurosim reads, got 2, which is that of a newer one"),
        ("version: 0", 2, "version: must be 1, the version that this neurosim reads, got 0"),
        ("version: one", 2, "version: must be 1, got 'one'"),
        ("name: a/b", 2, "name: must be up to 100 letters, digits, '_', '-' and '.', a letter or digit first, no '.' last, got 'a/b'"),
    ],
)
def test_a_mistake_in_a_file_is_one_line(problems: Problems, text: str, line: int, problem: str) -> None:
    assert problems(text) == [f"run.yaml:{line}: {problem}"]


@pytest.mark.parametrize(
    ("axes", "problem"),
    [
        ("a: {x: [1, 2], y: [1]}", "a: keys that change together must have equally many values, got 2 for 'x', 1 for 'y'"),
        ("a: {x: []}", "a.x: must have at least 1 entry, got []"),
        ("a: {}", "a: must have at least one key with its values, got an empty mapping"),
        ("a: [1, 2]", "a: must be a mapping (key: value), got [1, 2]"),
        ("a: {x: 3}", "a.x: must be a list, got 3"),
        ("a: {x: [.inf]}", "a.x.0: must be a finite number, got inf"),
        ("a: {x: [1, 2, 1]}", "a: must not have a step twice, got 1 more than once"),
        ("a: {x: [1, 1], y: [2, 2]}", "a: must not have a step twice, got [1, 2] more than once"),
        ("b: {'*.noise.leakage': [0.3]}", 'b."*.noise.leakage": must be varied by one axis only, is also in sensitivity.axes.leakage'),
    ],
)
def test_a_faulty_axis_is_one_line(problems: Problems, axes: str, problem: str) -> None:
    assert problems(f"sensitivity:\n  axes:\n    {axes}") == [f"run.yaml:4: sensitivity.axes.{problem}"]


LIF = "kind: lif, tau_mem: 5.0e-3, dt: 1.0e-3"


@pytest.mark.parametrize(
    ("kind", "text", "line", "problem"),
    [
        ("mlp", "neuron: {kind: lfi}", 1, "neuron: no neuron is named 'lfi'; did you mean 'li'?"),
        (
            "mlp",
            "neuron:\n    kind: lif\n    dt: 1.0e-3\n    tau: 1.0",
            4,
            "neuron.tau: lif has no argument 'tau'; did you mean 'tau_mem'?",
        ),
        ("mlp", "neuron:\n    dt: 1.0\n    kind: lif\n    tau_mem: -1.0", 4, "neuron.tau_mem: must be more than 0 seconds, got -1"),
        ("mlp", "neuron: {kind: lif, dt: 1.0e-3}", 1, "neuron: lif must be given tau_mem, got {'kind': 'lif', 'dt': 0.001}"),
        ("mlp", "neuron: 5", 1, "neuron: must be a mapping (key: value), got 5"),
        ("mlp", f"neuron: {{{LIF}}}\n  encoder: {{kind: rate, gain: -1.0}}", 2, "encoder.gain: must be a finite number > 0, got -1.0"),
        ("mlp", "neuron: {kind: if, dt: 1.0e-3}\n  norm: mpbn", 2, "norm: 'mpbn' needs a neuron of kind lif, got 'if'"),
        ("mlp", "norm: bn\n  layers: ei", 2, "layers: 'ei' is there to do without norms, got norm='bn'"),
        (
            "mlp",
            "layers: ei\n  ei: {subtract: 0}",
            2,
            "ei: excitatory-inhibitory layers have no setting 'subtract'; did you mean 'subtractive'?",
        ),
        (
            "sequence",
            f"recurrent: true\n  neuron: {{{LIF.replace('lif', 'rlif')}}}",
            1,
            "recurrent: must be false for neurons that are so already, and for norms on membranes, got rlif and norm='none'",
        ),
        (
            "sequence",
            "neuron: {kind: if, dt: 1.0e-3}",
            -1,
            "readout_tau_mem: must be given where the neurons do not share one tau_mem, got neurons of kind if",
        ),
        (
            "vgg",
            f"depth: 5\n  neuron: {{{LIF.replace('lif', 'rlif')}}}",
            2,
            "neuron: behind convolutions it must be of a kind without dense weights from unit to unit, got 'rlif'",
        ),
    ],
)
def test_choices_of_a_spiking_model_are_named_where_they_stand(here: Path, kind: str, text: str, line: int, problem: str) -> None:
    shape = "input_shape: [1, 8, 8]\n  classes: 10" if kind == "vgg" else "sizes: [64, 12, 10]"
    Path("run.yaml").write_text(f"name: it\ndata: {{kind: digits}}\nmodel:\n  kind: spiking_{kind}\n  {text}\n  {shape}\n")
    with pytest.raises(ConfigError) as caught:
        load_config("run.yaml")
    assert caught.value.problems == (f"run.yaml:{line + 4}: model.{problem}",)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("mode: sobol", "mode: 'sobol' is not there yet, it comes in a later version; use grid or one_at_a_time"),
        ("mode: gird", "mode: must be 'grid' or 'one_at_a_time', got 'gird'; did you mean 'grid'?"),
        ("engine: {kind: dask}", "engine.kind: 'dask' is not there yet, it comes in a later version; use process"),
        ("engine: {workers: 0}", "engine.workers: must be ≥ 1, got 0"),
        ("chips: 0", "chips: must be ≥ 1, got 0"),
        ("chips: many", "chips: must be a whole number, got 'many'"),
        ("chips: []", "chips: must have at least 1 entry, got []"),
        ("chips: [4, -1]", "chips.1: must be ≥ 0, got -1"),
        ("chips: [4, 5, 4]", "chips: must not have an entry twice, got 4 more than once"),
        ("scopes: []", "scopes: must have at least 1 entry, got []"),
        ("scopes: [all, all]", "scopes: must not have an entry twice, got 'all' more than once"),
        ("scopes: [al]", "scopes.0: must be 'all', 'each' or 'all_but_one', got 'al'; did you mean 'all'?"),
        ("accept: {yield_at_least: 90}", "accept.yield_at_least: must be ≤ 1, got 90"),
        ("accept: {drop_most: 1}", "accept.drop_most: unknown key; did you mean 'drop_at_most'?"),
        ("overrides: {'*': 5}", "overrides.*: must be a mapping (key: value), got 5"),
    ],
)
def test_a_mistake_in_a_study_is_one_line(problems: Problems, text: str, problem: str) -> None:
    assert problems(f"sensitivity:\n  {text}") == [f"run.yaml:3: sensitivity.{problem}"]


def test_everything_that_may_not_be_left_out_is_named(here: Path) -> None:
    Path("empty.yaml").write_text("# nothing yet\n\n{}\n")
    with pytest.raises(ConfigError) as caught:
        load_config("empty.yaml")
    assert caught.value.problems == tuple(f"empty.yaml:3: {key}: must be given, is missing" for key in ("name", "data", "model"))


def test_all_mistakes_are_reported_at_once_with_the_files_they_are_in(problems: Problems) -> None:
    Path("middle.yaml").write_text("extends: base.yaml\ntrain:\n  epochs: five\n  optimiser: {}\ndata: {kind: digits, batch_size: 0}\n")
    text = "model: {kind: mlp, sizes: [64, x]}\nhardware: {profile: photonic_avn}\nsensitivity: {mode: sobol}"
    Path("base2.yaml").write_text("seed: x\n")
    Path("all.yaml").write_text(f"extends: [middle.yaml, base2.yaml]\n{text}")
    with pytest.raises(ConfigError) as caught:
        load_config("all.yaml", ["train.device=gpu", "log.every=3", "nothing"])
    assert sorted(caught.value.problems) == sorted(
        [
            "--set nothing: must be KEY=VALUE with a dotted key, such as train.epochs=3",
            "base2.yaml:1: seed: must be a whole number, got 'x'",
            "middle.yaml:5: data.batch_size: must be ≥ 1, got 0",
            "all.yaml:2: model.sizes.1: must be a whole number, got 'x'",
            "middle.yaml:3: train.epochs: must be a whole number, got 'five'",
            "middle.yaml:4: train.optimiser: unknown key; did you mean 'optimizer'?",
            "--set train.device=gpu: train.device: must be 'cpu', 'cuda' or 'auto', got 'gpu'; did you mean 'cpu'?",
            "all.yaml:4: sensitivity.mode: 'sobol' is not there yet, it comes in a later version; use grid or one_at_a_time",
            "--set log.every=3: log.every: unknown key; did you mean 'every_steps'?",
            "all.yaml:3: hardware.profile: no profile is named 'photonic_avn'; did you mean 'photonic_avnn'?",
        ]
    )


def test_a_mistake_in_an_extended_file_names_that_file(problems: Problems) -> None:
    Path("base.yaml").write_text("name: x\nmodel: {kind: mlp, sizes: [64, 10]}\ndata:\n  kind: digits\n  batch_size: many\n")
    assert problems("data: {validation: 0.2}") == ["base.yaml:5: data.batch_size: must be a whole number, got 'many'"]


def test_a_key_given_twice_is_an_error(problems: Problems) -> None:
    assert problems("train:\n  epochs: 1\n  epochs: 2\nseed: 1\nseed: 2") == [
        "run.yaml:4: train.epochs: given twice, first in line 3",
        "run.yaml:6: seed: given twice, first in line 5",
    ]


def test_what_is_no_yaml_is_an_error(problems: Problems) -> None:
    assert problems("train:\n  epochs: 5\n sed: 3") == [
        "run.yaml:4: not YAML: expected <block end>, but found '<block mapping start>', while parsing a block mapping"
    ]


def test_a_config_cannot_run_code(problems: Problems) -> None:
    assert problems("name: !!python/object/apply:os.system ['touch hacked']") == [
        "run.yaml:2: name: must be plain data, got the tag '!!python/object/apply:os.system'"
    ]
    assert not Path("hacked").exists()


def test_a_missing_file_suggests_its_neighbour(here: Path) -> None:
    with pytest.raises(ConfigError, match=r"^bas\.yaml: no such file; did you mean 'base\.yaml'\?$"):
        load_config("bas.yaml")


def test_a_missing_base_suggests_its_neighbour(here: Path) -> None:
    Path("run.yaml").write_text("seed: 1\nextends:\n  - bass.yaml\n")
    with pytest.raises(
        ConfigError, match=r"^run\.yaml:3: extends\.0: must be an existing file, got 'bass\.yaml'; did you mean 'base\.yaml'\?$"
    ):
        load_config("run.yaml")


def test_a_missing_packaged_config_suggests_the_nearest(here: Path) -> None:
    Path("run.yaml").write_text("extends: pkg:analogvnn/digits_mpl.yaml\n")
    with pytest.raises(ConfigError, match=r"^run\.yaml:1: extends: there is no packaged config 'pkg:analogvnn/digits_mpl\.yaml'"):
        load_config("run.yaml")
    with pytest.raises(ConfigError, match=r"^there is no packaged config 'pkg:none\.yaml'"):
        load_config("pkg:none.yaml")


def test_a_bare_name_is_no_base(here: Path) -> None:
    Path("run.yaml").write_text("extends: base\n")
    with pytest.raises(ConfigError) as caught:
        load_config("run.yaml")
    assert (
        str(caught.value) == "run.yaml:1: extends: must be a path that ends in .yaml, or pkg: and the name of a shipped config, got 'base'"
    )


def test_a_circle_is_refused(here: Path) -> None:
    Path("one.yaml").write_text("extends: two.yaml\n")
    Path("two.yaml").write_text("seed: 1\nextends: [base.yaml, one.yaml]\n")
    with pytest.raises(ConfigError) as caught:
        load_config("one.yaml")
    assert str(caught.value) == "two.yaml:2: extends.1: must not lead back to itself, got one.yaml -> two.yaml -> one.yaml"


def test_a_list_is_no_config(here: Path) -> None:
    Path("run.yaml").write_text("- name: x\n")
    with pytest.raises(ConfigError) as caught:
        load_config("run.yaml")
    assert str(caught.value) == "run.yaml:1: must be a mapping (key: value) at the top, got [{'name': 'x'}]"


def test_a_mapping_has_no_lines_but_keys(here: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config({"name": "x", "data": {"kind": "digits"}, "model": {"kind": "mlp", "sizes": (64, "a")}, "train": {"epochs": 1.5}})
    assert caught.value.problems == (
        "config: model.sizes.1: must be a whole number, got 'a'",
        "config: train.epochs: must be a whole number, got 1.5",
    )


def test_a_block_of_several_kinds_must_say_which(here: Path) -> None:
    Path("run.yaml").write_text("name: x\ndata: {kind: digits}\nmodel:\n  sizes: [64, 10]\ntrain:\n  optimizer:\n    lr: 1\n")
    with pytest.raises(ConfigError) as caught:
        load_config("run.yaml")
    assert caught.value.problems == (
        "run.yaml:3: model.kind: must be given, is missing",
        "run.yaml:6: train.optimizer.kind: must be given, is missing",
    )


def test_an_object_in_place_of_a_block_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"must be a mapping \(key: value\), got AcceptConfig\("):
        TrainConfig.model_validate({"optimizer": AcceptConfig()})


def test_a_mapping_must_hold_plain_data() -> None:
    with pytest.raises(ConfigError, match=r"^config: train\.epochs: must be plain data, got <object object at"):
        load_config({"train": {"epochs": object()}})
    with pytest.raises(ConfigError, match=r"^config: train: a key must be a text, got 1$"):
        load_config({"train": {1: 2}})

"""From a configuration to a run folder, and from there to a model."""

from __future__ import annotations

import csv
import json
import logging
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.assets import asset
from neurosim.datasets import DATASETS, Dataset, Split, batches
from neurosim.errors import CheckpointError, ConfigError, DataError, RunError
from neurosim.models import MODELS
from neurosim.training import Loop, Run, read_weights, rebuild
from neurosim.training.checkpoint import load_checkpoint

Make = Callable[..., dict[str, Any]]


def log(run: Run, event: str) -> list[dict[str, Any]]:
    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["event"] == event]


def weights_of(run: Run, which: str = "best") -> str:
    return read_weights(run.path / which / "weights.safetensors")[1]["sha256"]


def test_a_run_leaves_what_its_folder_promises(make: Make) -> None:
    run = ns.train(make())
    assert re.fullmatch(r"\d{8}-\d{6}(-\d+)?", run.path.name)
    assert run.path.parent.name == "small"
    found = {path.relative_to(run.path).as_posix() for path in run.path.rglob("*") if path.is_file()}
    per_weights = {f"{which}/{name}" for which in ("best", "last") for name in ("weights.safetensors", "config.yaml", "metrics.json")}
    per_run = {"resolved.yaml", "versions.json", "metrics.csv", "metrics.jsonl", "metrics.json", "conversion.txt", ".lock"}
    assert found == per_weights | per_run | {"checkpoints/step-00000008.pt", "checkpoints/step-00000016.pt"}


def _refuse(error: type[Exception]) -> Callable[..., None]:
    def refusing(*_: object) -> None:
        raise error("no")

    return refusing


@pytest.mark.parametrize("error", [ConfigError, DataError])
def test_a_start_that_fails_leaves_no_folder(
    make_digital: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    monkeypatch.setattr(Loop, "update", _refuse(error))
    with pytest.raises(error):
        ns.train(make_digital())
    assert list(tmp_path.glob("runs/small/*")) == []


def test_a_run_that_fails_after_a_checkpoint_keeps_its_folder(make_digital: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Loop, "finish", _refuse(ConfigError))
    with pytest.raises(ConfigError):
        ns.train(make_digital())
    assert len(list(tmp_path.glob("runs/small/*/checkpoints/step-*.pt"))) == 2


def test_a_resume_that_fails_keeps_the_folder_it_was_given(make_digital: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Loop, "update", _refuse(MemoryError))
    with pytest.raises(MemoryError):
        ns.train(make_digital())
    (folder,) = tmp_path.glob("runs/small/*")
    monkeypatch.setattr(Loop, "update", _refuse(ConfigError))
    with pytest.raises(ConfigError):
        ns.train(resume=folder)
    assert (folder / "resolved.yaml").is_file()


def test_one_override_needs_no_list(make_digital: Make) -> None:
    run = ns.train(make_digital(), overrides="train.epochs=1")
    assert ns.load_config(run.path / "resolved.yaml").train.epochs == 1


@pytest.mark.parametrize("given", [3, [1], 0.5])
def test_what_is_no_configuration_is_refused(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"train: must be given a configuration .*, got"):
        ns.train(given)


def test_the_resolved_configuration_is_the_run_again(make: Make) -> None:
    config = make()
    run = ns.train(config)
    assert ns.load_config(run.path / "resolved.yaml") == ns.load_config(config)
    assert weights_of(ns.train(run.path / "resolved.yaml")) == weights_of(run)


def test_two_runs_of_a_configuration_give_the_same_numbers_and_another_seed_gives_others(make: Make) -> None:
    first, second, other = ns.train(make()), ns.train(make()), ns.train(make(seed=6))
    assert first.path != second.path
    assert first.metrics == second.metrics
    assert weights_of(first) == weights_of(second) != weights_of(other)


def test_generators_and_threads_of_the_user_stay_as_they_were(make_digital: Make) -> None:
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    ns.train(make_digital(train={"threads": threads + 1, "epochs": 1}))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_a_digital_network_learns_the_digits(make_digital: Make) -> None:
    run = ns.train(make_digital(train={"epochs": 15, "optimizer": {"lr": 1e-2}}))
    assert run.metrics["test_accuracy"] > 0.85
    assert log(run, "epoch")[-1]["train_loss"] < 0.5 * log(run, "epoch")[0]["train_loss"]


def test_a_photonic_network_learns_the_digits(make: Make) -> None:
    run = ns.train(make(train={"epochs": 6, "optimizer": {"lr": 1e-2}}))
    tested = len(ns.load_dataset("digits").test.labels)
    chance = 0.1 + 5 * math.sqrt(0.1 * 0.9 / tested)  # five standard deviations above guessing
    assert run.metrics["test_accuracy"] > max(chance, 0.3)


def test_the_log_has_a_row_every_few_steps_one_an_epoch_and_one_for_the_test(make: Make) -> None:
    run = ns.train(make())
    assert [row["step"] for row in log(run, "step")] == [3, 6, 9, 12, 15]
    assert [(row["epoch"], row["step"]) for row in log(run, "epoch")] == [(1, 8), (2, 16)]
    assert [row["epoch"] for row in log(run, "test")] == [2]
    with (run.path / "metrics.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["event"] for row in table] == ["step", "step", "epoch", "step", "step", "step", "epoch", "test"]
    assert float(table[2]["validation_accuracy"]) == log(run, "epoch")[0]["validation_accuracy"]


def test_the_learning_rate_in_the_log_is_that_of_the_schedule(make_digital: Make) -> None:
    run = ns.train(make_digital(train={"scheduler": {"kind": "cosine", "warmup_steps": 3}}, log={"every_steps": 1}))
    expected = [3e-3 * min(1, (step + 1) / 3) * 0.5 * (1 + math.cos(math.pi * max(0, step - 3) / (16 - 3))) for step in range(16)]
    assert [row["lr"] for row in log(run, "step")] == pytest.approx(expected)


def test_the_recorded_test_accuracy_is_that_of_the_loaded_model(make: Make) -> None:
    run = ns.train(make())
    data = ns.load_dataset("digits")
    assert ns.evaluate(ns.load(run.path), batches(data.test, 150)) == run.metrics["test_accuracy"]
    assert ns.evaluate(run.model, batches(data.test, 150)) == run.metrics["test_accuracy"]


def test_the_best_epoch_is_the_best_on_the_validation_set(make: Make) -> None:
    run = ns.train(make(train={"epochs": 5, "optimizer": {"lr": 0.03}}))
    course = [row["validation_accuracy"] for row in log(run, "epoch")]
    assert run.metrics["validation_accuracy"] == max(course)
    assert run.metrics["best_epoch"] == course.index(max(course)) + 1
    assert json.loads((run.path / "best" / "metrics.json").read_text())["epoch"] == run.metrics["best_epoch"]


def _digits_with_other_test_labels() -> Dataset:
    data = ns.load_dataset("digits")
    scrambled = Split(data.test.images, (data.test.labels + 1) % 10)
    return Dataset("scrambled", train=data.train, test=scrambled, classes=data.classes, source=data.source)


def test_what_is_chosen_does_not_depend_on_the_test_set(make_digital: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DATASETS, "_entries", {**DATASETS._entries, "scrambled_digits": _digits_with_other_test_labels})
    honest = ns.train(make_digital(train={"epochs": 4}))
    scrambled = ns.train(make_digital(train={"epochs": 4}, data={"kind": "scrambled_digits"}))
    assert weights_of(honest) == weights_of(scrambled)
    assert honest.metrics["best_epoch"] == scrambled.metrics["best_epoch"]
    assert honest.metrics["test_accuracy"] != scrambled.metrics["test_accuracy"]


def test_without_a_validation_set_the_last_epoch_counts(make_digital: Make) -> None:
    run = ns.train(make_digital(data={"validation": 0}))
    assert run.metrics["best_epoch"] == 2
    assert weights_of(run, "best") == weights_of(run, "last")
    assert "validation_accuracy" not in run.metrics


def test_early_stopping_without_a_validation_set_is_refused(make_digital: Make) -> None:
    with pytest.raises(ConfigError, match="needs a validation set to watch"):
        ns.train(make_digital(data={"validation": 0}, train={"early_stopping": {"patience": 2}}))


def test_early_stopping_ends_a_run_that_does_not_get_better(make_digital: Make) -> None:
    run = ns.train(make_digital(train={"epochs": 9, "optimizer": {"lr": 1e-12}, "early_stopping": {"patience": 2}}))
    assert run.metrics["epochs"] == 3
    assert run.metrics["stopped_early"]
    assert ns.train(resume=run.path).metrics == run.metrics


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_trains_and_leaves_float32_weights(make: Make, precision: str) -> None:
    run = ns.train(make(train={"precision": precision, "epochs": 1}))
    assert {value.dtype for value in run.model.parameters()} == {torch.float32}
    assert log(run, "epoch")[0]["train_loss"] == pytest.approx(log(ns.train(make(train={"epochs": 1})), "epoch")[0]["train_loss"], rel=0.05)


def test_a_run_that_diverges_says_where_and_keeps_its_last_good_checkpoint(
    make_digital: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Loop, "learning_rate", lambda loop, step: 1e-2 if step < 9 else 1e28)
    config = make_digital(train={"optimizer": {"kind": "sgd"}, "checkpoint": {"every_steps": 1, "keep": 1}})
    with pytest.raises(
        RunError, match=r"step 1\d \(epoch 2\): .* at learning rate 1e\+28; the last good checkpoint is .*step-0000.*lower train"
    ):
        ns.train(config)
    (kept,) = tmp_path.glob("runs/small/*/checkpoints/*")
    assert all(bool(value.isfinite().all()) for value in load_checkpoint(kept)["model"].values())


def test_weights_that_are_not_finite_are_never_saved(make_digital: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Broken(nn.Linear):
        """Trains like any layer; one of its weights, which no output depends on, is not finite."""

        def __init__(self) -> None:
            super().__init__(64, 10)
            self.register_buffer("unused", torch.tensor(math.inf))

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.flatten(1))

    monkeypatch.setattr(MODELS, "_entries", {**MODELS._entries, "broken": Broken})
    with pytest.raises(RunError, match=r"after 8 steps: a weight is not finite .*there is no checkpoint yet"):
        ns.train(make_digital(model=None) | {"model": {"kind": "broken"}})
    assert not list(tmp_path.rglob("*.pt"))
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_gradient_that_is_not_finite_ends_the_run(make_digital: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    class Cusp(nn.Linear):
        """The slope of a square root at 0 is not finite; the value is."""

        def __init__(self) -> None:
            super().__init__(64, 10)
            nn.init.zeros_(self.weight)
            nn.init.zeros_(self.bias)

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.flatten(1)).abs().sqrt()

    monkeypatch.setattr(MODELS, "_entries", {**MODELS._entries, "cusp": Cusp})
    with pytest.raises(RunError, match=r"step 1 \(epoch 1\): a gradient is not finite"):
        ns.train(make_digital(model=None) | {"model": {"kind": "cusp"}})


def test_the_ramp_of_the_noise_is_in_the_log(make: Make) -> None:
    run = ns.train(make(train={"noise": {"schedule": "linear_ramp", "ramp_epochs": 1}}, log={"every_steps": 4}))
    assert [row["noise_strength"] for row in log(run, "step")] == [0.5, 1.0, 1.0, 1.0]


def test_tensorboard_gets_the_rows(make_digital: Make) -> None:
    run = ns.train(make_digital(log={"tensorboard": True}, train={"epochs": 1}))
    assert list((run.path / "tensorboard").glob("events.out.tfevents.*"))


def test_augmented_training_is_reproducible_and_differs(make_digital: Make) -> None:
    plain, one, two = (ns.train(make_digital(data={"augment": kind}, train={"epochs": 1})) for kind in ("none", "crop_flip", "crop_flip"))
    assert weights_of(one) == weights_of(two) != weights_of(plain)


def test_label_smoothing_is_in_the_training_loss_and_not_in_the_validation(make_digital: Make) -> None:
    frozen = {"optimizer": {"lr": 1e-12}, "epochs": 1}
    plain, smooth = (ns.train(make_digital(train={**frozen, "label_smoothing": value})) for value in (0, 0.5))
    assert plain.metrics["validation_loss"] == pytest.approx(smooth.metrics["validation_loss"], rel=1e-6)
    assert plain.metrics["train_loss"] != pytest.approx(smooth.metrics["train_loss"], rel=1e-4)


def test_a_model_starts_from_given_weights(make_digital: Make) -> None:
    first = ns.train(make_digital(train={"epochs": 1}))
    file = first.path / "best" / "weights.safetensors"
    frozen = {"optimizer": {"lr": 1e-30}, "epochs": 1}
    second = ns.train(make_digital(model={"init_from": str(file)}, train=frozen, seed=9))
    assert weights_of(second) == weights_of(first)


def test_weights_of_another_shape_are_refused_by_the_key_that_names_them(make_digital: Make) -> None:
    first = ns.train(make_digital(train={"epochs": 1}))
    file = first.path / "best" / "weights.safetensors"
    with pytest.raises(ConfigError, match=r"model\.init_from: .*\n.*fc1\.weight: must have shape \(17, 64\), got \(16, 64\)"):
        ns.train(make_digital(model={"init_from": str(file), "sizes": [64, 17, 10]}))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [([63, 16, 10], r"must take images of shape \(1, 8, 8\), 64 values each"), ([64, 16, 9], r"must give 10 outputs a sample.*got \(9,\)")],
)
def test_a_model_that_does_not_fit_the_data_is_refused_before_training(make_digital: Make, sizes: list[int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ns.train(make_digital(model={"sizes": sizes}))


def test_loaded_models_are_converted_and_in_evaluation_mode(make: Make) -> None:
    run = ns.train(make())
    model = ns.load(run.path)
    assert not model.training
    assert list(ns.analog_layers(model)) == ["conv1", "fc1", "fc2"]
    assert set(ns.get_draws(model).values()) == {0}


def test_best_last_and_single_files_can_be_loaded(make: Make, tmp_path: Path) -> None:
    run = ns.train(make())
    best = run.path / "best" / "weights.safetensors"
    alone = tmp_path / "sent-by-mail.safetensors"
    alone.write_bytes(best.read_bytes())
    expected = ns.load(run.path).state_dict()
    for source in (run.path / "best", best, alone):
        loaded = ns.load(source).state_dict()
        assert all(torch.equal(loaded[name], value) for name, value in expected.items())
    last = load_checkpoint(run.path / "checkpoints" / "step-00000016.pt")["model"]
    assert all(torch.equal(value, last[name]) for name, value in ns.load(run.path, which="last").state_dict().items())


def test_what_cannot_be_loaded_is_refused_with_the_reason(make_digital: Make, tmp_path: Path) -> None:
    run = ns.train(make_digital(train={"epochs": 1}))
    with pytest.raises(CheckpointError, match="which must be 'best' or 'last', got 'bset'; did you mean 'best'"):
        ns.load(run.path, which="bset")
    with pytest.raises(CheckpointError, match="does not exist"):
        ns.load(tmp_path / "nothing")
    (run.path / "best" / "weights.safetensors").unlink()
    with pytest.raises(CheckpointError, match="no best weights yet"):
        ns.load(run.path)
    bare = tmp_path / "bare.safetensors"
    ns.training.save_weights(bare, nn.Linear(1, 1), {})
    with pytest.raises(CheckpointError, match="must say in its head which configuration"):
        ns.load(bare)


def test_a_profile_that_was_changed_since_is_a_warning(make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    device = tmp_path / "device" / "profile.yaml"
    device.parent.mkdir()
    device.write_bytes(asset("hardware/photonic_avnn/profile.yaml").read_bytes())
    run = ns.train(make(hardware={"profile": str(device)}, train={"epochs": 1}))
    with caplog.at_level(logging.WARNING):
        ns.load(run.path)
        assert not caplog.records
        device.write_text(device.read_text().replace("summary: ", "summary: Not the same any more. ", 1))
        ns.load(run.path)
    assert "was changed since these weights were trained on it" in caplog.text


def test_a_changed_weight_in_a_run_is_noticed(make_digital: Make) -> None:
    run = ns.train(make_digital(train={"epochs": 1}))
    file = run.path / "best" / "weights.safetensors"
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match="do not match their digest"):
        ns.load(run.path)


class _Mixed(nn.Module):
    """A linear layer that can be put on hardware, and a bilinear one that cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 8)
        self.pairs = nn.Bilinear(8, 8, 10)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x.flatten(1))
        out: Tensor = self.pairs(hidden, hidden)
        return out


def test_a_layer_that_stays_digital_is_a_warning_and_written_down(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(MODELS, "_entries", {**MODELS._entries, "mixed": _Mixed})
    with caplog.at_level(logging.WARNING):
        run = ns.train(make(model=None, train={"epochs": 1}) | {"model": {"kind": "mixed"}})
    assert "pairs (Bilinear) stays digital, it cannot be put on photonic_avnn" in caplog.text
    table = (run.path / "conversion.txt").read_text()
    assert "1 layers converted" in table
    assert "refused" in table


def test_a_rebuilt_model_is_the_one_that_is_trained_without_its_weights(make: Make) -> None:
    config = ns.load_config(make())
    model = rebuild(config)
    assert model.state_dict().keys() == ns.train(config).model.state_dict().keys()


def test_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(ConfigError, match="must be given a configuration, or a run to resume"):
        ns.train()


def test_versions_name_the_recipe_and_the_configuration(make_digital: Make, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        run = ns.train(make_digital(train={"epochs": 1}))
    record = json.loads((run.path / "versions.json").read_text())
    assert record["recipe"] == "classify"
    assert record["neurosim"] == ns.__version__
    assert not caplog.records

"""Recipes that measure a network and train nothing, and the studies made of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.training.rehearsal import rehearse


def run(config: str, place: Path, *overrides: str) -> ns.Run:
    return ns.train(config, overrides=[*overrides, f"log.dir={place}"])


@pytest.mark.parametrize("norm", ["batch", "l1_batch", "unified", "online", "learned_scale", "gpas"])
def test_folded_networks_compute_the_same_whatever_the_sign_of_their_scales(norm: str, tmp_path: Path) -> None:
    found = run("pkg:studies/fold_cnn.yaml", tmp_path, f"model.norm={norm}").metrics
    assert (found["norms_folded"], found["norms_left"]) == (3, 0)
    assert 0 < found["fold_error"] == max(found[f"fold_error_{sign}"] for sign in ("positive", "negative", "both")) <= 1e-6
    assert 0 < found["fold_error_64"] <= 1e-12


@pytest.mark.parametrize("norm", ["bn+mpbn", "bntt"])
def test_folded_spiking_networks_spike_the_same(norm: str, tmp_path: Path) -> None:
    done = run("pkg:studies/fold_spiking.yaml", tmp_path, f"model.norm={norm}")
    assert [value for name, value in done.metrics.items() if name.startswith("fold_error")] == [0] * 5
    assert (done.metrics["norms_folded"], done.metrics["norms_left"]) == ((6, 0) if norm == "bn+mpbn" else (0, 3))
    images, _ = next(ns.datasets.batches(ns.load_dataset("digits").test, 64))
    with torch.no_grad():
        assert float(done.model(images).std()) > 0.05  # what is compared is not silent


def test_a_norm_of_every_sample_is_left_as_it_is(tmp_path: Path) -> None:
    found = run("pkg:studies/fold_cnn.yaml", tmp_path, "model.norm=layer").metrics
    assert (found["fold_error"], found["norms_folded"], found["norms_left"]) == (0, 0, 3)


def test_slopes_of_a_network_are_those_of_the_integral(tmp_path: Path) -> None:
    sigma = 0.0927
    found = {name: run("pkg:studies/noisy_slopes_mlp.yaml", tmp_path, f"model.activation={name}").metrics for name in ("relu", "gelu")}
    assert found["relu"]["slope_noise_predicted"] == pytest.approx(math.atan(sigma) / math.pi, rel=0.02)
    for one in found.values():
        assert one["slope_noise"] == pytest.approx(one["slope_noise_predicted"], rel=0.2)  # pixels are not Gaussian
    assert found["relu"]["slope_noise"] / found["gelu"]["slope_noise"] == pytest.approx(12.5, rel=0.2)
    assert 0 < found["gelu"]["gradient_error"] < found["relu"]["gradient_error"] < 1


def test_without_noise_gradients_are_right(tmp_path: Path) -> None:
    found = run("pkg:studies/noisy_slopes_mlp.yaml", tmp_path, "hardware.overrides.fc*={output.noise: null}").metrics
    assert (found["slope_noise"], found["slope_noise_predicted"], found["gradient_error"]) == (0, 0, 0)


def test_what_the_recipes_cannot_measure_is_refused_before_anything_is_left_behind(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="hardware: must be given for the recipe slopes"):
        run("pkg:studies/noisy_slopes_mlp.yaml", tmp_path, "hardware=null")
    with pytest.raises(ConfigError, match="hardware: must be null for the recipe folding"):
        run("pkg:studies/fold_cnn.yaml", tmp_path, "hardware={profile: ideal}")
    assert not any(tmp_path.rglob("versions.json"))


def test_a_study_without_training_knows_how_long_it_takes_and_keeps_what_is_done(tmp_path: Path) -> None:
    plan: Any = {"only": {"norm": ["batch"], "layers": ["conv"]}, "seeds": 1, "out": tmp_path / "folds"}
    told = rehearse(ns.load_config("pkg:studies/fold_cnn.yaml"))
    assert told.steps == 1
    assert told.seconds > 0
    first = ns.study("pkg:studies/folds.yaml", **plan)
    assert ns.study("pkg:studies/folds.yaml", **plan).table() == first.table()
    assert 0 < first.table()[0].mean <= 1e-6
    assert "e-07" in str(first)  # small numbers keep their digits

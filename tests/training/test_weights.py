"""Weights files: they say what they belong to and why they do not fit."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from neurosim.errors import CheckpointError
from neurosim.training.weights import all_finite, load_weights, read_weights, save_weights


def model(hidden: int = 4) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(hidden)
        return nn.Sequential(nn.Linear(3, hidden), nn.BatchNorm1d(hidden), nn.Linear(hidden, 2))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.second = nn.Linear(3, 3)
        self.second.weight = self.first.weight


def test_weights_come_back_bit_for_bit_with_their_facts(tmp_path: Path) -> None:
    source, target = model(), nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    save_weights(tmp_path / "w.safetensors", source, {"step": "7"})
    facts = load_weights(target, tmp_path / "w.safetensors")
    assert facts["step"] == "7"
    assert facts["format"] == "pt"
    for name, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], value)


def test_tied_weights_stay_tied(tmp_path: Path) -> None:
    source, target = Tied(), Tied()
    save_weights(tmp_path / "w.safetensors", source, {})
    load_weights(target, tmp_path / "w.safetensors")
    assert target.second.weight is target.first.weight
    assert torch.equal(target.first.weight, source.first.weight)


def test_a_file_of_another_program_needs_no_digest(tmp_path: Path) -> None:
    save_file({"weight": torch.ones(2, 2), "bias": torch.zeros(2)}, tmp_path / "w.safetensors")
    layer = nn.Linear(2, 2)
    load_weights(layer, tmp_path / "w.safetensors")
    assert torch.equal(layer.weight, torch.ones(2, 2))


def test_weights_that_do_not_fit_are_refused_with_every_reason(tmp_path: Path) -> None:
    save_file({"weigth": torch.ones(2, 2), "bias": torch.zeros(3)}, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError) as caught:
        load_weights(nn.Linear(2, 2), tmp_path / "w.safetensors")
    text = str(caught.value)
    assert "weight: is in the model, is not in the file" in text
    assert "weigth: is in the file, is not in the model; did you mean 'weight'?" in text
    assert "bias: must have shape (2,), got (3,)" in text


def test_a_long_list_of_reasons_is_shortened(tmp_path: Path) -> None:
    save_file({"x": torch.ones(1)}, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match="and 4 more"):
        load_weights(model(), tmp_path / "w.safetensors")  # 9 entries of the model and one of the file


def test_a_changed_weight_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(path, model(), {})
    data = bytearray(path.read_bytes())
    data[-3] ^= 4
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="do not match their digest"):
        read_weights(path)


def test_a_file_that_is_no_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(CheckpointError, match="must be a safetensors file"):
        read_weights(tmp_path / "w.safetensors")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such weights file"):
        read_weights(tmp_path / "w.safetensors")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_bad_number_makes_a_model_not_finite(value: float) -> None:
    network = model()
    assert all_finite(network)
    network.get_buffer("1.running_var")[2] = value
    assert not all_finite(network)

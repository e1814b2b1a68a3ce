"""Every entry of the registry of norms, by the contract of its kind."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.norms import NORMS, Entry, RMSNorm, register
from tests.norms import contracts


def of_kind(kind: str) -> list[str]:
    return [name for name in ns.NORMS if ns.NORMS[name].kind == kind]


def model() -> nn.Module:
    """What initialisers and regularisers are tried on."""
    return ns.models.mlp([6, 5, 4, 3])


@pytest.mark.parametrize("name", list(ns.NORMS))
def test_an_entry_says_all_that_the_table_shows(name: str) -> None:
    contracts.check_facts(ns.NORMS[name])


@pytest.mark.parametrize("name", of_kind("module"))
def test_a_norm_keeps_its_contract(name: str) -> None:
    contracts.check_module(ns.NORMS[name])


@pytest.mark.parametrize("name", [name for name in ns.NORMS if ns.NORMS[name].kind != "module"])
def test_an_entry_that_is_no_norm_keeps_the_contract_of_its_kind(name: str) -> None:
    entry = ns.NORMS[name]
    if entry.kind == "initialiser":
        contracts.check_initialiser(entry, model)
    elif entry.kind == "regulariser":
        contracts.check_regulariser(entry, model)
    else:
        checks = {"wrapper": contracts.check_wrapper, "parametrization": contracts.check_parametrization}
        checks.get(entry.kind, contracts.check_procedure)(entry)


@pytest.mark.parametrize("name", [name for name in ns.NORMS if ns.NORMS[name].kind != "module"])
def test_what_is_no_module_is_refused_with_the_words_that_say_how_to_use_it(name: str) -> None:
    entry = ns.NORMS[name]
    assert entry.usage
    message = f"and '{name}' is an? {entry.kind}; use {re.escape(entry.usage)}$"
    with pytest.raises(ConfigError, match=message):
        ns.models.mlp([4, 8, 3], norm=name)
    with pytest.raises(ConfigError, match=message):
        ns.swap_norm(nn.BatchNorm1d(4), name)
    if name != "mpbn":  # which a spiking model takes
        with pytest.raises(ConfigError, match=message):
            ns.models.spiking_mlp([4, 8, 3], norm=name)


def test_every_import_gives_all_entries() -> None:
    code = "from neurosim.norms import NORMS; print('mpbn' in NORMS, *NORMS)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert found == ["True", *ns.NORMS]


def test_statistics_and_class_of_folding_agree() -> None:
    allowed = {"F0": {"none", "running"}, "F1": {"none"}, "F2": {"sample", "running and sample"}, "F3": {"batch"}, "FW": {"weights"}}
    assert {name: ns.NORMS[name].stats for name in ns.NORMS if ns.NORMS[name].stats not in allowed[ns.NORMS[name].fold]} == {}


def test_a_module_that_is_no_norm_is_not_registered() -> None:
    with pytest.raises(ConfigError, match=r"norm 'mine': a module must be a class of neurosim.norms.Norm, got Linear"):
        register("mine", formula="y", fold="F2")(nn.Linear)
    with pytest.raises(ConfigError, match=r"norm 'mine': fold: must be one of 'F0', .*, got 'F9'"):
        register("mine", formula="y", fold="F9")  # type: ignore[arg-type]  # that is the point
    assert "mine" not in NORMS


class _Halved(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight / 2


def test_the_contract_of_parametrizations_holds_for_one_and_refuses_what_folds_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NORMS, "_entries", {})
    register("halved", kind="parametrization", formula="W / 2", fold="FW")(_Halved)
    contracts.check_parametrization(NORMS["halved"])
    register("badly", kind="parametrization", formula="W / 2", fold="F2")(_Halved)
    with pytest.raises(AssertionError):
        contracts.check_parametrization(NORMS["badly"])


def test_the_contracts_of_initialisers_and_regularisers_hold_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NORMS, "_entries", {})

    @register("small", kind="initialiser", formula="W ← W / 10", fold="FW")
    def small(model: nn.Module) -> nn.Module:
        with torch.no_grad():
            for value in model.parameters():
                value.div_(10)
        return model

    @register("squares", kind="regulariser", formula="Σ w²", fold="FW")
    class Squares(nn.Module):
        def forward(self, model: nn.Module) -> Tensor:
            return torch.stack([value.square().sum() for value in model.parameters()]).sum()

    assert small is NORMS["small"].make
    assert Squares is NORMS["squares"].make
    contracts.check_initialiser(NORMS["small"], model)
    contracts.check_regulariser(NORMS["squares"], model)
    register("copied", kind="initialiser", formula="W", fold="FW")(copy.deepcopy)
    with pytest.raises(AssertionError):
        contracts.check_initialiser(NORMS["copied"], model)


#: the catalogue of normalizations that this package owes, by id, and who covers each alone or with others; placements follow
CATALOGUE = {
    "B1": {"batch", "bn_over_time"},
    "B2": {"tdbn"},
    "B3": {"mpbn"},
    "B4": {"online"},
    "B5": {"power"},
    "B6": {"unified"},
    "B7": {"batch_statistics"},
    "B8": {"recalibrate"},
    "B9": {"layer"},
    "B10": {"rms", "crms"},
    "B11": {"layer"},
    "B12": {"l1_batch", "l1_layer", "l1_rms"},
    "B13": {"lp", "clamp"},
    "B14": {"scale_norm", "feature_norm"},
    "B15": {"scale_norm"},
    "B16": {"group", "instance", "ibn"},
    "B17": {"grn"},
    "B18": {"gdn"},
    "B19": {"ei"},
    "B20": {"message"},
    "B21": {"evonorm_b0", "evonorm_b1", "evonorm_b2", "evonorm_s0", "evonorm_s1"},
    "B22": {"frn"},
    "B23": {"dyt"},
    "B24": {"seednorm"},
    "B25": {"sdd"},
    "B26": {"ngpt", "learned_scale", "unit_weights"},
    "B27": {"residual", "attention"},
    "B28": {"layer_scaling"},
    "B29": {"gpas"},
    "B30": {"freeze_statistics"},
    "B31": {"weight_norm"},
    "B32": {"weight_standardization"},
    "B33": {"norm_free"},
    "B34": {"fixup"},
    "B35": {"skip_init"},
    "B36": {"weight_conditioning"},
    "B37": {"gmp"},
    "B38": {"norm_loss"},
    "B39": {"shaped_batch"},
    "B40": {"feature_norm"},
    "B41": {"prenormalized_layer"},
}


def test_nothing_of_the_catalogue_is_missing() -> None:
    found: dict[str, set[str]] = {}
    for name in ns.NORMS:
        for seed in ns.NORMS[name].seeds:
            found.setdefault(seed, set()).add(name)
    assert {seed: found.get(seed) for seed in CATALOGUE} == CATALOGUE


#: the same function of real numbers, which they compute otherwise in 16 bits: what that changes is tested with their family
OF_ANOTHER_PRECISION = {("layer", "prenormalized_layer")}


def made(entry: Entry) -> Any:
    """The example with its parameters moved; all examples draw the same first weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return contracts.moved(entry.example())


def answers(entry: Entry) -> dict[str, Tensor]:
    """What an entry gives for every input of its kind that it takes."""
    with torch.no_grad():
        if entry.kind == "module":
            norm = made(entry)
            x = contracts.inputs_of(norm)
            for at in range(2):
                norm(x * (1 + at) + at)
            return {"x": norm.eval()(x).flatten()}
        if entry.kind == "parametrization":
            layer = nn.Linear(6, 5)
            layer.weight.copy_(contracts.draw(5, 6))
            parametrize.register_parametrization(layer, "weight", entry.example())
            return {"weight": contracts.moved(layer).weight}
        found = {}
        for x in (contracts.draw(4, 6, 16).abs(), contracts.draw(6, 16).abs()):
            wrapper = made(entry)
            if entry.name == "ei":
                ns.ei.initialize(wrapper, x, seed=0)
            with contextlib.suppress(ConfigError):
                found[f"{x.dim()} axes"] = wrapper.eval()(x)
        return found


def alike(kind: str) -> set[tuple[str, str]]:
    """Entries that give the same for all inputs that both take; batch norms of single steps and of sequences take different ones."""
    found = {name: answers(NORMS[name]) for name in of_kind(kind)}
    assert all(found.values())
    same = set()
    for one, other in itertools.combinations(sorted(found), 2):
        pairs = [(found[one][key], found[other][key]) for key in found[one].keys() & found[other].keys()]
        if pairs and all(a.shape == b.shape and torch.allclose(a, b, rtol=1e-3, atol=1e-3) for a, b in pairs):
            same.add((one, other))
    return same


@pytest.mark.parametrize("kind", ["module", "wrapper", "parametrization"])
def test_no_two_entries_compute_the_same(kind: str) -> None:
    assert alike(kind) == (OF_ANOTHER_PRECISION if kind == "module" else set())


@pytest.mark.parametrize("name", ["rms", "message", "skip_init", "mpbn", "ei", "weight_norm", "gmp"])
def test_a_copy_under_another_name_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NORMS, "_entries", {**NORMS._entries, f"{name}_2": dataclasses.replace(NORMS[name])})
    assert (name, f"{name}_2") in alike(NORMS[name].kind)


def test_a_copy_whose_parameter_has_another_name_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    class Renamed(RMSNorm):
        def __init__(self, features: int) -> None:
            super().__init__(features)
            self.gain = self.weight
            del self._parameters["weight"]

        def __getattr__(self, name: str) -> Any:
            return super().__getattr__("gain" if name == "weight" and "gain" in self._parameters else name)

    monkeypatch.setattr(NORMS, "_entries", {**NORMS._entries})
    register("renamed", formula="y = x", fold="F2")(Renamed)
    assert ("renamed", "rms") in alike("module")


def test_a_procedure_that_does_nothing_breaks_the_contract() -> None:
    def nothing(model: nn.Module) -> int:
        return 3

    def same(model: nn.Module) -> nn.Module:
        return copy.deepcopy(model)

    @contextlib.contextmanager
    def still(model: nn.Module) -> Iterator[None]:
        yield

    @contextlib.contextmanager
    def left(model: nn.Module) -> Iterator[None]:
        ns.norms.unit_weights(model)
        yield

    for make in (nothing, same, still, left):
        with pytest.raises(AssertionError):
            contracts.check_procedure(dataclasses.replace(NORMS["recalibrate"], make=make))


def test_every_id_of_the_catalogue_has_an_entry() -> None:
    covered = {seed for name in ns.NORMS for seed in ns.NORMS[name].seeds}
    assert covered == {f"B{at}" for at in range(1, 42)}

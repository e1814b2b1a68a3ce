import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.sweep.identity import data_fingerprint, metric_fingerprint, model_fingerprint, study_identity
from neurosim.training.metrics import METRICS
from tests.sweep import tiny


def change_weight(model: nn.Module) -> None:
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1e-7


def change_activation(model: nn.Module) -> None:
    model.add_module("1", nn.Tanh())


@pytest.mark.parametrize(
    "change",
    [
        change_weight,
        change_activation,
        lambda model: ns.override(model, {"output.adc.levels": 5}, layers="2"),
        lambda model: setattr(model[0].chain, "seconds", 1.0),
        lambda model: model.double(),
    ],
)
def test_what_changes_results_changes_the_fingerprint(change: Callable[[Any], None]) -> None:
    model = tiny.model()
    before = model_fingerprint(model)
    change(model)
    assert model_fingerprint(model) != before


def test_which_chip_a_model_is_and_what_it_has_drawn_do_not_count() -> None:
    model = tiny.model()
    before = model_fingerprint(model)
    model.eval()(tiny.data()[0][0])
    ns.program(model, 99)
    assert model_fingerprint(model) == before == model_fingerprint(tiny.model(seed=5))


def test_a_model_in_half_precision_or_without_elements_has_a_fingerprint() -> None:
    model = nn.Sequential(tiny.model().bfloat16(), nn.BatchNorm1d(3), nn.ParameterList([torch.zeros(0, 3), torch.tensor(1.0)]))
    assert len(model_fingerprint(model)) == 64


def test_samples_their_order_and_their_grouping_count() -> None:
    whole = tiny.data(batch=8)
    others = [tiny.data(batch=4), whole[::-1], tiny.data(samples=19), [(x.double(), y) for x, y in whole], [(x, y.int()) for x, y in whole]]
    assert len({data_fingerprint(batches) for batches in (whole, *others)}) == 6
    assert data_fingerprint(whole) == data_fingerprint(tiny.data(batch=8))


def test_a_metric_function_counts_with_its_source() -> None:
    def one() -> Callable[[Tensor, Tensor], float]:
        def same_name(outputs: Tensor, targets: Tensor) -> float:
            return 0.0

        return same_name

    def other() -> Callable[[Tensor, Tensor], float]:
        def same_name(outputs: Tensor, targets: Tensor) -> float:
            return 1.0

        return same_name

    assert metric_fingerprint(one()) == metric_fingerprint(one())
    assert metric_fingerprint(one()) != metric_fingerprint(other())
    assert metric_fingerprint(one()).startswith("same_name ")


def test_a_metric_by_name_counts_with_its_name() -> None:
    assert metric_fingerprint("accuracy") == "accuracy"
    assert metric_fingerprint(METRICS["loss"]) == "loss"


def test_the_thread_count_is_part_of_a_study() -> None:
    one, two = (study_identity(tiny.model(), tiny.data(), "accuracy", threads) for threads in (1, 2))
    assert {name for name in one if one[name] != two[name]} == {"threads"}


def test_kernels_or_reference_is_part_of_a_study(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their normal numbers differ in the last digit: one journal must not mix them."""
    found = []
    for mode in ("off", "require"):
        monkeypatch.setenv("NEUROSIM_NATIVE", mode)
        found.append(study_identity(tiny.model(), tiny.data(), "accuracy", 1))
    assert {name for name in found[0] if found[0][name] != found[1][name]} == {"ops"}


def test_a_users_class_counts_with_its_source(tmp_path: Path) -> None:
    def scaled(factor: int) -> nn.Module:
        path = tmp_path / f"by_{factor}.py"
        path.write_text(f"from torch import nn\n\nclass Scale(nn.Module):\n    def forward(self, x):\n        return {factor} * x\n")
        spec = importlib.util.spec_from_file_location("users_own", path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules["users_own"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return nn.Sequential(tiny.model(), module.Scale())

    try:
        assert model_fingerprint(scaled(2)) != model_fingerprint(scaled(3))
    finally:
        del sys.modules["users_own"]

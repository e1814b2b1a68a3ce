"""Torch's transformer layers, whose inference path calls none of the modules in them, once other modules stand there."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns


def layer() -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(8, 2, 16, activation=nn.ReLU(), batch_first=True).eval()


def encoder() -> nn.TransformerEncoder:
    return nn.TransformerEncoder(layer(), 2).eval()


def sequences() -> Tensor:
    return ns.random.stream(0, "x").normal((3, 5, 8), like=torch.empty(0))


CHANGES: dict[str, Callable[[nn.Module], Any]] = {
    "l1": lambda model: ns.swap_norm(model, "l1_layer"),
    "rms": lambda model: ns.swap_norm(model, "rms"),
    "depth": lambda model: ns.swap_norm(model, "layer_scaling", depth=9),
    "inplace": lambda model: ns.swap_norm(model, "l1_layer", layers="*norm1", inplace=True),
    "tanh": lambda model: ns.swap_activation(model, "tanh"),
    "frozen": lambda model: ns.freeze_statistics(model, 0, sequences()),
    "to be frozen": lambda model: ns.freeze_statistics(model, 9),
    "gates": lambda model: ns.sparsify(model, "teal", 0.8, 0.9 * sequences()),
    "gates in place": lambda model: ns.sparsify(model, "wina", 0.8, 0.9 * sequences(), inplace=True),
    "gates behind activations": lambda model: ns.sparsify(model, "cats", 0.8, 0.9 * sequences()),
    "recentred": lambda model: ns.recentre(model, sequences()),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("make", [layer, encoder])
def test_a_transformer_gives_with_gradients_and_without_what_its_modules_make_of_it(make: Callable[[], nn.Module], change: str) -> None:
    model, x = make(), sequences()
    before = model(x).detach()
    changed = CHANGES[change](model)
    given = changed(x).detach()
    with torch.no_grad():
        torch.testing.assert_close(changed(x), given)
        padded = torch.tensor([[False] * 5, [False] * 4 + [True], [False] * 5])
        assert changed(x, src_key_padding_mask=padded).isfinite().all()
    if change in ("to be frozen", "recentred"):
        torch.testing.assert_close(given, before)
    else:
        assert not torch.allclose(given, before, atol=1e-3)


def test_a_transformer_of_which_nothing_was_changed_keeps_its_inference_path() -> None:
    model = nn.ModuleDict({"one": layer(), "other": layer()})
    changed: Any = ns.swap_norm(model, "l1_layer", layers="one.*")
    assert [bool(one.activation_relu_or_gelu) for one in (changed["one"], changed["other"])] == [False, True]


def test_what_was_swapped_on_hardware_stays_swapped_off_it() -> None:
    analog = ns.to_analog(layer(), "ideal", seed=0)
    digital: Any = ns.to_digital(ns.swap_activation(analog, "tanh"))
    x = sequences()
    expected = digital(x).detach()
    with torch.no_grad():
        torch.testing.assert_close(digital(x), expected)
        untouched: Any = ns.to_digital(copy.deepcopy(analog))
        assert untouched.activation_relu_or_gelu


def test_gates_and_offsets_stand_before_every_product_that_is_called() -> None:
    model, x = encoder(), sequences()
    products = [f"layers.{at}.linear{part}" for at in (0, 1) for part in (1, 2)]
    sparse: Any = ns.sparsify(model, "teal", 0.4, x)
    gates = {one.layer: one for one in sparse.sparsification.layers}
    assert [path for path, one in gates.items() if not one.reason] == products
    assert gates["layers.0.linear1"].reached == pytest.approx(0.4, abs=0.01)
    centred: Any = ns.recentre(model, x)
    ranges = {one.layer: one for one in centred.recentring.layers}
    assert [path for path, one in ranges.items() if one.status == "recentred"] == products
    outputs = []
    handle = model.get_submodule("layers.0.norm1").register_forward_hook(lambda module, args, y: outputs.append(y.detach()))
    model(x)
    handle.remove()
    assert ranges["layers.0.linear1"].before == pytest.approx(float(outputs[0].abs().max()), rel=1e-5)


def test_activations_are_watched_without_gradients_and_the_path_is_on_again_behind_it() -> None:
    model, x = encoder(), sequences()
    outer, inner = (ns.sparsity.watch_activations(model) for _ in range(2))
    with torch.no_grad():
        first, second = outer.__enter__(), inner.__enter__()
        model(x)
        assert [len(seen.found) for seen in (first, second)] == [2, 2]
        outer.__exit__(None, None, None)  # in any order
        inner.__exit__(None, None, None)
    assert torch.backends.mha.get_fastpath_enabled()

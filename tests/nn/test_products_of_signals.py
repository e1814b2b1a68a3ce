"""Products of two signals on arrays: written anew at every forward; without errors they are the digital ones."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.errors import ConfigError, ConversionError
from neurosim.hardware.costs import Costs
from neurosim.hardware.profile import Profile
from neurosim.nn import AnalogMatmul, AnalogMultiheadAttention, Matmul
from tests.convert.models import VisionTransformer
from tests.nn.test_array import CELLS, FILLED, LAYOUTS, profile
from tests.nn.test_attention_on_hardware import ATTENTION, MASKS, _Asked, attention_and_inputs
from tests.nn.test_recurrent_on_hardware import CHAINS, normal, same

SHAPES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "samples and heads": ((3, 2, 5, 4), (3, 2, 4, 6)),
    "matrices alone": ((5, 4), (4, 6)),
    "one matrix for all samples": ((3, 5, 4), (4, 6)),
    "broadcast both ways": ((2, 1, 5, 4), (1, 3, 4, 6)),
    "more axes": ((2, 3, 2, 5, 4), (2, 3, 2, 4, 1)),
}
CELL_ARRAY: dict[str, Any] = {"weight": FILLED, "input": FILLED, "array": {"mapping": CELLS}}


def with_array(**slots: Any) -> dict[str, Any]:
    return CELL_ARRAY | {"array": {"mapping": CELLS} | slots}


def priced(chain: dict[str, Any], costs: dict[str, Any]) -> Profile:
    return replace(profile(chain), costs=Costs.model_validate(costs))


def alone(chain: dict[str, Any], seed: int = 0) -> AnalogMatmul:
    return AnalogMatmul(profile=profile(chain), seed=seed, path="scores")


class Attention(nn.Module):
    """Attention as users write it themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.scores, self.mix = nn.Linear(6, 18), Matmul(), Matmul()

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 3)).permute(2, 0, 3, 1, 4)
        weights = torch.softmax(self.scores(q, k.transpose(-2, -1)), -1)
        y: Tensor = self.mix(weights, v).transpose(1, 2).flatten(-2)
        return y


# --- without errors -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("lies", [*(lies for lies in LAYOUTS if "learned" not in lies), "elementwise"])  # signals have nothing to learn
def test_a_product_of_two_signals_without_errors_is_the_digital_one(lies: str, shapes: str) -> None:
    torch.manual_seed(0)
    within = 3e-4 if "slices" in lies else 1e-12  # 16 bits
    a, b = (normal(*shape) for shape in SHAPES[shapes])
    same(alone((LAYOUTS | CHAINS)[lies]), Matmul(), a, b, within=within)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("how", ATTENTION)
def test_attention_whose_scores_are_on_arrays_is_the_digital_one(how: str, mask: str) -> None:
    layer, inputs = attention_and_inputs(how)
    analog: Any = ns.to_analog(layer, profile(CHAINS["tiles"]), seed=0, dynamic_products=True)
    assert list(ns.analog_layers(analog)) == ["out_proj", "q_proj", "k_proj", "v_proj", "qk", "av"]
    for need in ({"need_weights": False}, {"average_attn_weights": False} if mask == "both" else {}):
        same(_Asked(analog, MASKS[mask] | need), _Asked(layer, MASKS[mask] | need), *inputs)


def test_one_of_the_products_may_be_on_arrays_and_the_projections_digital() -> None:
    layer, inputs = attention_and_inputs("plain")
    for asked in ("qk", "av"):
        analog = ns.to_analog(layer, profile(CHAINS["whole"]), seed=0, dynamic_products=asked, layers="out_proj")
        assert list(ns.analog_layers(analog)) == ["out_proj", asked]
        same(analog, layer, *inputs)


def test_dropout_and_causal_masks_are_those_of_the_digital_layer() -> None:
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(6, 2, dropout=0.5, batch_first=True).double()
    analog = ns.to_analog(layer, profile(CHAINS["whole"]), seed=0, dynamic_products=True)
    x = torch.rand(2, 7, 6, dtype=torch.float64)
    answers = []
    for one in (analog, layer):
        torch.manual_seed(1)
        answers.append(one(x, x, x)[0])
    torch.testing.assert_close(*answers, rtol=0, atol=1e-12)
    causal = {"attn_mask": torch.ones(7, 7, dtype=torch.bool).triu(1), "is_causal": True, "need_weights": False}
    same(_Asked(analog.eval(), causal), _Asked(layer.eval(), causal), x, x, x)


def test_a_vision_transformer_has_all_its_products_on_hardware() -> None:
    torch.manual_seed(2)
    model, x = VisionTransformer().double().eval(), torch.rand(2, 1, 8, 8, dtype=torch.float64)
    analog: Any = ns.to_analog(model, profile(CHAINS["tiles"]), seed=0, dynamic_products=True)
    same(analog, model, x, within=1e-11)
    rows = {row.path: row for row in analog.conversion.layers if row.path.endswith((".qk", ".av"))}
    assert list(rows) == [f"blocks.{at}.attn.{name}" for at in range(2) for name in ("qk", "av")]
    assert {(row.status, row.type) for row in rows.values()} == {("converted", "MultiheadAttention")}
    assert all(row.reason.startswith("its second operand is written to arrays at every forward") for row in rows.values())
    noisy = ns.to_analog(
        model, profile(CELL_ARRAY | {"output": {"adc": {"kind": "quantize", "levels": 15}}}), seed=0, dynamic_products=True
    )
    (noisy(x) * 3).sum().backward()
    assert all(value.grad is not None and bool(value.grad.isfinite().all()) for value in noisy.parameters())


# --- what is drawn when -------------------------------------------------------------------------------------------------------------------

PROGRAMMING: dict[str, Any] = {"kind": "noise", "distribution": "gaussian", "scale": 1e-6, "scope": "device"}
FAULTS: dict[str, Any] = {"kind": "stuck", "at_low": 0.3, "low_siemens": 1e-6, "high_siemens": 25e-6}


def alike(samples: int = 2, heads: int = 3) -> tuple[Tensor, Tensor]:
    """The same two matrices for all samples and heads."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(size, generator=generator, dtype=torch.float64) for size in ((5, 4), (4, 6)))
    return a.expand(samples, heads, 5, 4), b.expand(samples, heads, 4, 6)


def test_every_matrix_of_every_forward_is_written_with_errors_of_its_own() -> None:
    layer, (a, b) = ns.to_analog(Matmul(), profile(with_array(programming=PROGRAMMING)), seed=0, dynamic_products=True), alike()
    first, second = layer(a, b), layer(a, b)
    written = [one for y in (first, second) for one in y.flatten(0, 1)]
    assert all(not torch.equal(one, other) for at, one in enumerate(written) for other in written[:at])
    with ns.noise("fixed", layer):
        assert torch.equal(layer(a, b), layer(a, b))
    with ns.noise("off", layer):
        torch.testing.assert_close(layer(a, b), a @ b, rtol=0, atol=1e-12)
    twin = copy.deepcopy(layer)
    assert torch.equal(twin(a, b), pickle.loads(pickle.dumps(layer))(a, b))
    ns.set_draw(twin, 0)
    assert torch.equal(twin(a, b), first)


def test_two_uses_within_one_forward_are_two_writes() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.product = Matmul()

        def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
            return self.product(a, b), self.product(a, b)

    one, other = ns.to_analog(Twice(), profile(with_array(programming=PROGRAMMING)), seed=0, dynamic_products=True)(*alike())
    assert not torch.equal(one, other)


def test_the_spread_of_programming_is_that_of_a_layer_with_weights() -> None:
    """A sum over k cells of a pair, each with an error of σ: k one-hot inputs give the cells one by one."""
    layer = alone(with_array(programming=PROGRAMMING) | {"weight": {"scale": {"kind": "scale"}}})
    a, b = torch.eye(8, dtype=torch.float64).expand(64, 4, 8, 8), torch.ones(64, 4, 8, 8, dtype=torch.float64)
    error = (layer(a, b) - b).flatten()
    sigma = 2**0.5 * 1e-6 / 24e-6  # two cells a weight, in ranges of a cell
    n = error.numel()
    assert abs(float(error.mean())) < 5 * sigma / n**0.5
    assert abs(float(error.std()) / sigma - 1) < 5 / (2 * n) ** 0.5


@pytest.mark.parametrize("lies", ["whole", "tiles"])
def test_faults_are_those_of_the_arrays_which_all_samples_use_in_turn(lies: str) -> None:
    chain = with_array(faults=FAULTS) if lies == "whole" else with_array(faults=FAULTS, tiles={"kind": "tiles", "rows": 3})
    layer, (a, b) = alone(chain), alike()
    y = layer(a, b)
    assert torch.equal(y[0], y[1])
    assert not torch.equal(y[:, 0], y[:, 1])  # heads have arrays of their own
    torch.testing.assert_close(layer(*alike(samples=5))[3], y[0], rtol=0, atol=1e-12)
    assert torch.equal(layer(a, b), y)
    ns.program(layer, 1)
    assert not torch.equal(layer(a, b), y)


@pytest.mark.parametrize("lies", ["elementwise", "whole", "tiles"])
def test_converters_are_those_of_the_arrays_too(lies: str) -> None:
    ends = {"levels": 255, "low": -20.0, "high": 20.0}
    adc = {"kind": "converter", "gain": 0.1, "offset": 1.0, "dnl": 0.1} | ends
    array = {} if lies == "elementwise" else {"weight": FILLED, "array": {"mapping": CELLS}}
    tiles = {"array": {"mapping": CELLS, "tiles": {"kind": "tiles", "rows": 3}}} if lies == "tiles" else {}
    layer, (a, b) = alone(array | tiles | {"output": {"adc": adc}}), alike()
    y = layer(a, b)
    assert torch.equal(y[0], y[1])
    assert not torch.equal(y[:, 0], y[:, 1])
    exact = alone(array | tiles | {"output": {"adc": {"kind": "quantize"} | ends}})
    assert not torch.equal(exact(a, b), y)


def test_a_mesh_and_light_of_its_own_hold_signals_as_well() -> None:
    mesh = {"array": {"mesh": {"kind": "mzi_mesh", "ports": 4, "offset_sigma_rad": 0.05}}, "weight": {"scale": {"kind": "scale"}}}
    light = {"input": {"noise": {"kind": "source", "rin_db_per_hz": -120.0, "bandwidth_hz": 1e9}}}
    a, b = alike()
    for chain, equal in ((mesh, True), (mesh | light, False), (light, False)):
        y = alone(chain)(a, b)
        assert torch.equal(y[0], y[1]) is equal
        assert not torch.equal(y[:, 0], y[:, 1])
        assert float((y - a @ b).norm() / (a @ b).norm()) < 0.5


def test_what_was_just_written_has_no_age_and_is_not_kept() -> None:
    law = {"kind": "polynomial", "coefficients": [0.05]}
    drift = {"kind": "drift", "g_ref_siemens": 1e-6, "exponent": law, "spread": law, "t0_s": 20.0}
    layer, (a, b) = ns.to_analog(Matmul(), profile(with_array(drift=drift)), seed=0, dynamic_products=True), alike()
    y = layer(a, b)
    ns.drift_to(layer, 1e6)
    assert torch.equal(layer(a, b), y)
    with torch.no_grad(), ns.keep_weights(layer):
        for _ in range(3):
            other = torch.randn_like(b)
            torch.testing.assert_close(layer(a, other), a @ other, rtol=0, atol=1e-12)


def test_a_scale_of_the_tensor_is_taken_of_every_matrix() -> None:
    rough = {"scale": {"kind": "scale"}, "quantize": {"kind": "quantize", "levels": 15}}
    layer, (a, b) = alone({"weight": rough}), alike(2, 1)
    together = layer(a, torch.cat([b[:1], 100 * b[1:]]))
    assert torch.equal(together[:1], layer(a[:1], b[:1]))
    torch.testing.assert_close(together[1:], 100 * together[:1], rtol=1e-12, atol=0)


# --- which, and what is said --------------------------------------------------------------------------------------------------------------


def test_products_are_digital_until_they_are_asked_for() -> None:
    torch.manual_seed(0)
    model, x = Attention(), torch.rand(2, 5, 6)
    plain: Any = ns.to_analog(model, profile(CHAINS["whole"]), seed=0)
    assert list(ns.analog_layers(plain)) == ["qkv"]
    assert [(row.path, row.status) for row in plain.conversion.layers] == [("qkv", "converted"), ("scores", "digital"), ("mix", "digital")]
    for asked, found in ((True, ["scores", "mix"]), ("sco*", ["scores"]), (Matmul, ["scores", "mix"]), (["mix"], ["mix"])):
        analog: Any = ns.to_analog(model, profile(CHAINS["whole"]), seed=0, dynamic_products=asked)
        assert list(ns.analog_layers(analog)) == ["qkv", *found]
        torch.testing.assert_close(analog(x), model(x), rtol=0, atol=1e-5)
        assert list(analog.state_dict()) == list(model.state_dict())
    assert list(ns.analog_layers(ns.to_analog(model, "photonic_avnn", seed=0, dynamic_products=True, skip="mix"))) == ["qkv", "scores"]
    with pytest.raises(ConfigError, match="dynamic_products: 'score' names no product of two signals; did you mean 'scores'"):
        ns.to_analog(model, "photonic_avnn", seed=0, dynamic_products="score")


def test_products_move_on_and_come_back() -> None:
    model = nn.ModuleDict({"attn": nn.MultiheadAttention(6, 2), "mine": Attention()})
    analog: Any = ns.to_analog(model, "photonic_avnn", seed=0, dynamic_products=True, overrides={"attn": {"output.adc.levels": 17}})
    assert analog["attn"].qk.chain.spec.output.adc.levels == 17
    moved: Any = ns.to_analog(
        analog, profile(CHAINS["whole"]), seed=3, overrides={"attn.av": {"output.adc": {"kind": "quantize", "levels": 9}}}
    )
    assert [layer.chain.seed for layer in ns.analog_layers(moved).values()] == [3] * 9
    assert "output.adc" in moved["attn"].av.chain.slots
    assert "output.adc" not in moved["attn"].qk.chain.slots
    ns.override(moved, {"weight.scale.per": "tensor"}, layers="attn.qk")
    assert moved["attn"].qk.chain.spec.weight.scale.per == "tensor"
    with ns.noise("ideal", moved):
        assert torch.equal(moved["mine"](torch.ones(1, 2, 6)), model["mine"](torch.ones(1, 2, 6)))
    back: Any = ns.to_digital(moved)
    assert [(path, type(module)) for path, module in back.named_modules()] == [
        (path, type(module)) for path, module in model.named_modules()
    ]


def test_the_report_says_where_operands_are_limited() -> None:
    analog: Any = ns.to_analog(Attention(), "photonic_avnn", seed=0, dynamic_products="scores")
    rows = {row.path: row.reason for row in analog.conversion.layers}
    assert rows["scores"].endswith("operands beyond full scale are limited, for the chain has no input.scale and no weight.scale")
    scaled: Any = ns.to_analog(Attention(), profile(CELL_ARRAY), seed=0, dynamic_products="scores")
    assert (
        next(row.reason for row in scaled.conversion.layers if row.path == "scores")
        == "its second operand is written to arrays at every forward"
    )


def test_a_product_that_is_not_known_to_be_one_is_refused() -> None:
    class Own(Matmul):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return a @ b + 1

    class Kept(nn.MultiheadAttention):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return super().forward(*args, **kwargs)

    analog: Any = ns.to_analog(nn.ModuleList([nn.Linear(2, 2), Own(), Kept(4, 2)]), "photonic_avnn", seed=0, dynamic_products=True)
    refused = {row.path: row.reason for row in analog.conversion.layers if row.status == "refused"}
    assert refused["1"] == "Own defines forward itself: its own forward is not known to be the product"
    assert refused["2.qk"] == refused["2.av"] == refused["2"]


def test_shapes_that_do_not_fit_are_named() -> None:
    layer = alone(CELL_ARRAY)
    for a, b, message in (
        (torch.ones(4), torch.ones(4, 2), r"scores: must be given .*, got \(4,\) and \(4, 2\)"),
        (torch.ones(3, 4), torch.ones(5, 2), r"got \(3, 4\) and \(5, 2\)"),
        (torch.ones(2, 3, 4), torch.ones(3, 4, 2), r"leading axes must be equal or 1"),
    ):
        with pytest.raises(ConfigError, match=message):
            layer(a, b)
    with pytest.raises(ConversionError, match="scores: each output must have at most 3 inputs"):
        alone({"fan_in": 3} | CELL_ARRAY)(torch.ones(2, 4), torch.ones(4, 2))
    assert layer(torch.ones(0, 3, 4), torch.ones(0, 4, 2)).shape == (0, 3, 2)


def test_the_cost_counts_what_is_written() -> None:
    chain = with_array(tiles={"kind": "tiles", "rows": 3, "columns": 4}) | {"output": {"adc": {"kind": "quantize", "levels": 255}}}
    device = priced(chain, {"adc": {"energy_j": 1e-12}, "cell": {"energy_j": 1e-15}})
    found = ns.cost(ns.to_analog(Attention(), device, seed=0, dynamic_products="scores"), torch.rand(3, 5, 6))
    scores = found.layers[-1]
    # 3 samples, 2 heads, 5 queries of 3 features against 5 keys; a pair of cells each
    assert (scores.path, scores.macs, scores.writes) == ("scores", 3 * 2 * 5 * 5 * 3, 3 * 2 * 5 * 3 * 2)
    assert (scores.products, scores.adc, scores.arrays) == (3 * 5, 3 * 5 * 2 * 5, 2 * 2 * 2)
    assert found.missing[-1] == "writes"
    assert "writes" in str(found)
    assert found.layers[0].writes == 0
    read = priced(chain, {"cell": {"read_v": 0.1}, "symbol_s": 1e-9})
    assert "reads of written cells" in ns.cost(ns.to_analog(Attention(), read, seed=0, dynamic_products=True), torch.rand(1, 5, 6)).missing


def test_chips_files_and_studies_take_such_products(tmp_path: Any) -> None:
    torch.manual_seed(0)
    device = profile(with_array(faults=FAULTS, programming=PROGRAMMING))
    model, x = ns.to_analog(Attention(), device, seed=5, dynamic_products=True).eval(), torch.rand(3, 5, 6)
    stack = ns.chips(model, 2)
    with torch.no_grad():
        together = stack(x)
        for seed, found in zip((5, 6), together, strict=True):
            one = copy.deepcopy(model)
            ns.program(one, seed)
            assert torch.equal(found, one(x))
    other = ns.to_analog(Attention(), device, seed=9, dynamic_products=True)
    ns.load_chip(other, ns.save_chip(model, tmp_path / "device.h5"))
    assert {layer.chain.seed for layer in ns.analog_layers(other).values()} == {5}
    with pytest.raises(ConversionError, match="scores: it is written anew at every forward"):
        ns.save_chip(model, tmp_path / "other.h5", measured={"scores": {"weight": torch.ones(1, 1, 1, 1)}})


def test_attention_made_by_hand_and_by_conversion_is_one_chip() -> None:
    made = AnalogMultiheadAttention(8, 2, profile="photonic_avnn", seed=3, path="0")
    assert "qk" not in dict(made.named_modules())
    one = AnalogMatmul(profile="photonic_avnn", seed=3, path="0")
    other: Any = ns.to_analog(nn.ModuleList([Matmul()]), "photonic_avnn", seed=3, dynamic_products=True)
    a, b = torch.rand(2, 3, 4), torch.rand(2, 4, 5)
    ns.set_draw(other, 0)
    assert torch.equal(one(a, b), other[0](a, b))


def test_compiled_products_compute_the_same() -> None:
    torch._dynamo.reset()
    torch.manual_seed(3)
    analog = ns.to_analog(Attention(), "photonic_avnn", seed=0, dynamic_products=True)
    twin = copy.deepcopy(analog)
    compiled = torch.compile(twin, backend="aot_eager", fullgraph=True)
    x = torch.rand(3, 5, 6)
    for _ in range(2):
        torch.testing.assert_close(compiled(x), analog(x))


def test_what_follows_the_digital_sum_stands_there_from_the_first_use_on() -> None:
    total = {"kind": "quantize", "levels": 101, "low": -1.0, "high": 1.0}
    one = alone({"array": {"tiles": {"kind": "tiles", "rows": 4}}, "output": {"sum": total}})
    a, b = torch.full((1, 2, 8), 0.4), torch.ones(1, 8, 3)
    first = one(a, b)
    assert torch.equal(first, torch.ones(1, 2, 3))
    ns.program(one, 0)
    assert torch.equal(one(a, b), first)
    torch.testing.assert_close(one(a[..., :4] / 4, b[:, :4]), torch.full((1, 2, 3), 0.4))


def test_complex_signals_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"must be real, got torch\.complex64"):
        alone(with_array())(torch.ones(1, 2, 3, dtype=torch.complex64), torch.ones(1, 3, 2))

"""Products on physical arrays: what a chain without errors computes is the digital product, however the matrix is laid out."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.hardware.chain import ChainSpec
from neurosim.hardware.layout import layout
from neurosim.hardware.profile import Profile
from neurosim.hardware.stage import Context
from neurosim.hardware.stages import Mapping, Scale, Slices, scale_of, sliced
from neurosim.hardware.stages.mapping import decode, encode
from neurosim.hardware.stages.slices import factors

FILLED = {"scale": {"kind": "scale", "per": "vector"}}
LEARNED: dict[str, Any] = {"kind": "scale", "mode": "learned", "per": "vector"}
CELLS: dict[str, Any] = {"kind": "mapping", "g_min_siemens": 1e-6, "g_max_siemens": 25e-6}
LAYOUTS: dict[str, dict[str, Any]] = {
    "one scale a tensor": {"input": {"scale": {"kind": "scale"}}, "weight": {"scale": {"kind": "scale"}}},
    "one scale a vector": {"input": FILLED, "weight": FILLED},
    "one scale an input": {"weight": {"scale": {"kind": "scale", "per": "input"}}},
    "a learned scale an output": {"input": {"scale": {"kind": "scale"}}, "weight": {"scale": LEARNED}},
    "a learned scale an input, pairs, tiles": {
        "weight": {"scale": LEARNED | {"per": "input"}},
        "array": {"mapping": CELLS, "tiles": {"kind": "tiles", "rows": 5}},
    },
    "one scale an input, pairs, tiles": {
        "input": FILLED,
        "weight": {"scale": {"kind": "scale", "per": "input"}},
        "array": {"mapping": CELLS | {"subtract": "digital"}, "tiles": {"kind": "tiles", "rows": 5}},
    },
    "pairs": {"weight": FILLED, "array": {"mapping": CELLS}},
    "pairs, two-sided, subtracted digitally": {"weight": FILLED, "array": {"mapping": CELLS | {"sides": "two", "subtract": "digital"}}},
    "an offset": {"weight": FILLED, "array": {"mapping": CELLS | {"scheme": "offset"}}},
    "an offset by a column, on tiles": {
        "weight": FILLED,
        "array": {"mapping": CELLS | {"scheme": "offset", "correction": "column"}, "tiles": {"kind": "tiles", "rows": 7}},
    },
    "tiles": {"array": {"tiles": {"kind": "tiles", "rows": 5}}},
    "filled tiles": {"array": {"tiles": {"kind": "tiles", "rows": 5, "filled": True}}},
    "one sign at a time": {"input": {"slices": {"kind": "slices", "separate_signs": True}}},
    "slices of weights": {"weight": FILLED, "array": {"mapping": CELLS | {"slices": 4, "weight_bits": 17}}},
    "slices of weights with an offset": {
        "weight": FILLED,
        "array": {"mapping": CELLS | {"scheme": "offset", "slices": 3, "weight_bits": 17}},
    },
    "slices of inputs": {"input": FILLED | {"slices": {"kind": "slices", "bits": 16, "slice_bits": 3}}},
}
LAYERS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(11, 6), (4, 11)),
    "linear over more axes": (lambda: nn.Linear(11, 6, bias=False), (2, 3, 11)),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), (2, 4, 7, 8)),
    "dilated": (lambda: nn.Conv1d(3, 5, 3, dilation=2, padding="same", padding_mode="circular"), (2, 3, 9)),
    "even kernel": (lambda: nn.Conv1d(3, 5, 4, padding="same"), (2, 3, 9)),
    "cubes": (lambda: nn.Conv3d(2, 4, 2), (1, 2, 4, 5, 3)),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2), (2, 4, 3, 4)),
    "transposed, dilated": (lambda: nn.ConvTranspose1d(3, 2, 3, dilation=2, bias=False), (2, 3, 5)),
    "transposed cubes": (lambda: nn.ConvTranspose3d(2, 3, 2), (2, 2, 2, 3)),
    "without a batch": (lambda: nn.Conv2d(2, 3, (3, 2), padding=(0, 1)), (2, 5, 6)),
}


def profile(chain: dict[str, Any]) -> Profile:
    return Profile("made", "for a test", "any", ChainSpec.model_validate(chain))


def layer_and_input(name: str) -> tuple[nn.Module, Tensor]:
    make, shape = LAYERS[name]
    torch.manual_seed(0)
    return make().double(), torch.randn(shape, dtype=torch.float64)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("how", LAYERS)
@pytest.mark.parametrize("lies", LAYOUTS)
def test_without_errors_the_product_is_the_digital_one(lies: str, how: str) -> None:
    layer, x = layer_and_input(how)
    rounding = 3e-4 if "slices" in lies else 1e-12  # 16 bits
    on_array = ns.to_analog(layer, profile(LAYOUTS[lies]), seed=0)
    y, expected = on_array(x), layer(x)
    assert y.shape == expected.shape
    torch.testing.assert_close(y, expected, rtol=0, atol=rounding)
    cotangent = torch.randn_like(y)
    own = [on_array.get_parameter(name) for name, _ in layer.named_parameters()]
    got = torch.autograd.grad((y * cotangent).sum(), own)
    for one, right in zip(got, torch.autograd.grad((expected * cotangent).sum(), list(layer.parameters())), strict=True):
        torch.testing.assert_close(one, right, rtol=0, atol=10 * rounding * float(right.abs().max()))


@pytest.mark.parametrize("lies", LAYOUTS)
def test_an_ideal_array_loses_nothing(lies: str) -> None:
    layer, x = layer_and_input("grouped")
    on_array = ns.to_analog(layer, profile(LAYOUTS[lies] | {"output": {"adc": {"kind": "quantize", "levels": 3}}}), seed=0)
    with ns.noise("ideal", on_array):
        assert torch.equal(on_array(x), layer(x))
    chain: Any = on_array.chain
    lossy = [slot for slot in chain.slots if not slot.endswith("scale")]
    with ns.noise("ideal", on_array, stages=lossy):
        torch.testing.assert_close(on_array(x), layer(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["forward_absmax_nm_5bit", "forward_absmax_nm_7bit", "forward_no_nm_5bit", "forward_no_nm_7bit"])
def test_converters_and_scales_are_those_of_aihwkit(name: str) -> None:
    with h5py.File(Path(__file__).parent / "data/aihwkit_forward.h5") as file:
        group = file[name]
        weight, bias, x, expected = (torch.from_numpy(group[key][()]) for key in ("weight", "bias", "x", "out"))
        steps = [round(1 / group.attrs[key]) for key in ("inp_res", "out_res")]
    dac = {"kind": "quantize", "levels": steps[0] + 1, "clip": "after"}
    adc = {"kind": "quantize", "levels": steps[1] + 1, "clip": "after", "low": -12.0, "high": 12.0}
    scale = {"scale": {"kind": "scale", "per": "vector"}} if "absmax" in name else {}
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": weight, "bias": bias})
    chain = {"input": {"dac": dac, **scale}, "weight": {"scale": {"kind": "scale"}}, "output": {"adc": adc}}
    torch.testing.assert_close(ns.to_analog(layer, profile(chain), seed=0)(x), expected, rtol=1e-6, atol=1e-6)


def test_a_transposed_convolution_takes_the_size_of_its_output() -> None:
    layer, x = nn.ConvTranspose2d(2, 3, 3, stride=2), torch.randn(1, 2, 4, 4)
    for chain in ({}, LAYOUTS["tiles"], LAYOUTS["one scale a tensor"]):
        model = ns.to_analog(layer, profile({"input": {"normalize": {"kind": "clamp", "low": -9.0, "high": 9.0}}} | chain), seed=0)
        torch.testing.assert_close(model(x, [10, 10]), layer(x, [10, 10]), rtol=0, atol=1e-5)


def test_each_tile_and_each_plane_is_converted_by_itself() -> None:
    torch.manual_seed(1)
    layer, x, step = nn.Linear(10, 3, bias=False).double(), torch.randn(5, 10, dtype=torch.float64), 0.25
    adc = {"kind": "quantize", "levels": 161, "low": -20.0, "high": 20.0}
    mapping = CELLS | {"g_min_siemens": 0.0, "subtract": "digital"}
    with torch.no_grad():
        layer.weight.clamp_(-1, 1)
    chain = {"array": {"mapping": mapping, "tiles": {"kind": "tiles", "rows": 4}}, "output": {"adc": adc}}
    expected = torch.zeros(5, 3, dtype=torch.float64)
    for rows in (slice(0, 4), slice(4, 8), slice(8, 10)):
        for sign in (1, -1):
            expected += sign * torch.round(x[:, rows] @ (sign * layer.weight[:, rows]).clamp(min=0).T / step) * step
    torch.testing.assert_close(ns.to_analog(layer, profile(chain), seed=0)(x), expected, rtol=0, atol=1e-12)


def test_vectors_that_saturate_are_sent_again_at_half_their_size() -> None:
    layer = nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        layer.weight.fill_(1.0)
    x = torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.25, 0.25, 0.0, 0.0]])
    chain: dict[str, Any] = {
        "input": {"scale": {"kind": "scale", "mode": "constant", "value": 1.0}},
        "output": {"adc": {"kind": "quantize", "levels": 257}},
    }
    assert ns.to_analog(layer, profile(chain), seed=0)(x)[:, 0].tolist() == [1.0, 0.5]
    chain["input"]["scale"]["retries"] = 3
    assert ns.to_analog(layer, profile(chain), seed=0)(x)[:, 0].tolist() == [4.0, 0.5]


def test_an_average_scale_moves_in_training_only() -> None:
    layer = ns.to_analog(
        nn.Linear(3, 2), profile({"input": {"scale": {"kind": "scale", "mode": "average", "value": 1.0, "momentum": 0.5}}}), seed=0
    )
    value = layer.get_parameter("chain.input_scale__value")
    layer(torch.full((1, 3), 3.0))
    assert value.item() == 2.0
    layer.eval()(torch.full((1, 3), 9.0))
    assert value.item() == 2.0


def test_compensation_takes_the_mean_of_a_drift_back() -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(12, 3, bias=False).double(), torch.randn(5, 12, dtype=torch.float64)
    for per in ("tile", "column"):
        law = {"kind": "polynomial", "coefficients": [0.05]}
        drift = {"kind": "drift", "g_ref_siemens": 25e-6, "exponent": law, "t0_s": 20.0}
        array = {"mapping": CELLS | {"g_min_siemens": 0.0}, "tiles": {"kind": "tiles", "rows": 4}, "drift": drift}
        array["compensation"] = {"kind": "compensation", "per": per}
        model = ns.to_analog(layer, profile({"weight": FILLED, "array": array}), seed=0)
        ns.drift_to(model, 1e6)
        torch.testing.assert_close(model(x), layer(x), rtol=0, atol=1e-12)
        with ns.noise("ideal", model, stages="array.compensation"):
            torch.testing.assert_close(model(x), layer(x) * (1 + 1e6 / 20.0) ** -0.05, rtol=0, atol=1e-6)


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), "a day"])
def test_time_goes_one_way(seconds: Any) -> None:
    model = ns.to_analog(nn.Linear(3, 2), "photonic_avnn", seed=0)
    with pytest.raises(ConfigError, match="drift_to: seconds"):
        ns.drift_to(model, seconds)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"sides": "two"},
        {"scheme": "offset"},
        {"scheme": "offset", "levels": 16},
        {"scheme": "unipolar"},
        {"slices": 3, "weight_bits": 8},
        {"scheme": "offset", "slices": 4, "weight_bits": 8},
        {"scheme": "unipolar", "slices": 2, "weight_bits": 7},
    ],
)
def test_conductances_hold_what_they_stand_for(fields: dict[str, Any]) -> None:
    spec = Mapping(**(CELLS | fields))
    w = torch.linspace(0 if spec.scheme == "unipolar" else -1, 1, 301, dtype=torch.float64)
    steps = {
        None: 2.0 ** (spec.weight_bits - 1) - 1 if spec.weight_bits and spec.scheme != "unipolar" else 2.0 ** (spec.weight_bits or 50) - 1
    }
    resolution = (spec.levels - 2) / 2 if spec.levels else steps[None]
    g = encode(w, spec)
    assert g.shape == (spec.planes, 301)
    assert bool((g >= spec.g_min_siemens * (1 - 1e-12)).all() and (g <= spec.g_max_siemens * (1 + 1e-12)).all())
    assert float((decode(g, spec) - w).abs().max()) <= 0.5 / resolution + 1e-12
    torch.testing.assert_close(decode(encode(w, spec, lossless=True), spec), w, rtol=0, atol=1e-12)
    if spec.scheme != "unipolar":
        assert float(decode(encode(torch.zeros(1, dtype=torch.float64), spec), spec)) == pytest.approx(0, abs=1e-12)


def test_levels_by_equal_factors_are_the_nearest_ones() -> None:
    spec = Mapping(**CELLS, levels=5, spacing="log")
    grid = 1e-6 * 25.0 ** (torch.arange(5, dtype=torch.float64) / 4)
    w = torch.linspace(0, 1, 50, dtype=torch.float64)
    target = 1e-6 + w * 24e-6
    nearest = grid[(target.unsqueeze(-1) - grid).abs().argmin(-1)]
    torch.testing.assert_close(encode(w, spec)[0], nearest, rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    "fields", [{"bits": 7, "slice_bits": 3}, {"bits": 4, "slice_bits": 4, "separate_signs": True}, {"separate_signs": True}]
)
def test_passes_add_up_to_the_input(fields: dict[str, Any]) -> None:
    spec = Slices(**fields)
    x = torch.linspace(-1, 1, 201, dtype=torch.float64, requires_grad=True)
    passes = sliced(x, spec)
    total = torch.tensordot(torch.tensor(factors(spec), dtype=torch.float64), passes, 1)
    assert passes.shape == (spec.passes, 201)
    assert float((total - x).detach().abs().max()) <= (0.5 / (2**spec.bits - 1) if spec.bits else 0) + 1e-12
    assert not spec.separate_signs or bool((passes >= 0).all())
    assert torch.allclose(torch.autograd.grad(total.sum(), x)[0], torch.ones_like(x))


@pytest.mark.parametrize(
    ("chain", "message"),
    [
        ({"array": {"drift": {"kind": "mismatch", "spread": 0.1}}}, "needs a mapping"),
        ({"array": {"mapping": {"kind": "clamp"}}}, "takes mapping, got clamp"),
        ({"array": {"mapping": CELLS | {"g_max_siemens": 1e-7}}}, "must be below"),
        ({"array": {"mapping": CELLS | {"slices": 2}}}, "give both or none"),
        (
            {
                "array": {
                    "mapping": CELLS,
                    "tiles": {"kind": "tiles", "rows": 4},
                    "parasitics": {"kind": "wires", "rows": 8, "columns": 8, "r_row_ohm": 1.0, "r_column_ohm": 1.0},
                }
            },
            "of one size",
        ),
        ({"input": {"scale": {"kind": "scale", "mode": "learned"}}}, "mode 'learned' needs value, the factor that it starts from"),
        ({"input": {"scale": {"kind": "scale", "mode": "average", "value": 1.0}}}, "mode 'average' needs momentum"),
        ({"bias": {}, "array": {"tiles": {"kind": "tiles", "rows": 4}}}, "bias: null makes it digital"),
        (
            {"weight": {"scale": LEARNED, "quantize": {"kind": "quantize", "levels": 9}}},
            "weight.scale needs weight.quantize.grad: ste_masked",
        ),
        ({"input": {"scale": LEARNED}}, "none has a factor of its own to learn; got per 'vector', which is for weight.scale"),
        ({"input": {"scale": LEARNED | {"per": "input"}}}, "learned per 'tensor': its vectors are others every time"),
        ({"output": {"scale": LEARNED}}, "none has a factor of its own to learn"),
        (
            {"weight": {"scale": {"kind": "scale", "mode": "constant", "value": 1.0, "per": "input"}}},
            "must be 'absmax' or 'learned' per input",
        ),
        ({"weight": {"scale": {"kind": "scale", "mode": "learned"}}}, "mode 'learned' needs value"),
        ({"input": {"scale": {"kind": "scale", "per": "input"}}}, "per 'input', which is for weight.scale"),
        ({"output": {"scale": {"kind": "scale", "per": "input"}}}, "per 'input', which is for weight.scale"),
    ],
)
def test_chains_that_cannot_be_are_refused(chain: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ChainSpec.model_validate(chain)


def test_a_scale_has_its_limit_and_its_gradient() -> None:
    x = torch.tensor([[3.0, -1.0], [0.0, 0.0]], requires_grad=True)
    nothing = Context(None)
    assert scale_of(x, Scale(per="vector", limit=2.0), {}, nothing).flatten().tolist() == [2.0, 1.0]
    assert not scale_of(x, Scale(), {}, nothing).requires_grad
    value = torch.tensor(2.0, requires_grad=True)
    learned = scale_of(x, Scale(mode="learned", value=1.0), {"value": value}, nothing)
    assert torch.autograd.grad(learned, value)[0] == 1


def test_a_layer_takes_as_many_arrays_as_it_needs() -> None:
    array = {"mapping": CELLS, "tiles": {"kind": "tiles", "rows": 128, "columns": 64}}
    lies = layout(ChainSpec.model_validate({"array": array}), (1, 100, 300))
    assert (lies.tiles, lies.rows, lies.arrays) == (3, 100, 3 * 2 * 2)
    assert layout(ChainSpec(), (1, 100, 300)).arrays == 1


def test_weights_that_are_kept_are_those_that_would_be_computed_and_changes_are_noticed() -> None:
    torch.manual_seed(0)
    noisy = {"weight": FILLED | {"noise": {"kind": "noise", "distribution": "gaussian", "scale": 0.1, "scope": "device"}}}
    model: Any = ns.to_analog(nn.Sequential(nn.Linear(6, 4)), profile(noisy | {"array": {"mapping": CELLS}}), seed=0)
    x = torch.randn(3, 6)

    def answer() -> Tensor:
        y: Tensor = model(x)
        return y

    with torch.no_grad():
        first = answer()
        with ns.keep_weights(model):
            assert torch.equal(answer(), first)
            assert torch.equal(answer(), first)
            for change in (
                lambda: model[0].weight.mul_(2),
                lambda: ns.program(model, 1),
                lambda: ns.drift_to(model, 10.0),
                lambda: ns.override(model, {"weight.noise.scale": 0.3}),
                lambda: ns.set_noise_strength(model, 0.5),
            ):
                change()
                kept = answer()
                with ns.noise("off", model):
                    assert not torch.equal(answer(), kept)
                fresh = copy.deepcopy(model)
                fresh[0].chain.kept = None
                assert torch.equal(fresh(x), kept)


def test_keeping_weights_computes_them_once(monkeypatch: pytest.MonkeyPatch) -> None:
    times = []

    def counted(*args: Any, **kwargs: Any) -> Tensor:
        times.append(1)
        return encode(*args, **kwargs)

    monkeypatch.setattr("neurosim.nn.array.encode", counted)
    model, x = ns.to_analog(nn.Linear(6, 4), profile({"array": {"mapping": CELLS}}), seed=0), torch.randn(3, 6)
    with ns.keep_weights(model):
        model(x)  # with gradients, weights are computed every time
        with torch.no_grad():
            model(x)
            model(x)
    assert len(times) == 2


def test_what_an_offset_takes_back_is_what_was_sent() -> None:
    layer, x = nn.Linear(6, 2, bias=False), torch.full((1, 6), 0.4)
    offset = CELLS | {"scheme": "offset", "g_min_siemens": 0.0}
    sent = {"slices": {"kind": "slices", "bits": 2, "slice_bits": 1}}  # 0.4 goes out as 1/3
    model = ns.to_analog(layer, profile({"input": sent, "array": {"mapping": offset}}), seed=0)
    torch.testing.assert_close(model(x), layer(torch.full((1, 6), 1 / 3)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("together", [False, True])
def test_kept_weights_follow_a_learned_scale_that_is_changed_in_place(together: bool) -> None:
    rounded = {"kind": "quantize", "levels": 9, "grad": "ste_masked"}
    chain = {"weight": {"scale": {"kind": "scale", "mode": "learned", "value": 1.0}, "quantize": rounded}}
    model, x = ns.to_analog(nn.Sequential(nn.Linear(6, 4)), profile(chain), seed=0), torch.randn(3, 6)
    many: Any = ns.chips(model, 2) if together else model
    with torch.no_grad(), ns.keep_weights(many):
        before = many(x)
        for chip in many.chips if together else [many]:
            chip[0].chain.get_parameter("weight_scale__value").fill_(0.05)
        after = many(x)
    assert not torch.equal(after, before)
    with torch.no_grad():
        assert torch.equal(many(x), after)

"""Attention on hardware: without errors it computes what torch's computes."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.hardware.stages.mapping import encode
from neurosim.nn import AnalogMultiheadAttention
from tests.nn.test_array import profile
from tests.nn.test_recurrent_on_hardware import CHAINS, normal, same

ATTENTION: dict[str, dict[str, Any]] = {
    "plain": {},
    "batch first": {"batch_first": True},
    "no bias": {"bias": False, "batch_first": True},
    "other sizes": {"kdim": 5, "vdim": 3},
    "learned key": {"add_bias_kv": True, "batch_first": True},
    "zero key": {"add_zero_attn": True},
    "both keys": {"add_bias_kv": True, "add_zero_attn": True, "kdim": 5, "vdim": 3},
}


def attention_and_inputs(how: str, *, targets: int = 3, sources: int = 4) -> tuple[nn.MultiheadAttention, list[Tensor]]:
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(6, 2, **ATTENTION[how]).double()
    for name, parameter in layer.named_parameters():
        if "bias" in name:
            nn.init.normal_(parameter)  # torch starts from 0
    inputs = [normal(2, targets, 6), normal(2, sources, layer.kdim), normal(2, sources, layer.vdim)]
    return layer, inputs if layer.batch_first else [one.detach().transpose(0, 1).requires_grad_() for one in inputs]


MASKS: dict[str, dict[str, Any]] = {
    "none": {},
    "boolean": {"attn_mask": torch.tensor([[0, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 0]], dtype=torch.bool)},
    "added": {"attn_mask": torch.linspace(-2, 2, 12, dtype=torch.float64).reshape(3, 4)},
    "of every head": {"attn_mask": torch.arange(48).reshape(4, 3, 4) % 5 == 0},
    "padding": {"key_padding_mask": torch.tensor([[0, 0, 0, 1], [0, 1, 1, 1]], dtype=torch.bool)},
    "both": {
        "attn_mask": torch.tensor([[0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0]], dtype=torch.bool),
        "key_padding_mask": torch.tensor([[0, 0, 0, 1], [0, 0, 0, 0]], dtype=torch.bool),
    },
}


class _Asked(nn.Module):
    """Attention with the rest of its arguments."""

    def __init__(self, layer: nn.Module, how: dict[str, Any]) -> None:
        super().__init__()
        self.layer, self.how = layer, how

    def forward(self, *inputs: Tensor) -> Any:
        return self.layer(*inputs, **self.how)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("how", ATTENTION)
def test_attention_without_errors_is_the_digital_one(how: str, mask: str) -> None:
    layer, inputs = attention_and_inputs(how)
    analog = ns.to_analog(layer, profile(CHAINS["whole"]), seed=0)
    for need in ({"need_weights": False}, {"average_attn_weights": False} if mask == "both" else {}):
        same(_Asked(analog, MASKS[mask] | need), _Asked(layer, MASKS[mask] | need), *inputs)


@pytest.mark.parametrize("chain", CHAINS)
def test_attention_lies_on_every_array(chain: str) -> None:
    layer, inputs = attention_and_inputs("other sizes")
    same(ns.to_analog(layer, profile(CHAINS[chain]), seed=0), layer, *inputs)


@pytest.mark.parametrize("how", ATTENTION)
def test_attention_takes_inputs_without_a_batch_and_causal_masks(how: str) -> None:
    layer, inputs = attention_and_inputs(how, targets=4)
    analog = ns.to_analog(layer, profile(CHAINS["whole"]), seed=0)
    causal = torch.ones(4, 4, dtype=torch.bool).triu(1)
    for need in (True, False):
        kept = need or not (layer.add_zero_attn or layer.bias_k is not None)  # torch then forbids some added keys
        asked = {"attn_mask": causal, "is_causal": kept, "need_weights": need}
        same(_Asked(analog, asked), _Asked(layer, asked), *inputs)
        alone = [one.detach()[0 if layer.batch_first else slice(None)] for one in inputs]
        alone = [one if layer.batch_first else one[:, 0] for one in alone]
        padding = {"key_padding_mask": torch.tensor([False, False, True, False]), "need_weights": need}
        same(_Asked(analog, padding), _Asked(layer, padding), *alone)


def test_dropout_of_the_weights_drops_what_torch_drops() -> None:
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(6, 2, dropout=0.5, batch_first=True).double()
    analog, x = ns.to_analog(layer, profile(CHAINS["whole"]), seed=0), torch.rand(2, 7, 6, dtype=torch.float64)
    answers = []
    for one in (analog, layer):
        torch.manual_seed(1)
        answers.append(one(x, x, x)[0])
    torch.testing.assert_close(*answers, rtol=0, atol=1e-12)
    torch.testing.assert_close(analog.eval()(x, x, x), layer.eval()(x, x, x), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": torch.zeros(2, 3, 5)}, "and features (6, 6, 6), got (2, 3, 5), (2, 4, 6), (2, 4, 6)"),
        ({"query": torch.zeros(3, 6)}, "must all have a batch or none"),
        ({"value": torch.zeros(2, 3, 6)}, "key and value must have equal lengths"),
        ({"query": torch.zeros(1, 3, 6)}, "all of them equal batches"),
        ({"is_causal": True}, "needs one, got none"),
        ({"attn_mask": torch.zeros(4, 3)}, "attn_mask must be (3, 4) or (4, 3, 4), got (4, 3)"),
        ({"attn_mask": torch.zeros(4)}, "attn_mask must be (3, 4) or (4, 3, 4), got (4,)"),
        ({"key_padding_mask": torch.zeros(4)}, "key_padding_mask must be (2, 4), without a batch (4,), got (4,)"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_attention_names_what_does_not_fit(change: dict[str, Any], message: str) -> None:
    analog = ns.to_analog(nn.MultiheadAttention(6, 2, batch_first=True), "photonic_avnn", seed=0)
    given = {"query": torch.rand(2, 3, 6), "key": torch.rand(2, 4, 6), "value": torch.rand(2, 4, 6)} | change
    with pytest.raises(ConfigError) as caught:
        analog(**given)
    assert message in str(caught.value)


def test_the_way_there_and_back_keeps_attention() -> None:
    torch.manual_seed(1)
    for how in ({}, {"kdim": 5, "vdim": 3}):
        layer = nn.MultiheadAttention(6, 2, **how)
        inputs = torch.rand(3, 2, 6), torch.rand(4, 2, layer.kdim), torch.rand(4, 2, layer.vdim)
        analog: Any = ns.to_analog(layer, "photonic_avnn", seed=0)
        assert [row.path for row in analog.conversion.layers] == ["q_proj", "k_proj", "v_proj", "out_proj"]
        assert isinstance(analog, AnalogMultiheadAttention)
        assert list(analog.state_dict()) == list(layer.state_dict())
        analog.load_state_dict(layer.state_dict(), strict=True)
        with ns.noise("ideal", analog):
            assert torch.equal(analog(*inputs)[0], layer(*inputs)[0])
        twins = copy.deepcopy(analog), pickle.loads(pickle.dumps(analog))
        y = analog(*inputs)[0]
        assert all(torch.equal(twin(*inputs)[0], y) for twin in twins)
        assert not torch.equal(analog(*inputs)[0], y)
        digital: Any = ns.to_digital(analog)
        assert type(digital) is nn.MultiheadAttention
        assert type(digital.out_proj) is type(layer.out_proj)
        assert [name for name, _ in digital.named_modules()] == [name for name, _ in layer.named_modules()]
        assert torch.equal(digital(*inputs)[0], layer(*inputs)[0])


def test_parts_of_attention_are_chosen_by_path_or_with_the_whole() -> None:
    model = nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16), nn.Linear(8, 2))

    def converted(**choice: Any) -> list[str]:
        return [path.removeprefix("0.self_attn.") for path in ns.analog_layers(ns.to_analog(model, "photonic_avnn", seed=0, **choice))]

    assert (
        sorted(converted(layers="0.self_attn"))
        == sorted(converted(layers=nn.MultiheadAttention))
        == ["k_proj", "out_proj", "q_proj", "v_proj"]
    )
    assert converted(layers="*.out_proj") == ["out_proj"]
    assert sorted(converted(skip="*.q_proj")) == ["0.linear1", "0.linear2", "1", "k_proj", "out_proj", "v_proj"]
    assert converted(skip="0.self_attn") == ["0.linear1", "0.linear2", "1"]
    x = torch.rand(3, 2, 8)
    alone = ns.to_analog(model[0], profile({"output": {"adc": {"kind": "quantize", "levels": 3}}}), seed=0, layers="*.out_proj").eval()
    assert not torch.allclose(alone(x), model[0].eval()(x), atol=1e-3)


def test_attention_that_cannot_be_converted_keeps_its_last_layer_digital() -> None:
    class Own(nn.MultiheadAttention):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return super().forward(*args, **kwargs)

    analog: Any = ns.to_analog(nn.ModuleList([Own(8, 2), nn.Linear(8, 2)]), "photonic_avnn", seed=0)
    rows = {row.path: (row.status, row.reason) for row in analog.conversion.layers}
    assert rows["0"] == ("refused", "Own defines forward itself, so its product is not known to be that of MultiheadAttention")
    assert rows["0.out_proj"] == ("refused", "the attention that it is part of reads its weights directly, and stays digital")


def test_attention_is_made_for_hardware_directly() -> None:
    made = AnalogMultiheadAttention(8, 2, profile="photonic_avnn", seed=3, path="0")
    analog: Any = ns.to_analog(nn.Sequential(nn.MultiheadAttention(8, 2)), "photonic_avnn", seed=3)
    analog[0].load_state_dict(made.state_dict())
    x = torch.rand(3, 2, 8)
    assert torch.equal(made(x, x, x)[0], analog[0](x, x, x)[0])


def test_weights_of_projections_that_are_kept_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    times = []

    def counted(*args: Any, **kwargs: Any) -> Tensor:
        times.append(1)
        return encode(*args, **kwargs)

    monkeypatch.setattr("neurosim.nn.array.encode", counted)
    layer = nn.MultiheadAttention(8, 2)
    analog: Any = ns.to_analog(layer, profile(CHAINS["whole"]), seed=0)
    x = torch.rand(3, 2, 8)
    with ns.keep_weights(analog), torch.no_grad():
        for _ in range(3):
            torch.testing.assert_close(analog(x, x, x)[0], layer(x, x, x)[0])
        assert len(times) == 4
        analog.in_proj_weight.mul_(2)
        layer.in_proj_weight.mul_(2)
        torch.testing.assert_close(analog(x, x, x)[0], layer(x, x, x)[0])
        assert len(times) == 7


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage:UserWarning")  # of the digital model
@pytest.mark.parametrize("first", [True, False])
def test_transformers_run_on_hardware_whatever_path_torch_would_take(first: bool) -> None:
    torch.manual_seed(2)
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=not first), 2, enable_nested_tensor=first
    )
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16, batch_first=True, norm_first=first), 2)
    x, y = torch.rand(3, 5, 8), torch.rand(3, 4, 8)
    padding = torch.arange(5).expand(3, 5) >= torch.tensor([[5], [3], [2]])
    for model, inputs, asked in (
        (encoder, (x,), {"src_key_padding_mask": padding}),
        (encoder, (x,), {}),
        (decoder, (y, x), {"tgt_mask": nn.Transformer.generate_square_subsequent_mask(4), "tgt_is_causal": True}),
    ):
        model.eval()
        clean: Any = ns.to_analog(model, profile(CHAINS["tiles"]), seed=0)
        noisy = ns.to_analog(model, "photonic_avnn", seed=0)
        assert clean.conversion.count("refused") == 0
        with torch.no_grad():
            expected = model(*inputs, **asked)
            there = ~padding if asked.keys() == {"src_key_padding_mask"} else torch.ones(expected.shape[:2], dtype=torch.bool)
            torch.testing.assert_close(clean(*inputs, **asked)[there], expected[there], rtol=0, atol=1e-5)
            assert not torch.allclose(noisy(*inputs, **asked)[there], expected[there], atol=1e-2)
            back: Any = ns.to_digital(noisy)
            assert torch.equal(back(*inputs, **asked), expected)
    assert encoder.use_nested_tensor is first
    assert back.__dict__.keys() == model.__dict__.keys()


def test_compiled_attention_computes_the_same() -> None:
    torch._dynamo.reset()
    torch.manual_seed(3)
    analog = ns.to_analog(nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0), "photonic_avnn", seed=0)
    twin = copy.deepcopy(analog)
    compiled = torch.compile(twin, backend="aot_eager", fullgraph=True)
    x = torch.rand(3, 2, 8)
    for _ in range(2):
        torch.testing.assert_close(compiled(x), analog(x))

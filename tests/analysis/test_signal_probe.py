"""What a probe says of known signals is what they are, and the model does not notice."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import norm
from torch import Tensor, nn

import neurosim as ns
from neurosim.analysis import stage_levels
from neurosim.analysis.signal_report import NUMBERS
from neurosim.hardware.chain import ChainSpec
from neurosim.hardware.profile import Profile
from neurosim.nn import SpikingResidual, SpikingSequential

N = 4000
probe: Any = ns.probe  #: where it is called as it must not be


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def on_chip(model: nn.Module, chain: dict[str, Any]) -> nn.Module:
    return ns.to_analog(model, Profile("made", "for a test", "any", ChainSpec.model_validate(chain)), seed=3)


def linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight.data = weight.clone()
    if bias is not None:
        layer.bias.data = bias.clone()
    return layer


# closed forms


def test_gaussian_inputs_leave_a_linear_layer_with_the_variances_of_its_weights() -> None:
    weight, bias = gaussian(6, 8, seed=1), torch.arange(6.0)
    found = ns.probe(linear(weight, bias), gaussian(N, 8))[""]
    sizes = weight.square().sum(1)
    assert found.variance == pytest.approx(float(sizes.mean()), rel=6 * math.sqrt(2 / N))
    spread = float(4 * (bias.square() * sizes).sum() / N) ** 0.5 / 6  # standard deviation of the mean of squared means
    assert found.mean_square == pytest.approx(float(bias.square().mean()), abs=6 * spread + 6 * float(sizes.mean()) / N)
    assert found.snr is None
    assert found.channels == 6


def test_a_clamp_saturates_twice_the_tail_of_a_gaussian() -> None:
    c = 0.8
    expected = 2 * norm.cdf(-c)
    spread = math.sqrt(expected * (1 - expected) / (5 * N))
    chip = on_chip(nn.Sequential(linear(torch.eye(5))), {"input": {"normalize": {"kind": "clamp", "low": -c, "high": c}}})
    found = ns.probe(nn.Sequential(chip, nn.Hardtanh(-c, c)), gaussian(N, 5))
    (stage,) = found["0.0"].stages
    assert stage.slot == "input.normalize"
    assert found["0.0"].saturated == stage.saturated == pytest.approx(expected, abs=6 * spread)
    assert found["1"].saturated == pytest.approx(expected, abs=6 * spread)


def test_the_signal_to_noise_ratio_is_that_of_the_noise_that_was_added() -> None:
    sigma, weight = 0.05, 0.1 * gaussian(6, 8, seed=1)
    chain = {"output": {"noise": {"kind": "noise", "distribution": "gaussian", "scale": sigma}}}
    found = ns.probe(on_chip(nn.Sequential(linear(weight)), chain), gaussian(N, 8), passes=3)["0"]
    assert found.noise == pytest.approx(sigma**2, rel=6 * math.sqrt(2 / (3 * 6 * N)))
    exact = float((gaussian(N, 8) @ weight.T).var(0, correction=0).mean())
    assert found.signal == pytest.approx(exact, rel=1e-4)
    assert found.snr == pytest.approx(exact / sigma**2, rel=0.06)
    assert found.variance == pytest.approx(exact + sigma**2, rel=6 * math.sqrt(2 / N))


def test_levels_and_clipping_of_a_two_bit_converter() -> None:
    chain = {"input": {"dac": {"kind": "quantize", "levels": 4, "low": -1.0, "high": 1.0}}}
    chip = on_chip(nn.Sequential(linear(torch.ones(1, 1))), chain)
    found = ns.probe(chip, torch.tensor([[-2.0], [-1.0], [-0.3], [5.0], [0.9], [-0.2]]))["0"]
    assert (found.levels_used, found.levels) == (3, 4)  # -1, -1/3 and 1
    assert found.clipped == pytest.approx(2 / 6)
    assert found.stages[0].kind == "quantize"


def test_the_levels_of_a_converter_with_errors_are_those_it_chose() -> None:
    dac = {"kind": "converter", "side": "dac", "levels": 5, "low": -1.0, "high": 1.0, "gain": 0.3, "offset": 2.0}
    chip = on_chip(nn.Sequential(linear(torch.ones(1, 1))), {"input": {"dac": dac}})
    assert ns.probe(chip, torch.tensor([[-1.0], [0.0], [0.1], [1.0]]))["0"].levels_used == 3


def test_dormant_and_dead_units_are_found() -> None:
    weight, bias = torch.eye(4), torch.zeros(4)
    weight[1] *= 0.01
    bias[2] = -100.0
    found = ns.probe(nn.Sequential(linear(weight, bias), nn.ReLU()), gaussian(200, 4), tau=0.05)
    assert (found["1"].dormant, found["1"].dead) == (0.5, 0.25)
    assert ns.probe(nn.ReLU(), torch.full((3, 4), -1.0))[""].dormant == 1  # nothing is more than nothing
    assert ns.probe(nn.Sequential(linear(weight, bias), nn.ReLU()), gaussian(200, 4), tau=0)["1"].dormant == 0.25


def test_the_effective_rank_of_a_layer_is_that_of_its_outputs() -> None:
    layer, x = linear(torch.stack([torch.eye(3)[0], torch.eye(3)[0], torch.eye(3)[1]])), gaussian(300, 3)
    assert ns.probe(layer, x)[""].effective_rank == pytest.approx(ns.analysis.effective_rank(layer(x).detach(), center=True))


@pytest.mark.parametrize(
    ("layer", "shape", "axis"),
    [
        (nn.Conv2d(2, 3, 1), (40, 2, 4, 5), 1),
        (nn.LayerNorm(6), (40, 3, 6), 2),
        (nn.Conv1d(2, 3, 1), (40, 2, 5), 1),
        (nn.Linear(6, 4), (9, 2, 3, 6), 3),
    ],
    ids=["conv2d", "layer norm", "conv1d", "linear"],
)
def test_channels_are_where_the_layer_has_them(layer: nn.Module, shape: tuple[int, ...], axis: int) -> None:
    x = gaussian(*shape)
    y = layer(x).detach().double().movedim(axis, -1).flatten(0, -2)
    found = ns.probe(nn.Sequential(layer, nn.Tanh()), x, layers="*")
    assert found["0"].channels == y.shape[1]
    assert found["0"].mean_square == pytest.approx(float(y.mean(0).square().mean()))
    assert found["1"].channels == y.shape[1]  # an activation has them where the layer before it has


def test_the_parts_of_complex_signals_are_channels() -> None:
    x = torch.complex(gaussian(50, 2), 3 + gaussian(50, 2, seed=1))
    found = ns.probe(nn.Linear(2, 2, bias=False, dtype=torch.cfloat).requires_grad_(False), x)[""]
    assert found.channels == 4
    assert math.isfinite(found.variance)


# residual branches


class Block(nn.Module):
    """As in torchvision: the sum in place, then an activation."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.fc1, self.norm1, self.fc2, self.norm2 = (
            nn.Linear(inputs, outputs),
            nn.BatchNorm1d(outputs),
            nn.Linear(outputs, outputs),
            nn.BatchNorm1d(outputs),
        )
        self.relu = nn.ReLU(inplace=True)
        self.down = nn.Sequential(nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs)) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm2(self.fc2(self.relu(self.norm1(self.fc1(x)))))
        y += x if self.down is None else self.down(x)
        z: Tensor = self.relu(y)
        return z


class PreActivation(nn.Module):
    """One layer a branch; ``shortcut`` starts behind the norm, as where widths change."""

    def __init__(self, fc: nn.Module, shortcut: nn.Module | None = None, *, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.norm, self.relu, self.fc, self.shortcut = norm or nn.Identity(), nn.ReLU(), fc, shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.norm(x))
        z: Tensor = self.fc(y) + (x if self.shortcut is None else self.shortcut(y))
        return z


def test_residual_branches_are_found_by_what_is_added() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(Block(6, 6), Block(6, 8), PreActivation(nn.Linear(8, 8), norm=nn.LayerNorm(8)))
    found = ns.probe(net, gaussian(64, 6), training=True)
    assert {layer.path: layer.branches for layer in found.layers if layer.branches} == {
        "0": ("0.norm2",),
        "1": ("1.norm2",),
        "2": ("2.fc",),
    }
    assert found["1"].branch_variance == found["1.norm2"].variance
    assert found["0.fc1"].branch_variance is None
    order = [layer.path for layer in found.layers]
    assert order.index("1.norm2") < order.index("1.down.1") < order.index("1")


def test_a_transformer_has_two_branches_and_every_part_is_seen() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    found = ns.probe(layer, gaussian(3, 4, 8))
    assert found[""].branches == ("self_attn", "linear2")
    assert found[""].branch_variance == found["linear2"].variance
    assert {"self_attn", "linear1", "norm2"} <= {one.path for one in found.layers}
    assert torch.backends.mha.get_fastpath_enabled()


def test_the_branch_of_a_spiking_block_is_its_body() -> None:
    torch.manual_seed(0)
    block = SpikingResidual(SpikingSequential(nn.Linear(5, 5), ns.LIF(2e-3, 1e-3)))
    found = ns.probe(SpikingSequential(nn.Linear(5, 5), block), 3 * gaussian(6, 4, 5))
    assert found["1"].branches == ("1.body",)
    assert found["1"].branch_variance == found["1.body.1"].variance


def test_a_plain_chain_has_no_branches() -> None:
    found = ns.probe(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)), gaussian(20, 4))
    assert [layer.path for layer in found.layers] == ["0", "1", "2"]
    assert not any(layer.branches for layer in found.layers)


def test_mean_square_grows_with_depth_is_reset_by_a_transition_and_vanishes_with_standardised_weights() -> None:
    """Figure 1 of A. Brock, S. De, S. L. Smith, ICLR 2021, on layers of 200 units."""
    torch.manual_seed(0)
    gain = math.sqrt(2 / (1 - 1 / math.pi))  # of a rectified Gaussian

    def fc(standardised: bool) -> nn.Module:
        weight = torch.randn(200, 200) * math.sqrt(2 / 200)
        if standardised:
            weight = (weight - weight.mean(1, keepdim=True)) / weight.std(1, correction=0, keepdim=True) * gain / math.sqrt(200)
        return linear(weight)

    def net(standardised: bool) -> nn.Sequential:
        blocks = [PreActivation(fc(standardised), fc(standardised) if at == 4 else None, norm=nn.BatchNorm1d(200)) for at in range(6)]
        return nn.Sequential(*blocks)

    plain, scaled = (ns.probe(net(one), gaussian(400, 200), training=True) for one in (False, True))
    grown = [plain[str(at)].mean_square for at in range(6)]
    for at, branches in enumerate([1, 2, 3, 4, 2, 3]):  # a branch adds (√2 E[relu z])²; a transition has two, and begins anew
        assert grown[at] == pytest.approx(branches / math.pi, rel=6 * math.sqrt(2 / 200))
    assert grown[0] < grown[1] < grown[2] < grown[3] > 1.3 * grown[4]
    assert all(scaled[str(at)].mean_square < 0.05 * plain[str(at)].mean_square for at in range(6))
    variances = [plain[str(at)].branch_variance or 0.0 for at in range(6)]
    assert max(variances) < 1.5 * min(variances)  # each branch starts from a normalised signal


# spikes


def test_rates_dead_neurons_and_potentials_are_those_of_other_tools() -> None:
    torch.manual_seed(0)
    net = SpikingSequential(nn.Linear(6, 12), ns.LIF(5e-3, 1e-3), nn.Linear(12, 4), ns.LIF(5e-3, 1e-3), nn.Linear(4, 2), ns.LI(5e-3, 1e-3))
    batches = [2 * gaussian(10, 7, 6), 2 * gaussian(10, 3, 6, seed=1)]
    found, activity = ns.probe(net, batches), ns.activity(net, batches)
    for layer in activity.layers:
        assert found[layer.path].rate == pytest.approx(layer.rate.value)
        assert found[layer.path].dead == pytest.approx(layer.dead)
    assert found.samples == activity.samples == 10
    with ns.record(net) as recording:
        net(batches[0])
        net(batches[1])
    for path in ("1", "5"):
        v = recording[path].membrane.double()
        assert found[path].membrane_mean == pytest.approx(float(v.mean()))
        assert found[path].membrane_std == pytest.approx(float(v.std(correction=0)))
    assert found["5"].rate is None


def test_an_encoder_draws_the_same_in_passes_with_noise_and_without() -> None:
    torch.manual_seed(0)
    body = SpikingSequential(nn.Linear(4, 6), ns.LIF(5e-3, 1e-3))
    net = ns.nn.SpikingNetwork(body, 12, ns.ENCODERS["rate"](steps=12), seed=1)
    chain = {"output": {"noise": {"kind": "noise", "distribution": "gaussian", "scale": 1e-6}}}
    found = ns.probe(on_chip(net, chain), torch.rand(5, 4, generator=torch.Generator().manual_seed(0)))
    assert found["body.0"].noise == pytest.approx(1e-12, rel=0.3)


# noise


def test_a_model_without_noise_has_no_signal_to_noise_ratio() -> None:
    chip = ns.to_analog(nn.Sequential(nn.Linear(4, 3)), "photonic_avnn", seed=0)
    assert ns.probe(chip, gaussian(9, 4)).passes == 2
    with ns.noise("off", chip):
        quiet = ns.probe(chip, gaussian(9, 4))
        assert (quiet.passes, quiet["0"].snr, quiet["0"].noise) == (0, None, None)
        errors = ns.probe(chip, gaussian(9, 4), against="ideal")
    x, digital = gaussian(9, 4), ns.to_digital(chip)
    with ns.noise("off", chip), torch.no_grad():
        assert errors["0"].noise == pytest.approx(float((chip(x) - digital(x)).square().mean()), rel=1e-4)


def test_layers_before_the_first_noise_have_an_infinite_ratio(tmp_path: Path) -> None:
    noisy = on_chip(nn.Sequential(nn.Linear(4, 3)), {"output": {"noise": {"kind": "noise", "distribution": "gaussian", "scale": 0.1}}})
    found = ns.probe(nn.Sequential(nn.Tanh(), noisy), gaussian(9, 4))
    assert found["0"].snr == math.inf
    assert "∞" in str(found).splitlines()[2]
    assert json.loads(found.save(tmp_path / "a.json").read_text(), parse_constant=pytest.fail)["layers"][0]["noise"] == 0


def test_statistics_do_not_depend_on_the_number_of_passes() -> None:
    chip = ns.to_analog(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), "photonic_avnn", seed=0)
    one, four = (ns.probe(chip, [gaussian(5, 4), gaussian(6, 4)], passes=passes) for passes in (1, 4))
    assert [layer.variance for layer in one.layers] == [layer.variance for layer in four.layers]
    assert one["0"].noise != four["0"].noise


def test_converters_behind_arrays_are_seen_unless_their_signals_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    chip = ns.to_analog(nn.Sequential(nn.Linear(20, 6)), "isaac", seed=0)
    slots = {stage.slot: stage for stage in ns.probe(chip, gaussian(5, 20))["0"].stages}
    assert slots["output.adc"].levels is not None
    assert 0 < (slots["output.adc"].used or 0) <= slots["output.adc"].levels
    monkeypatch.setattr(stage_levels, "MOST_SIGNALS", 10)
    assert "output.adc" not in {stage.slot for stage in ns.probe(chip, gaussian(5, 20))["0"].stages}


# the model, and what it is given


def test_the_model_does_not_notice() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.ReLU(), nn.Linear(6, 2))
    chip = ns.to_analog(model, "photonic_avnn", seed=0).train()
    chip.get_submodule("3").eval()
    chip(gaussian(8, 4))
    before = {name: value.clone() for name, value in [*chip.named_parameters(), *chip.named_buffers()]}
    modes = [module.training for module in chip.modules()]
    hooks = [(len(module._forward_hooks), len(module._forward_pre_hooks), sorted(module.__dict__)) for module in chip.modules()]
    drawn, random = ns.get_draws(chip), torch.get_rng_state()
    found = [ns.probe(chip, gaussian(8, 4), training=training) for training in (False, True, True)]
    assert found[1].to_dict() == found[2].to_dict() != found[0].to_dict()
    after = dict([*chip.named_parameters(), *chip.named_buffers()])
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert before.keys() == after.keys()
    assert [module.training for module in chip.modules()] == modes
    assert [(len(one._forward_hooks), len(one._forward_pre_hooks), sorted(one.__dict__)) for one in chip.modules()] == hooks
    assert ns.get_draws(chip) == drawn
    assert torch.equal(torch.get_rng_state(), random)


def test_batches_of_any_number_give_what_one_gives() -> None:
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)), gaussian(50, 4)
    whole, parts = ns.probe(net, x), ns.probe(net, [(part, None) for part in (x[:7], x[7:7], x[7:8], x[8:])])
    assert parts.samples == 50
    for a, b in zip(whole.layers, parts.layers, strict=True):
        ours, theirs = ({name: value for name, value in one.to_dict().items() if name in NUMBERS and value is not None} for one in (a, b))
        assert len(ours) == 6
        assert ours == pytest.approx(theirs, rel=1e-6)


def test_a_layer_that_is_used_for_two_shapes_has_two_entries() -> None:
    relu = nn.ReLU()
    found = ns.probe(nn.Sequential(nn.Linear(4, 6), relu, nn.Linear(6, 3), relu), gaussian(5, 4))
    assert [layer.units for layer in found.layers if layer.path == "1"] == [(6,), (3,)]
    assert found.samples == 5


def test_layers_are_chosen_by_globs_and_types() -> None:
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    assert [layer.path for layer in ns.probe(net, gaussian(5, 4), layers=["2", nn.ReLU]).layers] == ["1", "2"]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda net: probe(3, gaussian(2, 4)), ns.ConfigError, "model must be a torch.nn.Module, got int"),
        (lambda net: probe(net, gaussian(2, 5)), ns.DataError, r"must take a batch of shape \(2, 5\)"),
        (lambda net: probe(net, gaussian(0, 4)), ns.DataError, "at least one sample"),
        (lambda net: probe(net, []), ns.DataError, "at least one sample"),
        (lambda net: probe(net, 3), ns.ConfigError, "data must be a tensor, or batches of tensors, got int"),
        (lambda net: probe(net, ["x"]), ns.ConfigError, "got str"),
        (lambda net: probe(net, gaussian(2, 4), passes=0), ns.ConfigError, "passes: must be a whole number, 1 or more"),
        (lambda net: probe(net, gaussian(2, 4), tau=-1), ns.ConfigError, "tau"),
        (lambda net: probe(net, gaussian(2, 4), against="idea"), ns.ConfigError, "did you mean 'ideal'"),
        (lambda net: probe(net, gaussian(2, 4), training=1), ns.ConfigError, "training must be true or false"),
        (lambda net: probe(net, gaussian(2, 4), layers="fcc"), ns.ConfigError, "did you mean 'fc'"),
        (lambda net: probe(net, gaussian(2, 4), layers=nn.Conv2d), ns.ConfigError, "runs none of these layers"),
        (lambda net: probe(net, gaussian(2, 4))["fcc"], ns.ConfigError, "did you mean 'fc'"),
        (lambda net: probe(net, gaussian(2, 4)).save("a.txt"), ns.ConfigError, "must end in .json or .csv"),
        (lambda net: probe(net, gaussian(2, 4)).save("no/such/a.csv"), ns.ConfigError, "must exist"),
        (lambda net: ns.plot.propagation([]), ns.ConfigError, "at least one layer"),
    ],
)
def test_what_does_not_hold_is_said(call: Callable[[nn.Module], Any], error: type[Exception], message: str) -> None:
    net = nn.Sequential()
    net.add_module("fc", nn.Linear(4, 3))
    with pytest.raises(error, match=message):
        call(net)


def test_a_model_that_cannot_be_copied_is_refused() -> None:
    net: Any = nn.Linear(2, 2)
    net.cache = net(torch.ones(1, 2))  # a result with a graph cannot be copied
    with pytest.raises(ns.ConversionError, match="must be deep-copyable"):
        ns.probe(net, torch.ones(1, 2))


# what comes out


def test_the_table_the_files_and_the_figure_say_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    found = ns.probe(ns.to_analog(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), "photonic_avnn", seed=0), gaussian(9, 4))
    data = json.loads(found.save(tmp_path / "a.json").read_text(), parse_constant=pytest.fail)
    assert data == json.loads(json.dumps(found.to_dict()))
    with found.save(tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["path"], float(row["variance"])) for row in rows] == [(layer.path, layer.variance) for layer in found.layers]
    assert rows[1]["saturated"] == ""
    assert f"{found['0'].variance:.3g}" in str(found).splitlines()[2]
    _, axes = found.plot(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert list(axes[0].lines[1].get_ydata()) == [layer.variance for layer in found.layers]
    assert len(axes) == 3


def test_numbers_that_are_not_finite_are_told_as_none() -> None:
    layer = ns.probe(nn.Tanh(), torch.tensor([[math.nan, 1.0], [0.0, 1.0]]))[""]
    assert math.isnan(layer.variance)
    assert layer.to_dict()["variance"] is None
    assert layer.to_dict()["effective_rank"] is None

"""Source and detector: the stages against the link of which they are the two ends."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from scipy import stats
from torch import Tensor, nn

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.hardware.chain import ChainSpec
from neurosim.hardware.link import Link, rin_variance, shot_variance, thermal_variance
from neurosim.hardware.profile import Profile
from neurosim.hardware.stage import STAGES, Context
from neurosim.hardware.stages import Detector, Source, detect, modulate
from neurosim.random import stream

RECEIVER: dict[str, Any] = {"responsivity_a_per_w": 0.8, "bandwidth_hz": 5e9, "load_ohm": 75.0}
NOISY: dict[str, Any] = {"rin_db_per_hz": -120.0, "bandwidth_hz": 1e9}  #: 3.2 %
MANY = 20_000


def apply(kind: str, x: Tensor, shape: tuple[int, ...] | None = None, kelvin: float = 300.0, draw: int = 0, **fields: Any) -> Tensor:
    """One stage; programmed where the shape of a sample is given."""
    stage, spec = STAGES[kind], STAGES[kind].spec(**fields)
    source = stream(7, kind, draw=draw)
    device = None if shape is None else stage.program(spec, {}, shape, source)
    return stage.apply(x, spec, {}, device, Context(source, kelvin=kelvin))


def bounds(sigma: float, n: int) -> tuple[float, float]:
    """Where the measured standard deviation of n normal numbers lies, except once in 5,000 times."""
    low, high = (math.sqrt(float(stats.chi2.ppf(at, n - 1)) / (n - 1)) * sigma for at in (1e-4, 1 - 1e-4))
    return low, high


def assert_sigma(values: Tensor, sigma: float) -> None:
    low, high = bounds(sigma, values.numel())
    assert low < values.std().item() < high


# --- detector --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kelvin", [77.0, 300.0])
@pytest.mark.parametrize("changes", [{}, {"power_w": 1e-6}, {"bandwidth_hz": 1e8}, {"load_ohm": 1e4}, {"responsivity_a_per_w": 0.3}])
def test_a_detector_has_the_noise_of_the_link_at_full_scale(changes: dict[str, float], kelvin: float) -> None:
    fields: dict[str, Any] = {"power_w": 2e-4, **RECEIVER, "dark_current_a": 1e-7, "rin_db_per_hz": -150.0, **changes}
    power = fields["power_w"]
    link = Link(**{name: value for name, value in fields.items() if name != "power_w"}, kelvin=kelvin)
    y = apply("detector", torch.ones(MANY, dtype=torch.float64), kelvin=kelvin, **fields)
    assert_sigma(y, link.resolution(power).sigma)
    assert sum(Detector(**fields).coefficients(kelvin)) ** 0.5 == pytest.approx(link.resolution(power).sigma)


def test_each_noise_follows_the_signal_by_its_law() -> None:
    sum_of = torch.tensor([0.0, 1.0, -4.0, 16.0], dtype=torch.float64)
    for which, law in enumerate(("constant", "root", "straight")):
        fields: dict[str, Any] = {"power_w": 1e-3, **RECEIVER, "rin_db_per_hz": -140.0}
        terms = Detector(**fields).coefficients(300.0)
        alone = terms._replace(**{name: 0.0 for at, name in enumerate(terms._fields) if at != which})
        sigma = (detect(sum_of, torch.ones(4, dtype=torch.float64), alone) - sum_of).tolist()
        growth = {"constant": [1, 1, 1, 1], "root": [0, 1, 2, 4], "straight": [0, 1, 4, 16]}[law]
        assert sigma == pytest.approx([growth_at * sigma[1] for growth_at in growth])
    current = 0.8e-3
    assert terms.constant == pytest.approx(thermal_variance(300.0, 75.0, 5e9) / current**2)
    assert terms.linear == pytest.approx(shot_variance(current, 5e9) / current**2)
    assert terms.square == pytest.approx(rin_variance(1.0, -140.0, 5e9))


def test_dark_current_and_background_make_shot_noise_without_signal() -> None:
    cases: list[dict[str, Any]] = [{}, {"dark_current_a": 8e-5}, {"background_w": 1e-4}]
    plain, dark, light = (Detector(power_w=1e-4, **RECEIVER, **more).coefficients(300.0) for more in cases)
    assert dark.constant - plain.constant == pytest.approx(plain.linear)
    assert light.constant == pytest.approx(dark.constant)
    assert (dark.linear, dark.square) == (plain.linear, plain.square)


def test_a_diode_saturates_at_its_current() -> None:
    spec = Detector(power_w=1e-4, **RECEIVER, saturation_a=4e-4)
    assert spec.largest == pytest.approx(5.0)
    y = STAGES["detector"].apply(torch.tensor([-9.0, -4.9, 4.9, 9.0]), spec, {}, None, Context(None))
    assert y.tolist() == pytest.approx([-5.0, -4.9, 4.9, 5.0])


def test_the_gradient_of_a_detector_is_that_of_the_noisy_value_or_one() -> None:
    x = torch.tensor([-6.0, -2.0, 0.3, 4.0, 7.0], dtype=torch.float64, requires_grad=True)
    fields: dict[str, Any] = {"power_w": 1e-5, **RECEIVER, "rin_db_per_hz": -110.0, "saturation_a": 4e-5}
    torch.autograd.gradcheck(lambda v: apply("detector", v, **fields), (x,))
    (true,) = torch.autograd.grad(apply("detector", x, **fields).sum(), x)
    assert (true[[0, 4]] == 0).all()
    assert (true[1:4] != 1).all()
    (straight,) = torch.autograd.grad(apply("detector", x, **fields, grad="ste").sum(), x)
    assert torch.equal(straight, torch.ones_like(x))
    torch.testing.assert_close(apply("detector", x, **fields), apply("detector", x, **fields, grad="ste"))


def test_nothing_on_the_detector_has_a_finite_gradient() -> None:
    x = torch.zeros(4, requires_grad=True)
    (grad,) = torch.autograd.grad(apply("detector", x, power_w=1e-4, **RECEIVER).sum(), x)
    assert torch.equal(grad, torch.ones(4))


# --- source ----------------------------------------------------------------------------------------------------------------------------


def test_noise_that_inputs_share_grows_with_their_number_and_not_with_its_root() -> None:
    n, sigma = 64, math.sqrt(1e-12 * 1e9)
    assert Source(**NOISY).relative_noise == pytest.approx(sigma)
    x, weight = torch.ones(MANY, n, dtype=torch.float64), torch.full((n,), 0.5, dtype=torch.float64)
    shared, own = ((apply("source", x, (n,), channels_per_source=each, **NOISY) @ weight) for each in (None, 1))
    assert_sigma(shared, 0.5 * n * sigma)
    assert_sigma(own, 0.5 * math.sqrt(n) * sigma)
    ratio = shared.std().item() / own.std().item()
    assert ratio == pytest.approx(math.sqrt(n), rel=bounds(1.0, MANY)[1] ** 2 - 1)


def test_a_source_feeds_neighbouring_channels() -> None:
    y = apply("source", torch.ones(50, 7, dtype=torch.float64), (7,), channels_per_source=3, **NOISY)
    for a in range(7):
        for b in range(7):
            assert torch.equal(y[:, a], y[:, b]) == (a // 3 == b // 3)
    assert len(torch.unique(y)) == 150  # another draw for every sample
    torch.testing.assert_close(
        apply("source", torch.full((50, 7), -0.5, dtype=torch.float64), (7,), channels_per_source=3, **NOISY), -0.5 * y
    )


def test_channels_of_images_share_a_source_at_every_place() -> None:
    y = apply("source", torch.ones(5, 4, 3, 3, dtype=torch.float64), (4, 1, 1), channels_per_source=2, **NOISY)
    assert torch.equal(y[:, 0], y[:, 1])
    assert torch.equal(y[:, 2], y[:, 3])
    assert len(torch.unique(y)) == 5 * 2 * 9
    one = apply("source", torch.ones(5, 4, 3, 3, dtype=torch.float64)[0], (4, 1, 1), **NOISY)
    assert len(torch.unique(one)) == 9  # without a batch


def test_without_a_shape_the_last_axis_has_the_channels() -> None:
    x = torch.ones(6, 5, 4, dtype=torch.float64)
    assert torch.equal(apply("source", x, channels_per_source=2, **NOISY), apply("source", x, (4,), channels_per_source=2, **NOISY))


def test_inputs_of_several_groups_are_numbered_through() -> None:
    x = torch.ones(2, 5, 3, 4, dtype=torch.float64)  # passes, products, groups, inputs
    y = apply("source", x, (3, 4), channels_per_source=6, **NOISY)
    assert torch.equal(y.flatten(2), apply("source", x.flatten(2), (12,), channels_per_source=6, **NOISY))
    assert len(torch.unique(y)) == 2 * 5 * 2


def test_a_signal_of_other_inputs_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"source: the signal must have inputs of the shape \(4,\), got the shape \(2, 5\)"):
        apply("source", torch.ones(2, 5), (4,), **NOISY)


LIGHT: dict[str, Any] = {
    "input": {"noise": {"kind": "source", **NOISY}},
    "output": {"noise": {"kind": "detector", "power_w": 1e-4, **RECEIVER}},
    "array": {
        "mesh": {
            "kind": "ring_bank",
            "radius_m": 5e-6,
            "wavelength_m": 1550e-9,
            "group_index": 4.2,
            "round_trip": 0.999,
            "coupling_bus": 0.98,
            "coupling_drop": 0.98,
            "channels": 8,
            "spacing_m": 1e-9,
            "offset_sigma_m": 1e-12,
        }
    },
    "weight": {"scale": {"kind": "scale"}},
}


@pytest.mark.parametrize("tiles", [None, 8])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [(nn.Linear(20, 3), (4, 20)), (nn.Conv2d(4, 6, 3, groups=2), (2, 4, 5, 5)), (nn.ConvTranspose1d(2, 3, 2), (2, 2, 5))],
)
def test_layers_run_on_light_and_lose_nothing_without_its_noise(layer: nn.Module, shape: tuple[int, ...], tiles: int | None) -> None:
    chain = {**LIGHT, "array": LIGHT["array"] | ({"tiles": {"kind": "tiles", "rows": tiles}} if tiles else {})}
    on_chip = ns.to_analog(layer.double(), Profile("light", "for a test", "photonic", ChainSpec.model_validate(chain)), seed=3)
    x = 2 * stream(4, "x").uniform(shape, like=torch.empty(0, dtype=torch.float64)) - 1
    with ns.noise("off", on_chip):
        torch.testing.assert_close(on_chip(x), layer(x), rtol=0, atol=1e-8)
    noisy = on_chip(x)
    assert 1e-4 < (noisy - layer(x)).abs().mean() < 0.5
    assert not torch.equal(noisy, on_chip(x))
    noisy.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in on_chip.parameters() if parameter.grad is not None)


def test_a_modulator_has_its_transfer_loss_and_dark_light() -> None:
    x = torch.linspace(-1, 1, 21, dtype=torch.float64)
    assert torch.equal(modulate(x), x)
    torch.testing.assert_close(modulate(x, transfer="sin2"), x.sign() * (1 - torch.cos(math.pi * x)) / 2)
    torch.testing.assert_close(modulate(x, extinction_ratio_db=10.0), 0.9 * x)
    torch.testing.assert_close(modulate(x, arms="single", extinction_ratio_db=10.0), 0.1 + 0.9 * x)
    torch.testing.assert_close(modulate(x, insertion_loss_db=3.0, arms="single", extinction_ratio_db=10.0), 10**-0.3 * (0.1 + 0.9 * x))
    y = apply("source", x, transfer="sin2", arms="single", extinction_ratio_db=20.0, insertion_loss_db=1.0)
    assert (y[-1] / y[10]).item() == pytest.approx(100)  # bright over dark: 20 dB


def test_the_gradient_of_a_source_is_the_true_derivative() -> None:
    x = torch.tensor([[-0.8, 0.3, 0.9]], dtype=torch.float64, requires_grad=True)
    more: dict[str, Any] = {"transfer": "sin2", "extinction_ratio_db": 8.0, "insertion_loss_db": 1.0}
    torch.autograd.gradcheck(lambda v: apply("source", v, (3,), **NOISY, **more), (x,))


def test_intensity_noise_needs_a_bandwidth() -> None:
    with pytest.raises(ValidationError, match="needs bandwidth_hz beside rin_db_per_hz"):
        Source(rin_db_per_hz=-140.0)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's tracer does it itself
def test_sources_batch_over_chips_and_compile() -> None:
    spec = Source(**NOISY, channels_per_source=2)
    stage, x = STAGES["source"], torch.ones(3, 4)
    source = stream(0, "x")
    wiring = stage.program(spec, {}, (4,), source)

    def one(chip: Tensor) -> Tensor:
        return stage.apply(x, spec, {}, wiring, Context(source._replace(chip=chip)))

    chips = torch.arange(3)
    torch.testing.assert_close(torch.func.vmap(one)(chips), torch.stack([one(chip) for chip in chips]))
    torch.testing.assert_close(torch.compile(one, fullgraph=True, backend="aot_eager")(chips[1]), one(chips[1]))


def test_both_are_described_in_a_line() -> None:
    text = STAGES["detector"].describe(Detector(power_w=1e-4, **RECEIVER, saturation_a=4e-4))
    assert text == "detector, 0.8 A/W, 5e+09 Hz, 100 uW at a signal of 1: noise σ = 0.0139 there (300 K), saturating at a signal of 5"
    text = STAGES["source"].describe(Source(**NOISY, extinction_ratio_db=20.0, insertion_loss_db=3.0, transfer="sin2", arms="single"))
    assert text == (
        "one arm, sin² modulator, extinction 20 dB, insertion loss 3 dB, intensity noise of 3.16 % common to all channels of a source"
    )

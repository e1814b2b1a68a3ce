"""Scores, centres and thresholds, against definitions and closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn

from neurosim.errors import ConfigError
from neurosim.random import stream
from neurosim.sparsity import centre_of, column_norms, kde_mode, largest, magnitude_threshold


def normal(*shape: int, draw: int = 0) -> Tensor:
    return stream(5, "sparsity", draw=draw).normal(shape, like=torch.empty(0, dtype=torch.float64))


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=60), st.floats(0, 0.99))
def test_at_least_the_share_is_left_out_and_none_of_those_is_larger_than_one_that_stays(values: list[float], share: float) -> None:
    x = torch.tensor(values, dtype=torch.float64)
    threshold = magnitude_threshold(x, share)
    out = x.abs() <= threshold
    assert int(out.sum()) >= int(share * len(values) + 1e-9)
    strictly = x.abs() < threshold
    assert int(strictly.sum()) <= max(0, int(share * len(values) + 1e-9) - 1)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_of_a_gaussian_the_threshold_is_its_quantile_of_a_half_and_half_the_share(share: float) -> None:
    """The asymptotic deviation of a sample quantile bounds the distance."""
    n = 200_000
    wanted = float(stats.norm.ppf(0.5 + share / 2))
    deviation = math.sqrt(share * (1 - share) / n) / (2 * float(stats.norm.pdf(wanted)))
    assert abs(float(magnitude_threshold(normal(n), share)) - wanted) < 5 * deviation


def test_every_channel_has_the_threshold_of_its_own_numbers() -> None:
    x = normal(200, 6) * torch.linspace(0.1, 3, 6, dtype=torch.float64)
    found = magnitude_threshold(x, 0.4, axis=-1)
    assert found.tolist() == [float(magnitude_threshold(x[:, at], 0.4)) for at in range(6)]


@pytest.mark.parametrize("wrong", [1.0, -0.1, math.nan, True, "0.5"])
def test_a_share_that_is_none_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigError, match="sparsity: must be a finite number ≥ 0 and < 1"):
        magnitude_threshold(torch.ones(3), wrong)  # type: ignore[arg-type]  # that is what is tested


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: magnitude_threshold(torch.ones(2, 3), 0.5, axis=2),
            r"magnitude_threshold: axis must be one of scores of shape \(2, 3\), got 2",
        ),
        (lambda: largest(torch.ones(2, 3), 0.5, axis=-3), r"largest: axis must be one of scores of shape \(2, 3\), got -3"),
        (lambda: largest(torch.tensor(1.0), 0.5), r"largest: axis must be one of scores of shape \(\), got -1"),
        (lambda: column_norms(torch.ones(4)), r"column_norms: weight must have two axes or more, .* got \(4,\)"),
        (
            lambda: column_norms(torch.ones(5, 3), 2),
            r"column_norms: weight must have two axes or more, the first a multiple of 2, got \(5, 3\)",
        ),
    ],
)
def test_an_axis_that_is_not_there_is_refused(call: Callable[[], Tensor], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call()


def test_nothing_has_neither_threshold_nor_centre() -> None:
    for call in (lambda: magnitude_threshold(torch.empty(0), 0.5), lambda: centre_of(torch.empty(0), "median")):
        with pytest.raises(ConfigError, match="got none"):
            call()
    with pytest.raises(ConfigError, match="did you mean 'median'"):
        centre_of(torch.ones(1), "medin")  # type: ignore[arg-type]  # that is what is tested


def test_the_peak_is_that_of_the_density_that_scipy_estimates() -> None:
    x = torch.cat([normal(3000), 6 + 0.5 * normal(1000, draw=1)])
    values = x.numpy()
    width = 0.9 * min(values.std(), stats.iqr(values) / 1.34) * len(values) ** -0.2
    density = stats.gaussian_kde(values, bw_method=width / values.std(ddof=1))
    places = torch.linspace(-2, 2, 8001, dtype=torch.float64)
    wanted = float(places[int(density(places.numpy()).argmax())])
    assert float(kde_mode(x)) == pytest.approx(wanted, abs=5e-3)


@pytest.mark.parametrize("far", [[1e4], [1e2, -1e2], [-3e5, 2.0, 1e7]])
def test_inputs_far_beyond_all_others_do_not_move_the_peak(far: list[float]) -> None:
    """Of a normal law the mode is the mean; its estimate lies within a bandwidth of 0.17 standard deviations."""
    x = torch.cat([0.5 + 0.01 * normal(5000), torch.tensor(far)])
    assert float(kde_mode(x)) == pytest.approx(0.5, abs=0.005)
    skewed = torch.cat([normal(4000).exp(), torch.tensor(far).abs()])  # whose peak has a steep side
    assert float(kde_mode(skewed)) == pytest.approx(math.exp(-1), abs=0.15)


def test_a_number_that_many_inputs_are_equal_to_is_the_mode() -> None:
    assert float(kde_mode(normal(4000).relu())) == 0.0
    assert float(kde_mode((2 * normal(4000) + 6.2).round())) == 6.0
    assert float(centre_of(normal(4001).relu() * (normal(4001) - 0.2 > 0), "median")) == 0.0


def test_behind_gelu_and_silu_the_peak_is_below_0() -> None:
    """That is why centring helps there: most numbers lie near the least of the curve, not near 0."""
    x = normal(20_000)
    for curve, least in ((nn.functional.gelu, -0.17), (nn.functional.silu, -0.2785)):
        assert least - 0.02 < float(kde_mode(curve(x))) < -0.1


@pytest.mark.parametrize("groups", [1, 2])
def test_column_norms_are_those_of_the_response_to_one_input(groups: int) -> None:
    """A convolution of stride as wide as its kernel answers an impulse with all taps it has for that input, in one place each."""
    conv = nn.Conv2d(4, 6, 3, groups=groups, padding=2, bias=False).double()
    turned = nn.ConvTranspose2d(4, 6, 3, groups=groups, bias=False).double()
    for layer, transposed in ((conv, False), (turned, True)):
        found = column_norms(layer.weight.detach(), groups, transposed=transposed)
        for channel in range(4):
            impulse = torch.zeros(1, 4, 1, 1, dtype=torch.float64)
            impulse[0, channel] = 1
            assert float(layer(impulse).detach().norm()) == pytest.approx(float(found[channel]), rel=1e-12)


@given(st.integers(1, 30), st.floats(0, 0.99), st.booleans())
def test_of_every_vector_so_many_stay(length: int, share: float, equal: bool) -> None:
    x = torch.ones(3, length) if equal else normal(3, length).float()
    mask = largest(x, share)
    assert mask.sum(-1).tolist() == [length - int(share * length + 1e-9)] * 3
    if not equal:
        assert all(row[keep].abs().min() >= row[~keep].abs().max() for row, keep in zip(x, mask, strict=True) if not bool(keep.all()))

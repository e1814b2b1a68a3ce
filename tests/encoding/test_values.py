"""What the encoders give: closed forms, statistics with computed bounds, and other libraries."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import neurosim as ns
from neurosim.encoding import constant, delta, latency, phase, poisson, population, rate, rc_latency, receptive_fields

SOURCE = ns.random.stream(8, "values under test")


def test_a_constant_is_a_view_of_its_values() -> None:
    x = torch.rand(2, 3)
    out = constant(x, 5)
    assert torch.equal(out, x.repeat(5, 1, 1))
    assert out.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()


# --- rate and poisson ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.01, 0.3, 0.5, 0.97])
def test_spikes_are_as_frequent_as_the_value_says(p: float) -> None:
    """The number of spikes lies where a binomial one does with probability 1 − 10⁻⁶."""
    count = int(rate(torch.full((50, 20), p), 100, stream=SOURCE).sum())
    low, high = stats.binom.interval(1 - 1e-6, 100_000, p)
    assert low <= count <= high


def test_spikes_are_independent_of_the_step_before_and_of_the_neighbour() -> None:
    """Pairs of spikes are as frequent as for independent ones, in time and over units."""
    spikes = rate(torch.full((1, 400), 0.5), 400, stream=SOURCE)[:, 0]
    for pairs in (spikes[1::2] * spikes[::2], spikes[:, 1::2] * spikes[:, ::2]):
        low, high = stats.binom.interval(1 - 1e-6, pairs.numel(), 0.25)
        assert low <= int(pairs.sum()) <= high


def test_zero_never_fires_one_always_and_nothing_lies_beyond() -> None:
    spikes = rate(torch.tensor([[-1.0, 0.0, 1.0, 5.0, math.nan]]), 500, stream=SOURCE)
    assert spikes.mean((0, 1)).tolist() == [0, 0, 1, 1, 0]


def test_small_probabilities_are_kept_in_16_bits() -> None:
    """1 in 1000 is 1 in 1000, although bfloat16 numbers near 1 are 1/256 apart."""
    x = torch.full((100, 100), 1e-3, dtype=torch.bfloat16)
    low, high = stats.binom.interval(1 - 1e-6, 1_000_000, float(x[0, 0]))
    assert low <= int(rate(x, 100, stream=SOURCE).float().sum()) <= high


def test_gain_is_spikes_per_step_for_a_value_of_one() -> None:
    x = torch.rand(4, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(rate(x, 20, gain=0.25, stream=SOURCE), rate(x * 0.25, 20, stream=SOURCE))


def test_the_gradient_of_a_rate_is_that_of_its_mean() -> None:
    x = torch.tensor([[-0.5, 0.2, 0.9, 3.0]], requires_grad=True)
    weight = torch.rand(10, 1, 4, generator=torch.Generator().manual_seed(0))
    spikes = rate(x, 10, gain=0.5, stream=SOURCE)
    assert set(spikes.unique().tolist()) <= {0.0, 1.0}
    (grad,) = torch.autograd.grad((weight * spikes).sum(), x)
    expected = 0.5 * weight.sum(0) * torch.tensor([0.0, 1.0, 1.0, 0.0])
    torch.testing.assert_close(grad, expected)


@pytest.mark.parametrize("mean", [0.05, 0.7, 4.0, 30.0, 64.0])
def test_counts_are_distributed_as_poisson_counts_are(mean: float) -> None:
    """A chi-squared test over the counts that are expected 20 times or more, which fails by chance once in a million."""
    counts = poisson(torch.ones(100, 100), 10, rate_hz=mean * 1e3, dt=1e-3, stream=SOURCE).flatten().long()
    seen = torch.bincount(counts, minlength=200).double()
    expected = torch.tensor([100_000 * float(stats.poisson.pmf(k, mean)) for k in range(len(seen))], dtype=torch.float64)
    kept = expected >= 20
    statistic = ((seen[kept] - expected[kept]).square() / expected[kept]).sum()
    statistic += (seen[~kept].sum() - expected[~kept].sum()).square() / expected[~kept].sum().clamp(min=1)
    assert float(statistic) < stats.chi2.isf(1e-6, int(kept.sum()))


def test_counts_of_a_slow_process_are_a_rate_with_its_probability_of_firing() -> None:
    """Both fire for the same numbers: n > 0 where u > exp(−λ), which has probability 1 − exp(−λ)."""
    x = torch.rand(20, 20, generator=torch.Generator().manual_seed(1))
    fired = poisson(x, 200, rate_hz=100.0, dt=1e-3, stream=SOURCE) > 0
    total = float((1 - torch.exp(-0.1 * x)).sum()) * 200
    spread = math.sqrt(total)  # at least the standard deviation of a sum of independent 0s and 1s
    assert abs(int(fired.sum()) - total) < 5 * spread


def test_the_gradient_of_a_count_is_that_of_its_mean() -> None:
    x = torch.tensor([[0.2, 2.0]], requires_grad=True)
    counts = poisson(x, 10, rate_hz=500.0, dt=2e-3, stream=SOURCE)
    assert torch.equal(counts, counts.round())
    assert torch.autograd.grad(counts.sum(), x)[0].flatten().tolist() == [10.0, 0.0]


# --- latency ---------------------------------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 1, width=32), st.integers(1, 40), st.floats(0, 0.9))
def test_the_time_of_a_linear_latency_is_the_nearest_step(value: float, steps: int, threshold: float) -> None:
    spikes = latency(torch.tensor([[value]], dtype=torch.float64), steps, threshold=threshold).flatten()
    if value <= threshold:
        assert spikes.sum() == 0
    else:
        assert spikes.sum() == 1
        assert abs(int(spikes.argmax()) - (steps - 1) * (1 - value)) <= 0.5


def test_zeros_never_fire_and_what_is_above_one_fires_at_once() -> None:
    spikes = latency(torch.tensor([[0.0, -0.0, -1.0, math.nan, 1.0, 7.0]]), 4)
    assert spikes.sum((0, 1)).tolist() == [0, 0, 0, 0, 1, 1]
    assert spikes[0, 0].tolist() == [0, 0, 0, 0, 1, 1]


def test_linear_latency_equals_that_of_snntorch() -> None:
    from snntorch import spikegen

    x = torch.rand(40, 50, generator=torch.Generator().manual_seed(0))
    for steps in (2, 7, 100):
        expected = spikegen.latency(x, num_steps=steps, linear=True, normalize=True, clip=True, threshold=0.05)
        assert torch.equal(latency(x, steps, threshold=0.05), expected)


def test_a_charged_membrane_fires_when_a_neuron_under_constant_current_does() -> None:
    x = torch.rand(8, 200, generator=torch.Generator().manual_seed(0)) * 2
    tau, dt, threshold, steps = 9e-3, 1e-3, 0.4, 60
    neuron = ns.LIF(tau, dt, r=1.0, v_threshold=threshold, reset="none")
    fired = neuron(constant(x, steps)).cumsum(0).clamp(max=1)
    first = torch.cat([fired[:1], fired[1:] - fired[:-1]])
    assert first.sum() > 1000
    assert torch.equal(rc_latency(x, steps, tau=tau, dt=dt, threshold=threshold), first)


def test_the_time_of_a_charged_membrane_is_that_of_snntorch_before_it_rounds() -> None:
    from snntorch import spikegen

    x = 0.2 + 0.8 * torch.rand(5, 40, generator=torch.Generator().manual_seed(0))
    exact, _ = spikegen.latency_code(x, num_steps=100, threshold=0.1, tau=20)
    ours = rc_latency(x, 100, tau=20e-3, dt=1e-3, threshold=0.1).argmax(0)
    assert ((ours + 1 - exact).abs() < 1).all()  # within the step that ends at (ours + 1)
    assert (ours < exact).all()
    assert (exact <= ours + 1).all()


def test_a_membrane_that_does_not_get_there_or_too_late_does_not_fire() -> None:
    spikes = rc_latency(torch.tensor([[0.0, 0.5, 0.5001, 0.6, 1e6]]), 5, tau=2e-3, dt=1e-3, threshold=0.5)
    assert spikes.sum((0, 1)).tolist() == [0, 0, 0, 1, 1]  # 2 ln(0.5001/0.0001) = 17 steps, 2 ln 6 = 3.6 steps
    assert spikes[:, 0, 3].argmax() == 3
    assert spikes[0, 0, 4] == 1


# --- delta -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("from_zero", [False, True])
def test_a_receiver_knows_a_slow_signal_to_within_the_threshold(from_zero: bool) -> None:
    theta, steps = 0.1, 400
    move = theta * (2 * torch.rand(steps, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 1)
    signal = move.cumsum(0) if from_zero else 3 + move.cumsum(0)
    spikes = delta(signal, threshold=theta, from_zero=from_zero)
    known = theta * spikes.cumsum(0) + (0 if from_zero else signal[:1])
    assert (signal - known).abs().max() < theta * (1 + 1e-9)
    assert spikes.abs().sum() > 100


def test_the_step_before_loses_a_slow_ramp_that_spikes_sent_do_not() -> None:
    ramp = torch.linspace(0, 1, 51, dtype=torch.float64).view(-1, 1, 1)
    assert delta(ramp, threshold=0.0999).sum() == 10
    assert delta(ramp, threshold=0.0999, reference="previous").sum() == 0


@pytest.mark.parametrize("off_spikes", [False, True])
@pytest.mark.parametrize("from_zero", [False, True])
def test_the_step_before_gives_what_snntorch_gives(off_spikes: bool, from_zero: bool) -> None:
    from snntorch import spikegen

    x = torch.rand(20, 3, 4, generator=torch.Generator().manual_seed(0))
    expected = spikegen.delta(x, threshold=0.3, padding=not from_zero, off_spike=off_spikes)
    assert torch.equal(delta(x, threshold=0.3, reference="previous", off_spikes=off_spikes, from_zero=from_zero), expected)
    assert set(expected.unique().tolist()) == ({-1.0, 0.0, 1.0} if off_spikes else {0.0, 1.0})


def test_without_off_spikes_there_are_none() -> None:
    fall = torch.linspace(1, 0, 11).view(-1, 1, 1)
    assert delta(fall, threshold=0.1, from_zero=False).sum() < -8
    assert delta(fall, threshold=0.1, from_zero=False, off_spikes=False).abs().sum() == 0


@pytest.mark.parametrize("reference", ["sent", "previous"])
def test_no_steps_are_no_spikes(reference: str) -> None:
    assert delta(torch.zeros(0, 2, 3), reference=reference).shape == (0, 2, 3)  # type: ignore[arg-type]  # a parameter of the test


# --- phase -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [1, 4, 8, 24])
def test_the_weighted_digits_of_a_period_add_up_to_the_value(bits: int) -> None:
    x = torch.rand(20, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    out = phase(x, bits, periods=3)
    assert out.shape == (3 * bits, 20, 30)
    for period in out.split(bits):
        missing = x - period.sum(0)
        assert (missing >= 0).all()
        assert (missing < 2.0**-bits).all()


def test_digits_as_spikes_are_the_binary_digits() -> None:
    numbers = torch.arange(32)
    spikes = phase((numbers / 32).view(1, -1), 5, weighted=False)[:, 0]
    assert ["".join(str(int(digit)) for digit in column) for column in spikes.T] == [f"{number:05b}" for number in range(32)]


def test_what_lies_outside_is_all_zeros_or_all_ones() -> None:
    assert phase(torch.tensor([[-0.5, 0.0, 1.0, 9.0]]), 3, weighted=False).mean((0, 1)).tolist() == [0, 0, 1, 1]


# --- population ------------------------------------------------------------------------------------------------------------------------


def test_fields_are_where_and_as_wide_as_the_source_says() -> None:
    """For 6 cells over 0 … 1: centres −1/8, 1/8, … 9/8, width 1/6."""
    centres = torch.arange(6) / 4 - 1 / 8
    fields = receptive_fields(centres[None].double(), 6)[0]
    assert torch.equal(fields.argmax(1), torch.arange(6))
    torch.testing.assert_close(fields.diagonal(), torch.ones(6, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(fields.diagonal(1), torch.full((5,), math.exp(-0.5 * 1.5**2), dtype=torch.float64), rtol=1e-6, atol=0)


def test_another_range_is_the_same_code_of_the_rescaled_value() -> None:
    x = torch.rand(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(receptive_fields(10 * x - 5, 7, low=-5.0, high=5.0), receptive_fields(x, 7))


def test_gradients_of_fields_are_those_of_finite_differences() -> None:
    x = torch.rand(2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda value: receptive_fields(value, 5), x)


def test_a_population_sends_its_responses_as_each_code_does() -> None:
    x = torch.rand(2, 3, generator=torch.Generator().manual_seed(0))
    response = receptive_fields(x, 4)
    assert torch.equal(population(x, 6, cells=4), latency(response, 6, threshold=0.1))
    assert torch.equal(population(x, 6, cells=4, code="rate", stream=SOURCE), rate(response, 6, stream=SOURCE))
    assert torch.equal(population(x, 6, cells=4, code="constant"), constant(response, 6))

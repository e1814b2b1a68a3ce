"""Networks that draw at random without being given a stream: a seed, and a count of forwards."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import neurosim as ns
from neurosim.errors import CheckpointError, ConfigError
from neurosim.nn import Clock, give_clocks

X = ns.random.stream(1, "clock").uniform((3, 6), like=torch.empty(0))


def noisy() -> ns.nn.SpikingNetwork:
    """Random input spikes, and noise on the membranes."""
    torch.manual_seed(0)
    body = ns.nn.SpikingSequential(nn.Linear(6, 8), ns.LIF(4e-3, 1e-3, v_threshold=0.3, membrane_noise=0.3), nn.Linear(8, 4))
    return ns.nn.SpikingNetwork(body, time_steps=5, encoder=ns.encoding.Rate(5), seed=7)


def sequence() -> ns.nn.SequenceNetwork:
    torch.manual_seed(0)
    body = ns.nn.SpikingSequential(nn.Linear(6, 8), ns.LIF(4e-3, 1e-3, v_threshold=0.3, input_noise=0.3), nn.Linear(8, 4))
    return ns.nn.SequenceNetwork(body, "mean", seed=7)


@pytest.fixture(params=[(noisy, X), (sequence, X.expand(5, 3, 6).movedim(0, 1))], ids=["images", "sequences"])
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor]:
    make, x = request.param
    return make(), x


def test_a_forward_draws_what_none_before_drew_and_a_count_gives_it_again(case: tuple[nn.Module, Tensor]) -> None:
    model, x = case
    first, second = model(x), model(x)
    assert not torch.equal(first, second)
    assert ns.get_draws(model) == {"clock": 2}
    ns.set_draws(model, {"clock": 0})
    assert torch.equal(model(x), first)
    assert torch.equal(model(x), second)
    ns.set_draw(model, 1)
    assert torch.equal(model(x), second)


def test_the_numbers_are_those_of_the_stream_that_seed_and_count_name(case: tuple[nn.Module, Tensor]) -> None:
    model, x = case
    named = ns.random.stream(7, "network", "")
    for draw in (1, 2):
        assert torch.equal(model(x), model(x, stream=named._replace(draw=draw)))
    assert ns.get_draws(model) == {"clock": 2}  # a stream that is given moves nothing


def test_another_seed_draws_other_numbers_and_the_global_generator_none(case: tuple[nn.Module, Tensor]) -> None:
    model, x = case
    before = torch.get_rng_state()
    first = model(x)
    ns.set_draw(model, 0)
    clock = model.get_submodule("clock")
    assert isinstance(clock, Clock)
    clock.program(8)
    assert not torch.equal(model(x), first)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_held_draw_is_drawn_again(case: tuple[nn.Module, Tensor]) -> None:
    model, x = case
    ns.redraw(model, "manual")
    assert torch.equal(model(x), model(x))
    ns.redraw(model, "forward")
    assert not torch.equal(model(x), model(x))


def test_networks_of_one_model_get_clocks_of_their_own_and_keep_those_they_have() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other, self.own = noisy(), noisy(), noisy()
            self.one.clock = self.other.clock = None

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.one(x), self.other(x)

    model = Two()
    with pytest.raises(ConfigError, match=r"needs a stream at every call, .* or a spiking network with a seed, neurosim\.nn\.give_clocks"):
        model(X)
    give_clocks(model, seed=3)
    one, other = model(X)
    assert not torch.equal(one, other)
    assert ns.get_draws(model) == {"one.clock": 1, "other.clock": 1, "own.clock": 0}
    assert (model.one.clock is not None and model.one.clock.seed, model.own.clock is not None and model.own.clock.seed) == (3, 7)
    with pytest.raises(CheckpointError, match=r"noise counters: must be for the layers \['one.clock', 'other.clock', 'own.clock'\]"):
        ns.set_draws(model, {"clock": 1})


def test_copies_and_pickles_go_on_where_the_network_stands_and_weights_do_not_count(case: tuple[nn.Module, Tensor]) -> None:
    model, x = case
    model(x)
    others = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    expected = model(x)
    assert all(torch.equal(other(x), expected) for other in others)
    assert not any("clock" in name for name in model.state_dict())


def test_compiled_without_a_break_it_draws_the_same(case: tuple[nn.Module, Tensor]) -> None:
    model, x = case
    expected = [model(x) for _ in range(3)]
    ns.set_draw(model, 0)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    assert all(torch.equal(compiled(x), one) for one in expected)
    assert ns.get_draws(model) == {"clock": 3}


def test_a_stream_stays_where_it_stands_when_the_count_goes_on() -> None:
    clock = Clock(7)
    first, second = clock(), clock()
    assert [int(one.draw) for one in (first, second)] == [1, 2]


def gradient(model: nn.Module, losses: Callable[[], list[Tensor]]) -> list[Tensor]:
    ns.set_draw(model, 0)
    return list(torch.autograd.grad(torch.stack(losses()).sum(), list(model.parameters())))


def test_a_backward_belongs_to_its_forward_whatever_was_drawn_since() -> None:
    model = noisy()

    def loss() -> Tensor:
        value: Tensor = model(X).square().sum()
        return value

    together = gradient(model, lambda: [loss(), loss()])
    ns.set_draw(model, 0)
    apart = [torch.autograd.grad(loss(), list(model.parameters())) for _ in range(2)]
    assert all(torch.allclose(both, one + two) for both, one, two in zip(together, *apart, strict=True))


def test_an_activation_checkpoint_draws_again_what_its_forward_drew() -> None:
    model = noisy()

    def plain() -> list[Tensor]:
        return [model(X).square().sum() for _ in range(2)]

    def recomputed() -> list[Tensor]:
        context = ns.checkpoint_context(model)
        found = []
        for _ in range(2):
            y = checkpoint(model, X, use_reentrant=False, context_fn=context)
            assert isinstance(y, Tensor)
            found.append(y.square().sum())
        return found

    expected = gradient(model, plain)
    assert all(torch.equal(a, b) for a, b in zip(gradient(model, recomputed), expected, strict=True))
    assert ns.get_draws(model) == {"clock": 2}


def test_inside_a_functional_transform_the_count_stands_still() -> None:
    model = noisy()
    held = torch.func.vmap(lambda x: model(x), randomness="error")(X[None])
    assert ns.get_draws(model) == {"clock": 0}
    ns.redraw(model, "manual")
    assert torch.equal(held[0], model(X))


def test_on_hardware_a_chip_draws_by_its_own_seed() -> None:
    chip = ns.to_analog(noisy(), "photonic_avnn", seed=1)
    outputs = []
    with ns.noise("ideal", chip):
        for seed in (1, 2, 1):
            ns.program(chip, seed)
            ns.set_draw(chip, 0)
            outputs.append(chip(X))
    assert torch.equal(outputs[0], outputs[2])
    assert not torch.equal(outputs[0], outputs[1])


def test_networks_with_a_clock_are_folded_and_put_on_chips_like_those_without() -> None:
    torch.manual_seed(0)
    model = ns.MODELS["spiking_mlp"](sizes=[6, 8, 4], norm="bn", time_steps=5).eval()
    expected = model(X)
    give_clocks(model, 3)
    assert torch.equal(model(X), expected)
    assert torch.allclose(ns.fold(model, X)(X), expected, atol=1e-6)
    chip = ns.to_neuromorphic(ns.fold(model), "neuromorphic_digital8", seed=1)
    assert sorted(ns.get_draws(chip)) == ["body.fc1", "body.fc2", "body.fire1", "clock"]


def test_accuracy_over_time_draws_by_the_networks_seed() -> None:
    loader = [(X, torch.tensor([0, 1, 2]))] * 2
    model = noisy()
    first = ns.accuracy_over_time(model, loader)
    assert ns.get_draws(model) == {"clock": 2}
    ns.set_draw(model, 0)
    assert ns.accuracy_over_time(model, loader) == first


def test_a_seed_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigError, match="seed: must be an integer from 0"):
        ns.nn.SpikingNetwork(ns.nn.SpikingSequential(nn.Linear(2, 2)), 3, seed=-1)

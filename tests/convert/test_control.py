"""Noise modes, chips, counters: which numbers a converted model draws, and when."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import neurosim as ns
from neurosim.errors import CheckpointError, ConfigError, RunError
from neurosim.random import Stream, stream
from tests.convert.models import Shared

FROZEN = {"*": {"weight.noise.scope": "device", "bias.noise.scope": "device"}}


def build(*, seed: int = 1, **arguments: Any) -> nn.Module:
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    for at, parameter in enumerate(model.parameters()):
        parameter.data = stream(0, "weights", str(at)).normal(parameter.shape, like=parameter) * 0.4
    return ns.to_analog(model, "photonic_avnn", seed=seed, **arguments)


X = stream(0, "inputs").normal((8, 6), like=torch.empty(0)) * 0.5


def test_fresh_noise_differs_at_every_forward_and_off_does_not() -> None:
    model = build()
    assert not torch.equal(model(X), model(X))
    with ns.noise("off", model):
        assert torch.equal(model(X), model(X))


def test_off_keeps_the_deterministic_effects() -> None:
    model = build()
    with ns.noise("off", model):
        quiet = model(X)
    with ns.noise("ideal", model):
        digital = model(X)
    assert not torch.equal(quiet, digital)
    assert torch.equal(quiet * 16, (quiet * 16).round())  # still on the levels of the converter


def test_fixed_repeats_the_draw_at_which_it_was_entered() -> None:
    model = build()
    last = model(X)
    with ns.noise("fixed", model):
        assert torch.equal(model(X), last)
        assert torch.equal(model(X), last)
    assert not torch.equal(model(X), last)


def test_a_nested_fixed_block_keeps_the_moment_of_the_outer_one() -> None:
    model = build(overrides={"*": {"weight.noise": None, "bias.noise": None, "output.noise": None, "*.dac": None, "*.adc": None}})
    with ns.noise("fixed", model, stages="input.noise"):
        first = model(X)
        model(X)
        with ns.noise("fixed", model, stages="*.noise"):
            assert torch.equal(model(X), first)
        assert torch.equal(model(X), first)


def test_an_empty_choice_of_stages_names_none() -> None:
    model = build()
    with ns.noise("off", model, stages=[]):
        assert not torch.equal(model(X), model(X))


def test_a_stage_that_is_added_to_an_ideal_layer_is_ideal_too() -> None:
    model = build(overrides={"*": {"output.adc": None}})
    with ns.noise("ideal", model):
        digital = model(X)
        ns.override(model, {"output.adc": {"kind": "quantize", "levels": 3}})
        assert torch.equal(model(X), digital)


@pytest.mark.parametrize("draw", [-1, 1 << 32])
def test_a_counter_out_of_range_is_refused(draw: int) -> None:
    with pytest.raises(ConfigError, match=r"set_draw: must be from 0 to 2\^32 - 1, got"):
        ns.set_draw(build(), draw)


def test_modes_do_not_depend_on_train_and_eval() -> None:
    model = build()
    with ns.noise("fixed", model):
        assert torch.equal(model.train()(X), model.eval()(X))


def test_one_stage_of_one_layer_can_be_the_only_noisy_one() -> None:
    model = build()
    with ns.noise("off", model), ns.noise("fresh", model, layers="2", stages="output.noise"):
        first, second = model[:3](X), model[:3](X)  # type: ignore[index]  # an nn.Sequential
        assert torch.equal(model[:1](X), model[:1](X))  # type: ignore[index]  # an nn.Sequential
    assert not torch.equal(first, second)


def test_one_stage_of_one_layer_can_be_the_only_one_simulated() -> None:
    model = build(overrides={"*": {"*.noise": None}})
    with ns.noise("ideal", model), ns.noise("fresh", model, layers="4", stages="output.adc"):
        y = model(X)
    with ns.noise("ideal", model):
        digital = model(X)
    assert torch.equal(y, torch.sign(digital) * torch.ceil((digital * 16).abs() - 0.5) / 16)


def test_leaving_the_block_restores_the_modes_also_after_an_error() -> None:
    model = build()
    modes = {path: dict(layer.chain.modes) for path, layer in ns.analog_layers(model).items()}
    with pytest.raises(ZeroDivisionError), ns.noise("off", model, layers="2"):
        raise ZeroDivisionError
    assert {path: layer.chain.modes for path, layer in ns.analog_layers(model).items()} == modes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("of",), "noise: no mode is named 'of'; did you mean 'off'"),
        (("off", "fc9"), "noise: layers: 'fc9' names no analog layer; valid: '0', '2', '4'"),
        (("off", None, "output.acd"), "noise: stages: 'output.acd' names no stage of these layers; did you mean 'output.adc'"),
    ],
)
def test_unknown_modes_layers_and_stages_are_named(arguments: tuple[Any, ...], message: str) -> None:
    mode, *rest = arguments
    with pytest.raises(ConfigError, match=message), ns.noise(mode, build(), *rest):
        pass


def test_a_model_without_hardware_is_told_how_to_get_it() -> None:
    with pytest.raises(ConfigError, match="convert it first"), ns.noise("off", nn.Linear(2, 2)):
        pass


# --- chips -----------------------------------------------------------------------------------------------------------------------------


def test_one_seed_is_one_chip_and_another_seed_another() -> None:
    assert torch.equal(build(seed=3)(X), build(seed=3)(X))
    assert not torch.equal(build(seed=3)(X), build(seed=4)(X))


def test_programming_a_seed_equals_converting_with_it() -> None:
    model = build(seed=3, overrides=FROZEN)
    ns.program(model, 4)
    assert torch.equal(model(X), build(seed=4, overrides=FROZEN)(X))


def test_frozen_errors_stay_and_are_not_in_the_state_dict() -> None:
    model = build(overrides={"*": {"*.noise.scope": "device"}})
    assert torch.equal(model(X), model(X))
    assert not any("noise" in name for name in model.state_dict())
    assert any("weight_noise__standard" in name for name, _ in model.named_buffers())


def test_off_silences_frozen_errors_too() -> None:
    model = build(overrides=FROZEN)
    with ns.noise("off", model):
        first = model(X)
    ns.program(model, 9)
    with ns.noise("off", model):
        assert torch.equal(model(X), first)


def test_adding_a_layer_does_not_change_the_noise_of_another() -> None:
    def first_layer(*more: nn.Module) -> Tensor:
        model = ns.to_analog(nn.Sequential(nn.Linear(6, 5), *more), "photonic_avnn", seed=1)
        with torch.no_grad():
            model[0].weight.copy_(torch.eye(5, 6))  # type: ignore[index]  # an nn.Sequential
            model[0].bias.zero_()  # type: ignore[index]  # an nn.Sequential
        seen: list[Tensor] = []
        model[0].register_forward_hook(lambda module, args, output: seen.append(output))  # type: ignore[index]  # an nn.Sequential
        model(X)
        return seen[0]

    assert torch.equal(first_layer(), first_layer(nn.ReLU(), nn.Linear(5, 4)))


def test_another_stage_does_not_change_the_noise_of_a_stage() -> None:
    with_all, alone = build(), build(overrides={"*": {"weight.noise": None, "bias.noise": None, "output.noise": None}})

    def streams(model: nn.Module) -> dict[str, Stream | None]:
        return {step.slot: step.stream for path in ns.analog_layers(model)["0"].chain.steps.values() for step in path}

    kept = {slot: source for slot, source in streams(alone).items() if source is not None}
    assert kept
    assert kept.items() <= streams(with_all).items()


def test_time_and_temperature_scope_holds_until_one_of_them_changes() -> None:
    model = build(overrides={"*": {"*.noise.scope": "hold"}})
    first = model(X)
    assert torch.equal(model(X), first)
    for layer in ns.analog_layers(model).values():
        layer.chain.seconds = 3600.0
    assert not torch.equal(model(X), first)
    for layer in ns.analog_layers(model).values():
        layer.chain.seconds = 0.0
    assert torch.equal(model(X), first)


# --- draw and call ---------------------------------------------------------------------------------------------------------------------


def test_a_draw_is_one_forward_of_the_model() -> None:
    model = build()
    model(X)
    model(X)
    assert ns.get_draws(model) == {"0": 2, "2": 2, "4": 2}


def test_a_layer_called_twice_draws_twice_but_holds_one_weight() -> None:
    model = ns.to_analog(nn.Sequential(nn.Linear(6, 6)), "photonic_avnn", seed=1)
    layer = ns.analog_layers(model)["0"]

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 6)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.layer(x), self.layer(x)

    twice = ns.to_analog(Twice(), "photonic_avnn", seed=1)
    first, second = twice(X)
    assert not torch.equal(first, second)
    with ns.noise("off", twice), ns.noise("fresh", twice, stages="weight.*"):
        first, second = twice(X)
        assert torch.equal(first, second)
    assert layer.chain.calls == 0


def test_a_shared_layer_draws_under_its_first_path_at_each_use() -> None:
    model = ns.to_analog(Shared(), "photonic_avnn", seed=1)
    model(X)
    layers = ns.analog_layers(model)
    assert layers["first"].chain.path == "first"
    assert (layers["first"].chain.calls, layers["head"].chain.calls) == (2, 1)


def test_a_batch_in_two_halves_sees_the_noise_of_the_whole_where_the_stream_is_told_so() -> None:
    source = stream(1, "0", "input.noise", "read", draw=1)
    whole = source.normal((8, 6), like=X)
    assert torch.equal(torch.cat([source.normal((4, 6), like=X), source.normal((4, 6), like=X, offset=24)]), whole)


def test_counters_are_saved_and_restored() -> None:
    model, twin = build(), build()
    model(X)
    model(X)
    ns.set_draws(twin, ns.get_draws(model))
    assert torch.equal(model(X), twin(X))
    with pytest.raises(CheckpointError, match=r"must be for the layers \['0', '2', '4'\], got \['0'\]"):
        ns.set_draws(model, {"0": 1})


def test_manual_redraw_holds_the_noise_until_the_counter_is_set() -> None:
    model = build()
    ns.redraw(model, "manual")
    ns.set_draw(model, 5)
    first = model(X)
    assert torch.equal(model(X), first)
    ns.set_draw(model, 6)
    assert not torch.equal(model(X), first)
    ns.redraw(model, "forward")
    ns.set_draw(model, 4)
    assert torch.equal(model(X), first)
    with pytest.raises(ConfigError, match="redraw: no policy is named 'epoch'"):
        ns.redraw(model, "epoch")  # type: ignore[arg-type]  # what a user might write


def test_strength_ramps_the_noise_from_nothing() -> None:
    model = build()
    ns.set_noise_strength(model, 0.0)
    ramped = model(X)
    with ns.noise("off", model):
        assert torch.equal(model(X), ramped)
    with pytest.raises(ConfigError, match="must be from 0 to 1, got 2"):
        ns.set_noise_strength(model, 2.0)


@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpointing_recomputes_the_same_noise(reentrant: bool) -> None:
    def gradients(wrap: bool) -> list[Tensor]:
        model = build()
        block = model[2:]  # type: ignore[index]  # an nn.Sequential

        def forward(module: Any, args: tuple[Tensor, ...]) -> Tensor:
            (x,) = args
            hidden = module[1](module[0](x))
            out: Tensor = checkpoint(block, hidden, use_reentrant=reentrant) if wrap else block(hidden)
            return out

        ns.convert.draws.advance(model, (X,))
        forward(model, (X,)).square().sum().backward()
        assert ns.get_draws(model) == {"0": 1, "2": 1, "4": 1}
        return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]

    plain, recomputed = gradients(False), gradients(True)
    assert len(plain) == 6
    assert all(torch.equal(a, b) for a, b in zip(plain, recomputed, strict=True))


class Checkpointed(nn.Module):
    """One layer used three times, each use in a checkpoint of its own."""

    def __init__(self, context: bool) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)
        self.context = context
        self.wrap = True

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            if self.wrap:
                extra: dict[str, Any] = {"context_fn": ns.checkpoint_context(self)} if self.context else {}
                x = checkpoint(self.layer, x, use_reentrant=False, **extra)
            else:
                x = self.layer(x)
        return x


def test_a_layer_used_several_times_is_recomputed_exactly_with_the_context() -> None:
    model: Any = ns.to_analog(Checkpointed(context=True), "photonic_avnn", seed=1)
    plain = copy.deepcopy(model)
    plain.wrap = False
    x, y = X.clone().requires_grad_(), X.clone().requires_grad_()
    later = model(x), plain(y)
    model(X), plain(X)  # a forward between: the context still knows the draw
    for out in later:
        out.square().sum().backward()
    assert x.grad is not None
    assert y.grad is not None
    assert torch.equal(x.grad, y.grad)
    assert torch.equal(model.layer.weight.grad, plain.layer.weight.grad)
    assert ns.get_draws(model) == {"layer": 2}


def test_a_layer_used_several_times_without_the_context_is_an_error_and_not_wrong_noise() -> None:
    model = ns.to_analog(Checkpointed(context=False), "photonic_avnn", seed=1)
    with pytest.raises(RunError, match=r"used 3 times in one forward.*context_fn=neurosim.checkpoint_context"):
        model(X.clone().requires_grad_()).sum().backward()


# --- override --------------------------------------------------------------------------------------------------------------------------


def test_override_changes_chosen_layers_in_place() -> None:
    model = build()
    ns.override(model, {"output.adc.levels": 5}, layers="2")
    assert [layer.chain.spec.output.adc.levels for layer in ns.analog_layers(model).values()] == [33, 5, 33]  # type: ignore[union-attr]  # a quantiser


def test_override_equals_converting_with_the_override() -> None:
    changes = {"*.noise.leakage": 0.1, "weight.noise.scope": "device"}
    model = build()
    ns.override(model, changes)
    assert torch.equal(model(X), build(overrides={"*": changes})(X))


def test_a_failing_override_changes_no_layer() -> None:
    model = build(overrides={"2": {"output.adc": None}})
    specs = [layer.chain.spec for layer in ns.analog_layers(model).values()]
    with pytest.raises(ConfigError) as caught:
        ns.override(model, {"output.adc.levels": 1, "input.dca.levels": 3})
    assert len(caught.value.problems) == 2
    assert [layer.chain.spec for layer in ns.analog_layers(model).values()] == specs
    ns.override(model, {"output.adc.levels": 9})  # fits two of the three layers


def test_learned_limits_survive_an_override_and_load_strictly() -> None:
    model = build(overrides={"*": {"input.normalize.learned": True}})
    name = "0.chain.input_normalize__high"
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        parameters[name].fill_(0.7)
    ns.override(model, {"output.adc.levels": 9})
    assert dict(model.named_parameters())[name] is parameters[name]
    model(X).sum().backward()
    assert parameters[name].grad is not None
    digital = ns.to_digital(model)
    model.load_state_dict(digital.state_dict(), strict=True)
    assert dict(model.named_parameters())[name].item() == pytest.approx(0.7)
    other = build(overrides={"*": {"input.normalize.learned": True}})
    other.load_state_dict(model.state_dict(), strict=True)
    assert dict(other.named_parameters())[name].item() == pytest.approx(0.7)

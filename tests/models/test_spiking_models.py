"""Spiking models by name: what they are made of, and which choices go together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.models import make_neuron, spiking_mlp, spiking_resnet, spiking_vgg
from neurosim.models.spiking_norms import Word
from neurosim.models.spiking_parts import Parts
from neurosim.models.spiking_vgg import PLANS
from neurosim.nn import MPBN, EIConv2d, EILayer, EILinear, SpikingResidual
from neurosim.norms import BatchNormOverTime, BatchNormThroughTime, TemporalEffectiveBatchNorm, ThresholdDependentBatchNorm
from neurosim.surrogate import surrogate

MODELS: dict[str, Callable[..., nn.Module]] = {
    "mlp": lambda **given: spiking_mlp([64, 12, 8, 10], **given),
    "vgg": lambda **given: spiking_vgg(5, [1, 8, 8], 10, width=0.05, **given),
    "resnet, sew": lambda **given: spiking_resnet(18, [1, 8, 8], 10, width=0.1, **given),
    "resnet, ms": lambda **given: spiking_resnet(19, [1, 8, 8], 10, width=0.05, residual="ms", **given),
}

RLIF = {"kind": "rlif", "tau_mem": 5e-3, "dt": 1e-3}


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """torch's own layers draw their first weights from the global generator; each test sees the same ones and leaves it alone."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        yield


def images(batch: int = 6) -> Tensor:
    return ns.random.stream(0, "images").uniform((batch, 1, 8, 8), like=torch.empty(0))


def count(model: nn.Module, kind: Any) -> int:
    return sum(isinstance(module, kind) for module in model.modules())


@pytest.mark.parametrize("norm", get_args(Word))
@pytest.mark.parametrize("name", MODELS)
def test_every_norm_goes_with_every_model_and_trains(name: str, norm: Any) -> None:
    model = MODELS[name](norm=norm, time_steps=3)
    model(images()).square().sum().backward()
    grads = [value.grad for value in model.parameters()]
    assert all(grad is not None and bool(grad.isfinite().all()) for grad in grads)
    assert sum(float(grad.abs().sum()) for grad in grads if grad is not None) > 0
    kinds: dict[str, Any] = {
        **{"bn": BatchNormOverTime, "bn_per_step": BatchNormOverTime, "tdbn": ThresholdDependentBatchNorm},
        **{"bntt": BatchNormThroughTime, "tebn": TemporalEffectiveBatchNorm, "mpbn": MPBN, "bn+mpbn": MPBN},
    }
    if norm in kinds:
        assert count(model, kinds[norm]) >= 2
    assert count(model, MPBN) == ("mpbn" in norm) * count(model, ns.LIF)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "resnet, ms"])
def test_excitatory_inhibitory_layers_take_the_place_of_all_products(name: str) -> None:
    model = MODELS[name](norm="none", layers="ei", ei={"ei_ratio": 2})
    layers = [module for module in model.modules() if isinstance(module, EILayer)]
    inside = {id(part) for layer in layers for part in layer.children()}
    assert [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d) and id(module) not in inside] == []
    assert [layer.output for layer in layers] == [False] * (len(layers) - 1) + [True]
    ns.ei.initialize(model, images(), seed=0)
    model(images()).square().sum().backward()
    assert all(value.grad is not None for value in model.parameters())


def test_switches_reach_every_layer_but_the_difference_of_currents_that_gives_logits() -> None:
    model = spiking_mlp([64, 12, 8, 10], layers="ei", ei={"divisive": False, "prop": False, "first_weights": "kaiming_abs"})
    first, second, last = (module for module in model.modules() if isinstance(module, EILinear))
    assert [(one.divisive, one.prop, one.first_weights) for one in (first, second)] == [(False, False, "kaiming_abs")] * 2
    assert (last.output, last.prop, last.first_weights) == (True, False, "kaiming_abs")
    ns.ei.initialize(model, images(), seed=0)
    half_normal = math.sqrt(2 / 64) * math.sqrt(2 / math.pi)  # the mean of |N(0, 2/64)|
    spread = math.sqrt(2 / 64) * math.sqrt(1 - 2 / math.pi) / math.sqrt(first.excitatory.weight.numel())
    assert abs(float(first.excitatory.weight.detach().mean()) - half_normal) < 5 * spread


@pytest.mark.parametrize("depth", PLANS)
def test_a_vgg_has_the_layers_of_its_plan(depth: Any) -> None:
    model = spiking_vgg(depth, [3, 32, 32], 10, width=0.125, hidden=[20], dropout=0.1)
    assert count(model, nn.Conv2d) == {5: 3, 8: 5, 11: 8, 16: 13}[depth]
    assert count(model, nn.AvgPool2d) == {5: 2, 8: 5, 11: 5, 16: 5}[depth]
    assert count(model, ns.LIF) == count(model, nn.Conv2d) + 1
    widths = [module.out_channels for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert widths == [step // 8 for step in PLANS[depth] if step != "P"]
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(("depth", "convolutions", "blocks"), [(18, 20, 8), (19, 19, 8)])
def test_a_residual_network_has_the_layers_of_its_plan(depth: Any, convolutions: int, blocks: int) -> None:
    """18: a stem, 16 in blocks and 3 beside them; 19: a stem, 16 in blocks and 2 beside them."""
    model = spiking_resnet(depth, [3, 16, 16], 10, width=1 / 16)
    assert count(model, nn.Conv2d) == convolutions
    assert count(model, SpikingResidual) == blocks
    assert count(model, nn.Linear) == {18: 1, 19: 2}[depth]
    assert model(torch.rand(2, 3, 16, 16)).shape == (2, 10)


def test_sew_blocks_add_spikes_and_membrane_shortcuts_add_currents() -> None:
    x = images(2).expand(4, 2, 1, 8, 8)
    choices: tuple[Any, ...] = ("sew", "ms")
    bodies: Any = [spiking_resnet(18, [1, 8, 8], 10, width=0.1, residual=one, norm="bn").body for one in choices]
    sew_body, ms_body = bodies
    with ns.record(sew_body, layers="block*", what="output") as recording:
        sew_body.run(x)
    for name in ("block1_1", "block1_2"):
        values = recording[name].output
        assert values is not None
        assert torch.equal(values, values.round())
    assert float(recording["block1_2"].output.max()) > 1  # type: ignore[union-attr]  # asserted above
    with ns.record(ms_body, layers="block*", what="output") as recording:
        ms_body.run(x)
    values = recording["block1_2"].output
    assert values is not None
    assert float(values.min()) < 0


def test_branches_of_a_membrane_shortcut_are_scaled_for_their_sum() -> None:
    model = spiking_resnet(18, [1, 8, 8], 10, width=0.1, residual="ms")
    alphas = {path: module.alpha for path, module in model.named_modules() if isinstance(module, ThresholdDependentBatchNorm)}
    assert {alpha for path, alpha in alphas.items() if path.endswith(("norm2", "shortcut.norm"))} == {1 / math.sqrt(2)}
    assert {alpha for path, alpha in alphas.items() if path.endswith(("norm1", "stem_norm"))} == {1.0}


def test_a_digital_activation_stands_in_the_place_of_every_neuron() -> None:
    for name, make in MODELS.items():
        spiking, digital = make(norm="bn"), make(norm="bn", activation="relu")
        assert count(digital, ns.Neuron) == 0, name
        assert count(digital, nn.ReLU) == count(spiking, ns.LIF)
        assert digital(images()).shape == (6, 10)


def test_neurons_are_named_with_their_arguments() -> None:
    model = spiking_mlp([64, 12, 10], neuron={"kind": "alif", "tau_mem": 5e-3, "tau_adapt": 50e-3, "dt": 1e-3})
    (neuron,) = (module for module in model.modules() if isinstance(module, ns.Neuron))
    assert isinstance(neuron, ns.ALIF)
    assert make_neuron({"kind": "if", "dt": 1e-3, "v_threshold": 0.5}).v_threshold == 0.5


def test_a_surrogate_is_named_with_its_parameters() -> None:
    given = {"kind": "lif", "tau_mem": 5e-3, "dt": 1e-3, "surrogate": {"kind": "rectangle", "width": 0.25}}
    assert make_neuron(given).surrogate == surrogate("rectangle", width=0.25)
    assert make_neuron({**given, "surrogate": "rectangle"}).surrogate == surrogate("rectangle")
    z = torch.tensor([-0.2, -0.1, 0.1, 0.2])
    (neuron,) = (module for module in spiking_mlp([64, 12, 10], neuron=given).modules() if isinstance(module, ns.Neuron))
    assert neuron.surrogate.gradient(z).tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("kind", ["rlif", "rcuba_lif"])
def test_neurons_that_are_connected_have_the_width_of_their_layer(kind: str) -> None:
    neuron = {"kind": kind, "tau_mem": 5e-3, "dt": 1e-3, **({"tau_syn": 2e-3} if kind == "rcuba_lif" else {})}
    model = spiking_mlp([64, 12, 8, 10], neuron=neuron, norm="bn")
    connected = [module for module in model.modules() if isinstance(module, ns.neurons.Recurrent)]
    assert [module.connection.weight.shape for module in connected] == [(12, 12), (8, 8)]
    model(3 * images()).square().sum().backward()
    assert all(value.grad is not None and bool(value.grad.isfinite().all()) for value in model.parameters())
    assert spiking_mlp([64, 8, 8, 10], neuron={**neuron, "units": 8})(images()).shape == (6, 10)


def test_looking_at_a_neuron_with_weights_draws_no_random_number() -> None:
    before = torch.get_rng_state()
    Parts("none", RLIF, 4, True)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", MODELS)
def test_an_encoder_gets_its_steps_from_the_model_and_the_model_a_stream(name: str) -> None:
    model = MODELS[name](encoder={"kind": "rate", "gain": 0.5}, time_steps=3)
    assert repr(model.get_submodule("encoder")) == "Rate(steps=3, gain=0.5)"
    with pytest.raises(ns.ConfigError, match="rate: it draws at random and needs a stream"):
        model(images())
    source = ns.random.stream(0, "it")
    assert model(images(), stream=source).shape == (6, 10)
    assert isinstance(model, ns.nn.SpikingNetwork)
    assert torch.equal(model.encode(images(), 3, stream=source), ns.encoding.rate(images(), 3, gain=0.5, stream=source.child("encoder")))


mlp: Any = spiking_mlp  #: these three take what they should not
vgg: Any = spiking_vgg
resnet: Any = spiking_resnet
WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "mpbn of other neurons": (
        lambda: mlp([4, 4, 2], norm="mpbn", neuron={"kind": "if", "dt": 1e-3}),
        r"needs a neuron of kind lif, got 'if'",
    ),
    "mpbn of activations": (lambda: mlp([4, 4, 2], norm="mpbn", activation="relu"), r"needs activation='spike', got 'relu'"),
    "ei with a norm": (lambda: mlp([4, 4, 2], norm="bn", layers="ei"), r"layers: 'ei' is there to do without norms, got norm='bn'"),
    "ei without layers": (lambda: mlp([4, 4, 2], ei={"prop": False}), r"ei: is for layers='ei'"),
    "a setting": (
        lambda: mlp([4, 4, 2], layers="ei", ei={"subtract": False}),
        r"no setting 'subtract'; did you mean 'subtractive'\?",
    ),
    "first weights": (lambda: mlp([4, 4, 2], layers="ei", ei={"first_weights": "kaiming"}), r"did you mean 'kaiming_abs'\?"),
    "a norm": (lambda: mlp([4, 4, 2], norm="bnn"), r"norm: no norm is named 'bnn'; did you mean 'bn'\?"),
    "layers": (lambda: mlp([4, 4, 2], layers="eii"), r"layers: must be one of .* did you mean 'ei'\?"),
    "an activation": (lambda: mlp([4, 4, 2], activation="rlu"), r"an activation, got 'rlu'; did you mean 'relu'\?"),
    "a depth": (lambda: vgg(7, [1, 8, 8], 10), r"depth must be one of 5, 8, 11, 16, got 7"),
    "another depth": (lambda: resnet(34, [1, 8, 8], 10), r"depth must be one of 18, 19, got 34"),
    "a residual": (lambda: resnet(18, [1, 8, 8], 10, residual="seww"), r"residual: must be one of 'sew', 'ms', got 'seww'"),
    "a neuron itself": (lambda: mlp([4, 4, 2], neuron=ns.LIF(1e-3, 1e-3)), r"neuron: must be a mapping such as \{'kind': 'lif'"),
    "no kind": (lambda: make_neuron({"tau_mem": 1.0}), r"neuron: must say its kind"),
    "a kind": (lambda: make_neuron({"kind": "lfi"}), r"no neuron is named 'lfi'"),
    "an argument": (lambda: make_neuron({"kind": "lif", "tau": 1.0, "dt": 1.0}), r"lif has no argument 'tau'"),
    "a missing argument": (lambda: make_neuron({"kind": "lif", "dt": 1e-3}), r"lif must be given tau_mem"),
    "a surrogate without a kind": (
        lambda: make_neuron({**RLIF, "surrogate": {"width": 1}}),
        r"neuron\.surrogate: must be a name, or a mapping",
    ),
    "a surrogate": (lambda: make_neuron({**RLIF, "surrogate": {"kind": "box"}}), r"neuron\.surrogate: no surrogate is named 'box'"),
    "a parameter of a surrogate": (
        lambda: make_neuron({**RLIF, "surrogate": {"kind": "rectangle", "name": 1}}),
        r"neuron\.surrogate: .*has no parameter 'name'",
    ),
    "a value": (lambda: make_neuron({"kind": "lif", "tau_mem": -1.0, "dt": 1e-3}), r"neuron.tau_mem: must be more than 0 seconds"),
    "a width of its own": (
        lambda: mlp([4, 4, 3, 2], neuron={**RLIF, "units": 4}),
        r"neuron\.units: must be left out or be the model's own, 3, got 4",
    ),
    "dense weights between maps": (
        lambda: vgg(5, [1, 8, 8], 10, neuron=RLIF),
        r"neuron: behind convolutions it must be of a kind without dense weights from unit to unit, got 'rlif'",
    ),
    "dense weights in blocks": (lambda: resnet(18, [1, 8, 8], 10, neuron=RLIF), r"neuron: behind convolutions .* got 'rlif'"),
    "an encoder of sequences": (
        lambda: mlp([4, 4, 2], encoder={"kind": "delta"}),
        r"encoder: must make a sequence of a single image, delta takes a sequence",
    ),
    "steps of an encoder": (
        lambda: mlp([4, 4, 2], time_steps=3, encoder={"kind": "rate", "steps": 4}),
        r"encoder\.steps: must be left out or be the model's own, 3, got 4",
    ),
    "an encoder itself": (
        lambda: mlp([4, 4, 2], encoder=ns.encoding.Rate(4)),
        r"encoder: must be a mapping such as \{'kind': 'rate'",
    ),
    "a small image": (lambda: vgg(8, [1, 28, 28], 10), r"images of 28 × 28 are too small for the 5 poolings of depth 8"),
    "membranes of both signs": (
        lambda: resnet(18, [1, 8, 8], 10, norm="none", layers="ei", residual="ms"),
        r"takes inputs of 0 or more",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_choices_that_do_not_go_together_are_refused(case: str) -> None:
    call, message = WRONG[case]
    with pytest.raises(ns.ConfigError, match=message):
        call()


def test_convolutions_of_both_kinds_keep_the_size_of_their_maps() -> None:
    model = spiking_vgg(5, [2, 8, 8], 10, width=0.1, norm="none", layers="ei", ei={"ei_ratio": 2})
    layers = [module for module in model.modules() if isinstance(module, EIConv2d)]
    ns.ei.initialize(model, torch.rand(4, 2, 8, 8), seed=0)
    assert layers[0](torch.rand(3, 2, 8, 8)).shape == (3, layers[0].out_channels, 8, 8)

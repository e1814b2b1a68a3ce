"""First weights of whole models: the contract of every entry, what feeds a layer, reports and refusals."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

import neurosim as ns
from neurosim import training
from neurosim.citations import CITATIONS
from neurosim.initialisers import INITIALISERS, Fans, check_init, initialiser, targets, weight_variance
from tests.models.test_models import ARGUMENTS

WEIGHTLESS = ("torch",)
DRAWN = [name for name in INITIALISERS if name not in WEIGHTLESS]


def network() -> Any:
    """Two dense layers and a convolution, tanh between them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(2, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(6 * 4, 8), nn.Tanh(), nn.Linear(8, 3))


def empty(inputs: int, outputs: int) -> nn.Linear:
    """A layer without a weight, on which torch warns."""
    layer = nn.Linear(1, 1)
    layer.weight = nn.Parameter(torch.empty(outputs, inputs))
    return layer


def data_for(name: str) -> tuple[Tensor, ...]:
    """A batch, where the initialiser takes one."""
    return (torch.randn(16, 2, 4, 4, generator=torch.Generator().manual_seed(1)),) if INITIALISERS[name].needs_data else ()


def weights(model: nn.Module) -> dict[str, Tensor]:
    """A copy of them."""
    return {key: value.detach().clone() for key, value in model.state_dict().items()}


def mean_square(weight: Tensor) -> float:
    """Of all elements."""
    return float(weight.detach().double().square().mean())


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Bit by bit."""
    return first.keys() == second.keys() and all(torch.equal(value, second[key]) for key, value in first.items())


# --- every entry -----------------------------------------------------------------------------------------------------------------------


def test_every_name_that_is_asked_for_is_there() -> None:
    wanted = {"torch", "xavier", "kaiming", "lecun", "orthogonal", "variance_preserving", "kumar", "edge_of_chaos", "lsuv", "shaped_batch"}
    assert wanted <= set(INITIALISERS)


@pytest.mark.parametrize("name", list(INITIALISERS))
def test_an_entry_says_what_it_is(name: str) -> None:
    entry = INITIALISERS[name]
    assert entry.summary()
    assert entry.formula
    assert all(work in CITATIONS for work in entry.citation)
    assert entry.origin() or name == "torch"
    assert pickle.loads(pickle.dumps(entry())) == entry()


@pytest.mark.parametrize("name", DRAWN)
def test_one_seed_gives_one_set_of_weights_and_another_seed_another(name: str) -> None:
    first, second, third = (weights(ns.initialize(network(), name, *data_for(name), seed=seed)) for seed in (7, 7, 8))
    assert same(first, second)
    assert not torch.equal(first["3.weight"], third["3.weight"])
    assert not torch.equal(first["0.weight"], weights(network())["0.weight"])


@pytest.mark.parametrize("name", DRAWN)
def test_without_a_seed_the_global_generator_is_used_as_torch_uses_it(name: str) -> None:
    found = []
    for _ in range(2):
        model = network()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(4)
            found.append(weights(ns.initialize(model, name, *data_for(name))))
    assert same(*found)


@pytest.mark.parametrize("name", DRAWN)
def test_with_a_seed_the_global_generator_stays_and_layers_draw_by_their_path(name: str) -> None:
    before = torch.get_rng_state()
    whole = ns.initialize(network(), name, *data_for(name), seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    if not INITIALISERS[name].needs_data:
        alone = ns.initialize(network(), name, seed=2, layers="5")
        assert torch.equal(alone[5].weight, whole[5].weight)
        assert torch.equal(alone[3].weight, network()[3].weight)


@pytest.mark.parametrize("name", DRAWN)
def test_the_model_is_otherwise_as_it_was_and_can_be_copied(name: str) -> None:
    model = network().train()
    model[1].eval()
    made = ns.initialize(model, name, *data_for(name), seed=1)
    assert made is model
    assert [module.training for module in model.children()] == [True, False, True, True, True, True]
    assert not any(module._forward_pre_hooks for module in model.modules())
    report = copy.deepcopy(model).initialisation
    assert report == model.initialisation
    assert isinstance(report, ns.Initialisation)
    assert [one.path for one in report.layers] == ["0", "3", "5"]
    assert report.name == name
    assert name in str(report)
    assert report.layers[1].std == pytest.approx(math.sqrt(mean_square(model[3].weight)), rel=1e-5)


@pytest.mark.parametrize("name", list(INITIALISERS))
@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_a_config_takes_every_name(kind: str, name: str) -> None:
    activation = {} if name != "kumar" else {"activation": "tanh"}
    config = ns.RunConfig.model_validate(
        {"name": "t", "data": {"kind": "digits"}, "model": {"kind": kind, **ARGUMENTS[kind], **activation, "init": {"kind": name}}}
    )
    model = training.build_model(config.model, seed=1)
    assert isinstance(model.initialisation, ns.Initialisation)


def test_a_model_of_a_config_is_shaped_as_by_the_function() -> None:
    model = {"kind": "mlp", "sizes": [64, 20, 20, 20, 10], "activation": "tanh", "norm": "batch"}
    config = ns.RunConfig.model_validate(
        {"name": "t", "data": {"kind": "digits"}, "model": {**model, "init": {"kind": "shaped_batch", "exponent": 0.25}}}
    )
    made: Any = training.build_model(config.model, seed=1)
    gains = [getattr(made, f"norm{at}").weight for at in (1, 2, 3)]
    torch.testing.assert_close(gains, [torch.full((20,), at**-0.25) for at in (1, 2, 3)])
    torch.testing.assert_close(made.fc2.weight @ made.fc2.weight.T, torch.eye(20), atol=1e-5, rtol=0)
    biases, shaped = made.fc2.bias.clone(), ns.norms.shape_batch_norms(copy.deepcopy(made), exponent=0.25)
    assert all(torch.equal(getattr(shaped, f"norm{at}").weight, gains[at - 1]) for at in (1, 2, 3))
    assert torch.equal(ns.initialize(made, "shaped_batch").fc2.bias, biases)
    with pytest.raises(ns.ConfigError, match=r"shaped_batch: exponent: must be a finite number ≥ 0, got -1"):
        ns.initialize(made, "shaped_batch", exponent=-1)


# --- what the old names give -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "torchs"),
    [("xavier", nn.init.xavier_uniform_), ("kaiming", lambda weight: nn.init.kaiming_uniform_(weight, nonlinearity="relu"))],
)
def test_uniform_weights_are_those_of_torch_bit_by_bit(name: str, torchs: Callable[[Tensor], Tensor]) -> None:
    def model() -> nn.Sequential:
        torch.manual_seed(3)
        parts = (nn.Conv2d(4, 6, 3, groups=2), nn.ConvTranspose2d(6, 5, 2), nn.Conv1d(3, 2, 2), nn.Linear(7, 9), nn.BatchNorm1d(9))
        return nn.Sequential(*parts)

    with torch.random.fork_rng(devices=[]):
        ours = ns.initialize(model(), name)
        theirs = model()
        for part in theirs:
            if isinstance(part, nn.Linear | nn.Conv1d | nn.Conv2d):
                torchs(part.weight)
    assert same(weights(ours), weights(theirs))


def test_torch_leaves_everything_and_draws_nothing() -> None:
    model, before = network(), torch.get_rng_state()
    ns.initialize(model, "torch")
    assert same(weights(model), weights(network()))
    assert torch.equal(torch.get_rng_state(), before)


# --- sizes of weights ------------------------------------------------------------------------------------------------------------------

LAYERS: dict[str, tuple[Any, Fans]] = {
    "linear": (nn.Linear(300, 200), Fans(300, 200)),
    "convolution": (nn.Conv2d(20, 30, 3), Fans(180, 270)),
    "groups": (nn.Conv2d(20, 40, 3, groups=4), Fans(45, 90)),
    "depthwise": (nn.Conv1d(64, 64, 5, groups=64), Fans(5, 5)),
    "stride": (nn.Conv2d(20, 32, 4, stride=2), Fans(320, 128)),
    "transposed": (nn.ConvTranspose2d(32, 20, 4, stride=2), Fans(128, 320)),
    "transposed in groups": (nn.ConvTranspose1d(24, 48, 3, groups=2), Fans(36, 72)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_fans_are_the_inputs_of_a_sum_and_the_sums_of_an_input(name: str) -> None:
    """Counted by the layer itself: with weights of 1, a sum counts its inputs, and a gradient the sums of an input."""
    layer, fans = copy.deepcopy(LAYERS[name][0]).double(), LAYERS[name][1]
    (target,) = targets(layer)
    assert target.fans == fans
    with torch.no_grad():
        layer.weight.fill_(1.0)
    side = (24,) * (layer.weight.dim() - 2)
    x = torch.ones(
        1, layer.in_channels if isinstance(layer, nn.modules.conv._ConvNd) else 300, *side, dtype=torch.float64, requires_grad=True
    )
    y = layer(x) - (0 if layer.bias is None else layer.bias.detach().reshape(1, -1, *(1,) * len(side)))
    (gradient,) = torch.autograd.grad(y.sum(), x)
    inner = (slice(None), slice(None), *(slice(8, 16) for _ in side))
    assert float(y.detach()[inner].mean()) == pytest.approx(fans.inputs)
    assert float(gradient[inner].mean()) == pytest.approx(fans.outputs)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("distribution", ["normal", "uniform", "orthogonal"])
def test_weights_have_the_variance_that_they_should_have(name: str, distribution: str) -> None:
    model: Any = nn.Sequential(copy.deepcopy(LAYERS[name][0]))
    ns.initialize(model, "variance_preserving", seed=9, distribution=distribution, activation="tanh", input_moment=2.0)
    weight: Any = model[0].weight
    found, wanted = weight.detach().double(), 1 / (2.0 * LAYERS[name][1].inputs)
    scatter = {"normal": 2.0, "uniform": 0.8, "orthogonal": 0.0}[distribution]  # E x⁴/σ⁴ − 1
    assert mean_square(found) == pytest.approx(wanted, rel=5 * math.sqrt(scatter / found.numel()) + 1e-5)
    assert abs(float(found.mean())) < 5 * math.sqrt(wanted / found.numel())
    assert model[0].bias is not None
    assert not model[0].bias.any()


@pytest.mark.parametrize("name", LAYERS)
def test_orthogonal_weights_are_orthonormal_in_every_group(name: str) -> None:
    model: Any = nn.Sequential(copy.deepcopy(LAYERS[name][0]))
    ns.initialize(model, "orthogonal", gain=2.0, seed=9)
    layer: Any = model[0]
    (target,) = targets(model)
    groups, outputs, inputs = target.matrices
    weight = layer.weight.detach().double() / 2.0
    if isinstance(layer, nn.modules.conv._ConvTransposeNd):
        weight = weight.reshape(groups, -1, outputs, math.prod(layer.kernel_size)).transpose(1, 2)
    matrix = weight.reshape(groups, outputs, inputs)
    gram = matrix @ matrix.mT if outputs <= inputs else matrix.mT @ matrix
    torch.testing.assert_close(gram, torch.eye(min(outputs, inputs), dtype=gram.dtype).expand_as(gram), atol=1e-5, rtol=0)


def test_lecun_and_kumar_draw_normal_weights_of_their_variance() -> None:
    model = nn.Sequential(nn.Linear(200, 300), nn.Sigmoid(), nn.Linear(300, 200))
    for name, first, second in (("lecun", 1 / 200, 1 / 300), ("kumar", 1 / 200, 12.8 / 300)):
        ns.initialize(model, name, seed=1)
        for at, wanted in ((0, first), (2, second)):
            found: Any = model[at].weight
            assert mean_square(found) == pytest.approx(wanted, rel=5 * math.sqrt(2 / found.numel()))
    with pytest.raises(ns.ConfigError, match="differentiable at 0"):
        ns.initialize(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)), "kumar", seed=1)


def test_both_directions_of_a_linear_network_are_glorots() -> None:
    model: Any = ns.initialize(nn.Sequential(nn.Linear(8, 200), nn.Linear(200, 300)), "variance_preserving", mode="both", seed=0)
    assert mean_square(model[1].weight) == pytest.approx(2 / 500, rel=5 * math.sqrt(2 / 60_000))
    model = ns.initialize(nn.Sequential(nn.Linear(8, 200), nn.ReLU(), nn.Linear(200, 300)), "variance_preserving", mode="backward", seed=0)
    assert mean_square(model[2].weight) == pytest.approx(2 / 300, rel=5 * math.sqrt(2 / 60_000))


# --- what feeds a layer ----------------------------------------------------------------------------------------------------------------


class Read(nn.Module):
    """A forward that can be read, and one line of it that cannot be told."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act, self.second, self.third = nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Two layers, and a sum before the third."""
        y: Tensor = self.second(self.act(self.first(x)))
        z: Tensor = self.third(x + y)
        return z


def test_what_feeds_a_layer_is_read_from_the_model() -> None:
    parts = (
        nn.Conv2d(1, 2, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8, 4),
        nn.Linear(4, 4),
        nn.BatchNorm1d(4),
        nn.Linear(4, 2),
    )
    assert [one.source for one in targets(nn.Sequential(*parts))] == ["input", "activation", "layer", "norm"]
    assert [one.source for one in targets(Read())] == ["input", "activation", "unknown"]
    assert [one.source for one in targets(ns.models.delta_mlp([4, 4, 4, 2]))] == ["input", "activation", "activation"]


def test_a_layer_fed_by_something_unknown_needs_to_be_told() -> None:
    with pytest.raises(ns.ConfigError, match=r"variance_preserving: what feeds third cannot be told .* give activation"):
        ns.initialize(Read(), "variance_preserving", seed=0)
    ns.initialize(Read(), "variance_preserving", seed=0, activation="relu")
    ns.initialize(Read(), "variance_preserving", seed=0, layers=["first", "second"])


def test_a_function_of_ones_own_will_do_as_activation() -> None:
    model: Any = ns.initialize(nn.Sequential(nn.Linear(9, 300), nn.Linear(300, 200)), "variance_preserving", activation=torch.sin, seed=0)
    assert mean_square(model[1].weight) == pytest.approx(weight_variance("sine", 300), rel=5 * math.sqrt(2 / 60_000))


def test_a_layer_behind_a_norm_is_fed_second_moment_1() -> None:
    model: Any = nn.Sequential(nn.Linear(9, 300), nn.LayerNorm(300), nn.Linear(300, 200), nn.Linear(200, 300))
    ns.initialize(model, "variance_preserving", variance=4.0, seed=0)
    assert mean_square(model[2].weight) == pytest.approx(4 / 300, rel=5 * math.sqrt(2 / 60_000))
    assert mean_square(model[3].weight) == pytest.approx(1 / 200, rel=5 * math.sqrt(2 / 60_000))


def test_the_weights_of_analog_and_of_parametrized_layers_are_set() -> None:
    digital = ns.initialize(ns.models.mlp([64, 32, 10]), "variance_preserving", seed=5)
    analog = ns.initialize(ns.to_analog(ns.models.mlp([64, 32, 10]), "photonic_avnn", seed=1), "variance_preserving", seed=5)
    assert torch.equal(digital.get_parameter("fc2.weight"), analog.get_parameter("fc2.weight"))
    normed: Any = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(6, 5)))
    plain: Any = nn.Sequential(nn.Linear(6, 5))
    for model in (normed, plain):
        ns.initialize(model, "orthogonal", seed=2)
    torch.testing.assert_close(normed[0].weight, plain[0].weight)


# --- refusals --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: initialiser("lsuvv"), "no initialiser is named 'lsuvv'; did you mean 'lsuv'"),
        (lambda: initialiser(3), "must be a name, or a mapping"),
        (lambda: initialiser("lecun", gain=1), "initialiser lecun: it has no setting 'gain'; it has none"),
        (lambda: initialiser("orthogonal", gain=0.0), "gain: must be a finite number > 0"),
        (lambda: initialiser("variance_preserving", mode="both ways"), "mode: must be one of"),
        (lambda: initialiser("variance_preserving", noise=1.0), "noise must be less than √variance, 1, got 1"),
        (lambda: initialiser("variance_preserving", variance=-1.0), "variance: must be a finite number > 0"),
        (lambda: initialiser("variance_preserving", input_limit=0.0), "input_limit: must be"),
        (lambda: initialiser("variance_preserving", activation="rely"), "no activation is named 'rely'"),
        (lambda: initialiser("variance_preserving", distribution="cauchy"), "distribution: must be one of"),
        (lambda: check_init("variance_preserving", "groupsort"), "groupsort: it is no function of one number"),
        (
            lambda: check_init({"kind": "variance_preserving", "mode": "backward"}, {"kind": "quadratic", "a": 0.0, "b": 0.0}),
            "its gradients",
        ),
        (lambda: ns.initialize(nn.Sequential(nn.ReLU()), "lecun"), "must have linear or convolution layers"),
        (lambda: ns.initialize(network(), "lecun", layers="9"), "layers: '9' names no linear or convolution layer"),
        (lambda: ns.initialize(network(), "lecun", torch.zeros(2)), "lecun takes no batch"),
        (lambda: ns.initialize(network(), "lsuv"), "lsuv must be given a batch"),
        (lambda: ns.models.mlp([4, 4, 2], init="lsuv"), "lsuv must be given a batch"),
        (lambda: ns.initialize(network(), "lsuv", *list[Any]([3])), "must be given the tensors"),
        (lambda: ns.initialize(nn.Sequential(nn.LazyLinear(3)), "lecun"), "it is lazy"),
        (
            lambda: ns.initialize(nn.Sequential(empty(3, 0)), "variance_preserving"),
            r"0 must have weights, has none: their shape is \(0, 3\)",
        ),
        (lambda: ns.initialize(nn.Sequential(empty(0, 3)), "kaiming"), r"0 must have weights, has none: their shape is \(3, 0\)"),
        (lambda: ns.initialize(nn.Sequential(nn.Linear(2, 2, dtype=torch.complex64)), "lecun"), "must be real"),
        (
            lambda: ns.initialize(nn.Sequential(nn.Linear(2, 2), nn.GELU(), nn.Linear(2, 2, bias=False)), "edge_of_chaos"),
            "must have a bias",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(call: Callable[[], Any], said: str) -> None:
    with pytest.raises(ns.ConfigError, match=said):
        call()


def test_a_refusal_leaves_the_model_as_it_was() -> None:
    make = ns.activations.activation
    model = nn.Sequential(nn.Linear(4, 4), make({"kind": "crelu", "tau": 0.1}), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    before = weights(model)
    with pytest.raises(ns.ConfigError, match="needs an activation with a threshold"):
        ns.initialize(model, "edge_of_chaos", sparsity=0.9, seed=0)
    assert same(weights(model), before)
    activation: Any = model[1]
    assert activation.settings()["tau"] == 0.1
    assert not hasattr(model, "initialisation")


@pytest.mark.parametrize(
    ("kind", "init", "said"),
    [
        ("mlp", "he", "no initialiser is named 'he'"),
        ("mlp", {"kind": "lsuv", "tol": 0.0}, "tol: must be a finite number > 0"),
        ("cnn", {"kind": "edge_of_chaos", "sparsity": 0.8}, "needs an activation with a threshold"),
        ("cnn", "kumar", "differentiable at 0"),
        ("assembly_rnn", "variance_preserving", "activation must be given"),
    ],
)
def test_a_config_is_refused_at_its_key_before_anything_runs(kind: str, init: Any, said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ns.RunConfig.model_validate({"name": "t", "data": {"kind": "digits"}, "model": {"kind": kind, **ARGUMENTS[kind], "init": init}})
    (line,) = caught.value.errors()
    assert line["loc"][:2] == ("model", "init")
    assert said in line["msg"]


def test_weights_from_a_file_and_from_data_are_not_asked_for_at_once() -> None:
    model = {"kind": "mlp", **ARGUMENTS["mlp"], "init": "lsuv", "init_from": "weights.safetensors"}
    with pytest.raises(ValidationError, match="must be left out where init takes the first weights from data"):
        ns.RunConfig.model_validate({"name": "t", "data": {"kind": "digits"}, "model": model})


def test_what_is_no_model_is_refused() -> None:
    wrong: Any = 3
    with pytest.raises(ns.ConfigError, match=r"initialize: must be given a model, a torch\.nn.Module, got a int"):
        ns.initialize(wrong, "he")

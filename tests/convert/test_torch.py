"""What torch does with modules works with converted ones: types, devices, autocast, compilation, functional calls."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.random import stream
from tests.convert.models import ResNet, Shared

#: dynamo instantiates every torch.autograd.Function that it traces, which torch itself calls deprecated
pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")


def build(**arguments: Any) -> nn.Module:
    model = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 16, 4))
    return ns.to_analog(model, "photonic_avnn", seed=1, **arguments)


X = stream(0, "inputs").normal((5, 1, 4, 4), like=torch.empty(0)) * 0.5


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_a_converted_model_moves_to_another_type(dtype: torch.dtype) -> None:
    model = build(overrides={"*": {"weight.noise.scope": "device"}}).to(dtype)
    y = model(X.to(dtype))
    assert y.dtype == dtype
    y.float().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.dtype == dtype for parameter in model.parameters())
    assert all(layer.chain.draw.dtype == torch.int64 for layer in ns.analog_layers(model).values())


def test_double_precision_is_the_same_chip_to_single_precision() -> None:
    """Values that fall on different sides of a level are rare; all others agree to single precision."""
    single, double = build(), build()
    double.load_state_dict(single.state_dict())
    double.double()
    with ns.noise("off", single), ns.noise("off", double), torch.no_grad():
        assert ((single(X).double() - double(X.double())).abs() < 1e-6).double().mean() > 0.9


def test_a_converted_model_moves_to_another_device_with_everything_it_owns() -> None:
    model = build(overrides={"*": {"weight.noise.scope": "device", "input.normalize.learned": True}}).to("meta")
    assert {tensor.device.type for tensor in (*model.parameters(), *model.buffers())} == {"meta"}
    assert model(X.to("meta")).shape == (5, 4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; the suite runs on the CPU everywhere else")
def test_the_same_chip_draws_the_same_numbers_on_a_gpu() -> None:
    model = build()
    here = model(X)
    ns.set_draw(model, 0)
    there = model.cuda()(X.cuda()).cpu()
    assert ((here - there).abs() < 1e-4).float().mean() > 0.9


def test_autocast_keeps_the_converters_in_single_precision() -> None:
    model = build()
    with torch.autocast("cpu", torch.bfloat16), ns.noise("off", model):
        y = model(X)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y.float() * 16, (y.float() * 16).round())
    y.float().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.dtype == torch.float32 for parameter in model.parameters())


def _same_twice(eager: nn.Module, compiled: Any, x: Tensor) -> None:
    for _ in range(3):  # the counter advances inside the compiled region
        ours, theirs = eager(x), compiled(x)
        assert torch.equal(ours, theirs)
        ours.sum().backward()
        theirs.sum().backward()


@pytest.mark.parametrize("make", [build, lambda: ns.to_analog(Shared(), "photonic_avnn", seed=1)], ids=["cnn", "shared"])
def test_compiling_the_full_graph_changes_nothing(make: Any) -> None:
    torch._dynamo.reset()
    eager, model = make(), make()
    model.load_state_dict(eager.state_dict())
    x = X if "0" in ns.analog_layers(model) else X.flatten(1)[:, :6]
    _same_twice(eager, torch.compile(model, backend="aot_eager", fullgraph=True), x)
    assert ns.get_draws(eager) == ns.get_draws(model)
    for ours, theirs in zip(eager.parameters(), model.parameters(), strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        assert torch.allclose(ours.grad, theirs.grad, rtol=1e-5, atol=1e-6)


def test_noise_modes_work_around_a_compiled_model() -> None:
    torch._dynamo.reset()
    model = build()
    compiled: Any = torch.compile(model, backend="aot_eager", fullgraph=True)
    with ns.noise("off", compiled):
        assert torch.equal(compiled(X), compiled(X))
    assert not torch.equal(compiled(X), compiled(X))


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # inductor uses what torch deprecates
@pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("clang++") is None, reason="inductor needs a C++ compiler to generate code for the CPU"
)
def test_inductor_computes_the_same_up_to_rounding() -> None:
    torch._dynamo.reset()
    eager, model = build(), build()
    model.load_state_dict(eager.state_dict())
    compiled = torch.compile(model, fullgraph=True)
    with torch.no_grad():
        for _ in range(2):
            ours, theirs = eager(X), compiled(X)
            assert (ours - theirs).abs().max() <= 2 / 16  # a value next to a decision limit may fall to the other side
            assert ((ours - theirs).abs() < 1e-5).float().mean() > 0.8
    assert ns.get_draws(eager) == ns.get_draws(model)


def test_functional_call_uses_the_weights_it_is_given() -> None:
    model = build()
    doubled = {name: 2 * value for name, value in model.named_parameters()}
    with ns.noise("off", model):
        y = torch.func.functional_call(model, doubled, (X,))
        model.load_state_dict({name: value.detach() for name, value in doubled.items()}, strict=True)
        assert torch.equal(y, model(X))


def test_per_sample_gradients_by_vmap() -> None:
    model = build()
    parameters = {name: value.detach() for name, value in model.named_parameters()}

    def loss(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(model, parameters, (x[None],)).sum()
        return out

    with ns.noise("off", model):
        grads = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, X)
        for at in range(len(X)):
            single = torch.func.grad(loss)(parameters, X[at])
            assert all(torch.allclose(grads[name][at], single[name], atol=1e-6) for name in single)


def test_a_resnet_trains_under_noise() -> None:
    model = ns.to_analog(ResNet(), "photonic_avnn", seed=1, overrides={"*": {"*.noise.leakage": 0.1}})
    optimiser = torch.optim.SGD(model.parameters(), 0.05)
    x, labels = stream(0, "images").normal((16, 3, 32, 32), like=torch.empty(0)), torch.arange(16) % 5
    losses = []
    for _ in range(12):
        loss = nn.functional.cross_entropy(model(x), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-3:]) < sum(losses[:3])


def test_the_gradient_under_fixed_noise_equals_finite_differences() -> None:
    """Without quantisers the noisy chain is differentiable: gradcheck through the whole layer in double precision."""
    model = ns.to_analog(
        nn.Linear(4, 3),
        "photonic_avnn",
        seed=1,
        overrides={"*": {"*.quantize": None, "*.dac": None, "*.adc": None, "*.noise.leakage": 0.05}},
    ).double()
    x = (stream(0, "x").normal((2, 4), like=torch.empty(0, dtype=torch.float64)) * 0.2).requires_grad_()
    with ns.noise("fixed", model):
        torch.autograd.gradcheck(model, (x,))
        weight = model.weight.detach().clone().requires_grad_()  # type: ignore[operator]  # a tensor
        torch.autograd.gradcheck(lambda w: torch.func.functional_call(model, {"weight": w}, (x.detach(),)), (weight,))

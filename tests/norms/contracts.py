"""What an entry of each kind must do, as functions that fail where it does not."""

from __future__ import annotations

import copy
import inspect
import io
import math
import pickle
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

import neurosim as ns
from neurosim.config.kinds import arguments_model
from neurosim.errors import ConfigError, ConversionError
from neurosim.norms import Entry, Norm

FEATURES = 16


def draw(*shape: int, name: str = "x", dtype: torch.dtype = torch.float32) -> Tensor:
    """Normal numbers whose mean and spread differ from channel to channel: the same at every call."""
    x = ns.random.stream(5, name).normal(shape, like=torch.empty(0, dtype=dtype))
    along = (-1, *(1,) * (len(shape) - 2))
    return x * torch.linspace(0.5, 2, shape[1], dtype=dtype).reshape(along) + torch.linspace(-1, 1, shape[1], dtype=dtype).reshape(along)


def varied(module: nn.Module, seed: int = 0) -> Any:
    """The module with its parameters changed at random, scales below 0 and a scale of 0 among them, where it allows that."""
    with torch.no_grad():
        for name, value in module.named_parameters():
            if name in ("weight", "bias") and value.numel() > 1:
                value.copy_(ns.random.stream(seed, name).normal(value.shape, like=value))
                value.view(-1)[0] = 0
            else:
                value.add_(0.3 * ns.random.stream(seed, name).uniform(value.shape, like=value))
    return module


def moved(module: nn.Module) -> Any:
    """The module with its parameters changed at random, by what shape they have and in which order they come, whatever they are called."""
    with torch.no_grad():
        for at, value in enumerate(module.parameters()):
            value.add_(0.3 * ns.random.stream(at, f"{tuple(value.shape)}").uniform(value.shape, like=value))
    return module


def inputs_of(norm: Norm, dtype: torch.dtype = torch.float32) -> Tensor:
    """What a norm of 16 channels takes."""
    return draw(4, 5, FEATURES, 4, 3, dtype=dtype) if takes_time(norm) else draw(6, FEATURES, 4, 3, dtype=dtype)


def takes_time(norm: nn.Module) -> bool:
    return bool(getattr(norm, "takes_time", False))


def trained(entry: Entry) -> Any:
    """The example after a few batches, in evaluation, its parameters not what they are at the start."""
    norm = varied(entry.example())
    for at in range(3):
        norm(inputs_of(norm) * (1 + at) + at)
    return norm.eval()


def same_as_loaded(one: nn.Module, other: nn.Module) -> None:
    """``other`` has taken over all that ``one`` keeps, by way of a file."""
    file = io.BytesIO()
    torch.save(one.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True), strict=True)


def check_module(entry: Entry) -> None:
    """A norm keeps the shape, does not change in evaluation, survives copies, and is what its fold and its bounds say."""
    assert inspect.isclass(entry.make)
    norm, x = trained(entry), inputs_of(entry.example())
    assert isinstance(norm, Norm)
    before = pickle.dumps(norm)
    with torch.no_grad():
        y = norm(x)
        assert y.shape == x.shape
        assert y.dtype == x.dtype
        assert y.isfinite().all()
        assert torch.equal(norm(x), y)
        assert pickle.dumps(norm) == before
        other = entry.example()
        same_as_loaded(norm, other)
        for one in (copy.deepcopy(norm), pickle.loads(before), other.eval()):
            assert torch.equal(one(x), y)
        low, high = norm.bounds()
        assert low <= float(y.min()) <= float(y.max()) <= high
        check_16_bits(norm, x)
        check_fold(entry, norm, x)
    check_training_goes_on(entry, x)
    check_input(norm, x)


def check_training_goes_on(entry: Entry, x: Tensor) -> None:
    """A norm that was saved between two batches goes on as if it had not been."""
    one, other = varied(entry.example()), entry.example()
    one(x)
    same_as_loaded(one, other)
    for at in (1, 2):
        assert torch.equal(one(x * at + 1), other(x * at + 1))
    torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)


def check_16_bits(norm: Norm, x: Tensor) -> None:
    """Inputs of 16 bits give outputs of 16 bits, computed with 32 unless the norm says otherwise."""
    for dtype in (torch.bfloat16, torch.float16):
        narrow = copy.deepcopy(norm).to(dtype)
        y = narrow(x.to(dtype))
        assert y.dtype == dtype
        apart = 0.05 if getattr(norm, "own_precision", False) else 0.01
        torch.testing.assert_close(y.float(), norm(x.to(dtype).float()), rtol=apart, atol=apart)


def check_fold(entry: Entry, norm: Norm, x: Tensor) -> None:
    """What folds equals scale and shift, with 32 bits and with 64, whatever the sign of γ; what does not says why."""
    if entry.fold != "F0":
        with pytest.raises(ConversionError, match=r"^\w+: .* so no constant"):
            norm.fold()
        return
    if hasattr(norm, "steps"):  # all of it has to be the same at every step
        with pytest.raises(ConversionError, match="differs from step to step"):
            norm.fold()
        return
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.float64, 1e-12)):
        wide, wider = copy.deepcopy(norm).to(dtype), x.to(dtype)
        scale, shift = (value.to(dtype).reshape(-1, 1, 1) for value in wide.fold())
        y = wide(wider)
        largest = max(1.0, float(y.abs().max()))
        assert float((wide.rest()(scale * wider + shift) - y).abs().max()) <= tolerance * largest
        assert (scale <= 0).any() or getattr(norm, "weight", None) is None  # of any sign, where it is learned channel by channel


def check_input(norm: Norm, x: Tensor) -> None:
    """What does not fit is refused in words of ours."""
    wrong: list[Any] = [x.long(), "x", x[:, :, :3] if takes_time(norm) else x[:, :3], x[0, 0, 0, 0]]
    for one in wrong:
        with pytest.raises(ConfigError, match=f"^{type(norm).__name__}: x must"):
            norm(one)


def check_wrapper(entry: Entry) -> None:
    """A wrapper computes in the precision of its input, trains, survives copies and its own state, and folds whole if it says F0."""
    torch.manual_seed(0)  # examples draw weights of their own, of which some are nearer to a limit than others
    one, other = entry.example(), entry.example()
    x = draw(6, 16) if entry.name == "residual" else draw(4, 6, 16)
    if entry.name == "ei":
        x = x.abs()
        ns.ei.initialize(one, x, seed=0)
        ns.ei.initialize(other, x, seed=1)
    else:
        varied(one)
    one(x).square().sum().backward()
    assert any(value.grad is not None and value.grad.abs().sum() > 0 for value in one.parameters())
    assert isinstance(one, nn.Module)
    assert inspect.isclass(entry.make)
    assert isinstance(one, entry.make)
    same_as_loaded(one, other)
    state = one.state_dict()
    with torch.no_grad():
        y = one.eval()(x)
        assert y.shape == x.shape
        assert y.dtype == x.dtype
        assert y.isfinite().all()
        for copied in (copy.deepcopy(one), pickle.loads(pickle.dumps(one)), other.eval()):
            torch.testing.assert_close(copied.state_dict(), state, rtol=0, atol=0)
            assert torch.equal(copied(x), y)
        narrow = copy.deepcopy(one).bfloat16()(x.bfloat16())
        assert narrow.dtype == torch.bfloat16
        if entry.name != "mpbn":  # its spikes are 0 or 1: near the threshold, the rounding of the input decides
            torch.testing.assert_close(narrow.float(), y, rtol=0.05, atol=0.05 * float(y.abs().max()))
            large = 300 * x
            y, narrow = one(large), copy.deepcopy(one).half()(large.half())
            assert narrow.dtype == torch.float16
            torch.testing.assert_close(narrow.float(), y, rtol=0.05, atol=0.05 * float(y.abs().max()))
        for dtype, tolerance in ((torch.float32, 1e-6), (torch.float64, 1e-12)) if entry.fold == "F0" else ():
            model, wider = nn.Sequential(copy.deepcopy(one)).to(dtype), x.to(dtype)
            folded: Any = ns.fold(model)
            assert folded.folding.count("folded") > 0
            assert folded.folding.count("left") == 0
            expected = model(wider)
            assert float((folded(wider) - expected).abs().max()) <= tolerance * max(1.0, float(expected.abs().max()))


def check_parametrization(entry: Entry) -> None:
    """A parametrized layer trains, and without the parametrization has the weights that it computed with: nothing is left of it."""
    layers: list[tuple[Any, Tensor]] = [(nn.Linear(6, 5), draw(4, 6)), (nn.Conv2d(6, 5, 3), draw(2, 6, 5, 5))]
    for layer, x in layers:
        original = layer.weight.shape
        parametrize.register_parametrization(layer, "weight", entry.example())
        assert layer.weight.shape == original
        layer(x).square().sum().backward()
        originals = list(layer.parametrizations.weight.parameters())
        assert any(value.grad is not None and value.grad.abs().sum() > 0 for value in originals)
        with torch.no_grad():
            expected = layer(x)
            parametrize.remove_parametrizations(layer, "weight")
            assert torch.equal(layer(x), expected)
    assert entry.fold == "FW"


def check_initialiser(entry: Entry, model: Callable[[], nn.Module]) -> None:
    """An initialiser returns the model that it was given, with other weights and the same structure."""
    given = model()
    before = copy.deepcopy(given.state_dict())
    assert entry.make(given) is given
    after = given.state_dict()
    assert list(after) == list(before)
    assert any(not torch.equal(after[name], before[name]) for name in before)


def check_regulariser(entry: Entry, model: Callable[[], nn.Module]) -> None:
    """A regulariser gives one number ≥ 0 with gradients, and leaves the model as it is."""
    given = model()
    before = copy.deepcopy(given.state_dict())
    penalty = entry.make()(given)
    assert penalty.shape == ()
    assert float(penalty.detach()) >= 0
    penalty.backward()
    assert any(value.grad is not None and value.grad.abs().sum() > 0 for value in given.parameters())
    torch.testing.assert_close(given.state_dict(), before, rtol=0, atol=0)


def check_procedure(entry: Entry) -> None:
    """A procedure changes what a model computes: that of the model it returns, a copy or the same one, or while its context is open."""
    first = next(iter(inspect.signature(entry.make).parameters.values()))
    assert first.name == "model"
    assert first.default is first.empty
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 5), ns.norms.LayerNorm(5), nn.Linear(5, 3)).eval()
    x = draw(64, 6)
    before, held = model(x), copy.deepcopy(model.state_dict())
    found = entry.make(model, **({"loader": x} if "loader" in inspect.signature(entry.make).parameters else {}))
    if isinstance(found, AbstractContextManager):
        with found:
            changed = model(x)
        assert torch.equal(model(x), before)
    else:
        assert isinstance(found, nn.Module)
        changed = found(x)
    assert changed.shape == before.shape
    assert changed.isfinite().all()
    assert not torch.allclose(changed, before)
    if found is not model:
        torch.testing.assert_close(model.state_dict(), held, rtol=0, atol=0)


def check_facts(entry: Entry) -> None:
    """All that the table shows is there, and all arguments are described."""
    assert entry.formula
    assert entry.summary.endswith(".")
    assert any(str(year) in entry.citation for year in range(1980, 2031)), entry.citation
    low, high = entry.bounds
    assert -math.inf <= low < high <= math.inf
    assert all(count >= 0 for part in entry.cost for count in part)
    assert all(seed[0] == "B" and seed[1:].isdigit() for seed in entry.seeds)
    for field in arguments_model(entry.make, entry.name).model_fields.values():
        assert field.description, f"{entry.name}: {field.alias} has no description"
        assert entry.kind != "module" or field.annotation is not Any, f"{entry.name}: {field.alias} has no annotation"

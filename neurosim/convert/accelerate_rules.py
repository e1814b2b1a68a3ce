"""What the rules of all libraries share: a plan or a refusal for a layer, the proof of a surrogate, parameters as the op takes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from neurosim.errors import ConfigError
from neurosim.ops.neuron_arguments import Reset
from neurosim.surrogate import SURROGATES, Surrogate

Number = float | Tensor


class Convention(NamedTuple):
    """The step of the source, as settings of the fused neuron."""

    reset: Reset
    detach_reset: bool
    surrogate: Surrogate
    differentiable: bool  #: False: spikes carry no gradient
    words: str  #: for people


class Plan(NamedTuple):
    """A layer that can be accelerated."""

    become: type[nn.Module]  #: the subclass of the layer's own class that runs on the fused neuron
    convention: Convention
    note: str = ""  #: where results differ


class Refusal(NamedTuple):
    """A neuron that stays as it is."""

    reason: str


def agrees(function: Callable[[Tensor], Tensor], formula: Surrogate, strict: bool = True) -> bool:
    """Whether a library's spike function fires for z > 0 and has this formula as its gradient, wherever its gradient is finite.

    Without ``strict``, it fires for z ≥ 0.

    Names are not enough: one name means several formulas, and a formula changes between releases.
    """
    points = [0.0, *(sign * size for size in (1e-3, 0.013, 0.07, 0.2, 0.35, 0.8, 1.7, 6.0) for sign in (1.0, -1.0))]
    with torch.inference_mode(False), torch.enable_grad():
        z = torch.tensor(points, dtype=torch.float64, requires_grad=True)
        spikes = function(z)
        if not torch.equal(spikes.detach().double(), (z > 0 if strict else z >= 0).double()) or not spikes.requires_grad:
            return False
        (found,) = torch.autograd.grad(spikes.sum(), z, allow_unused=True)
    if found is None:
        return False
    finite = found.isfinite()
    expected = formula.gradient(z.detach())[finite]
    rounding = 1e-14 * float(expected.abs().max()) + 1e-30  # of a library that takes 1 − tanh² from 1
    return torch.allclose(found[finite], expected, rtol=1e-6, atol=rounding)


def spelled(formula: Surrogate) -> str:
    """A surrogate as it is written; a scale of 1 is left out."""
    names = SURROGATES[formula.name].defaults
    given = [f"{name}={value:.4g}" for name, value in zip(names, formula.parameters, strict=True) if (name, value) != ("scale", 1)]
    return f"{formula.name}({', '.join(given)})"


def as_number(value: Any) -> float | None:
    """A parameter of a surrogate as a number: one that is learned, or no number at all, is None."""
    if isinstance(value, Tensor):
        return float(value) if value.numel() == 1 and not value.requires_grad and not value.is_complex() else None
    return float(value) if isinstance(value, int | float) else None


def coefficient(value: Any, x: Tensor) -> Number:
    """A parameter of a layer as the op takes it: a number where that costs no synchronisation and no gradient, else a real tensor."""
    if not isinstance(value, Tensor):
        return float(value)
    if not value.requires_grad and value.is_cpu and value.numel() == 1 and not traced():
        return float(value.item())
    return value.to(x.device) if value.is_floating_point() else value.to(x)


def traced() -> bool:
    """Whether tensors have no values to look at: under ``torch.compile``, and inside of ``torch.func.vmap`` and its like."""
    return torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()


def enlist(module: nn.Module) -> None:
    """Put a layer that was copied or read back where snnTorch resets and detaches hidden states from: its list of all layers ever made."""
    for owner in type(module).__mro__:
        instances = vars(owner).get("instances")
        if owner.__module__.startswith("snntorch") and isinstance(instances, list):
            if not any(one is module for one in instances):
                instances.append(module)
            return


def check_sequence(where: str, x: object) -> None:
    """A sequence is a tensor whose first axis is time.

    Raises:
        ConfigError: It is not.
    """
    if not isinstance(x, Tensor) or x.dim() == 0:
        raise ConfigError(f"{where}: x must be a tensor (time, batch, *units), got {x!r}")


def fits(value: Any, shape: torch.Size, dtype: torch.dtype) -> bool:
    """Whether a parameter broadcasts to ``shape`` without enlarging it, and leaves the type of what it multiplies."""
    if not isinstance(value, Tensor) or value.dim() == 0:
        return True
    if value.is_floating_point() and value.dtype.itemsize > max(4, dtype.itemsize):
        return False
    pairs = zip(reversed(value.shape), reversed(shape), strict=False)
    return value.dim() <= len(shape) and all(size in (1, wanted) for size, wanted in pairs)

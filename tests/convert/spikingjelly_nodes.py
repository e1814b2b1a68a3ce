"""Neurons under SpikingJelly's class names and with its attributes, for tests in an environment without it.

Their arithmetic is that of SpikingJelly 2.0.0, ``activation_based/functional/neuron.py``, and a test compares it with what that gave.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import torch
from torch import Tensor, nn

from neurosim.surrogate import Surrogate, surrogate

FILE = Path(__file__).parent / "data/spikingjelly.h5"

SHAPES: dict[str, Any] = {
    "Sigmoid": lambda alpha: surrogate("logistic", alpha=alpha),
    "ATan": lambda alpha: surrogate("arctan", alpha=alpha),
    "SuperSpike": lambda alpha: surrogate("sj_superspike", alpha=alpha),
    "PiecewiseQuadratic": lambda alpha: surrogate("triangle", height=alpha, width=1 / alpha),
    "Rect": lambda alpha: surrogate("rectangle", height=alpha, width=1 / alpha),
    "Erf": lambda alpha: surrogate("gaussian", sigma=1 / (2**0.5 * alpha)),
}


class Recorded(NamedTuple):
    """What SpikingJelly gave."""

    settings: dict[str, Any]
    x: Tensor
    cotangent: Tensor
    spikes: Tensor
    membrane: Tensor
    grad_x: Tensor


def names() -> list[str]:
    with h5py.File(FILE) as file:
        return sorted(name for name in file if isinstance(file[name], h5py.Group))


def recorded(name: str) -> Recorded:
    with h5py.File(FILE) as file:
        group = file[name]
        arrays = [file["x"], file["cotangent"], group["spikes"], group["membrane"], group["grad_x"]]
        return Recorded(json.loads(group.attrs["settings"]), *(torch.from_numpy(array[()]).float() for array in arrays))


class _Fire(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, shape: Surrogate) -> Tensor:
        ctx.save_for_backward(z)
        ctx.shape = shape
        return (z >= 0).to(z)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]  # of one tensor
        (z,) = ctx.saved_tensors
        return grad * ctx.shape.gradient(z), None


class _Surrogate(nn.Module):
    def __init__(self, alpha: float, spiking: bool = True) -> None:
        super().__init__()
        self.alpha, self.spiking = alpha, spiking

    def forward(self, z: Tensor) -> Tensor:
        spikes: Tensor = _Fire.apply(z, SHAPES[type(self).__name__](self.alpha))
        return spikes


class _Node(nn.Module):
    v_reset: Any
    tau: Any
    v_threshold: Any
    surrogate_function: Any

    def __init__(self, step_mode: str = "s", **settings: Any) -> None:
        super().__init__()
        self.step_mode, self.store_v_seq = step_mode, False
        if "w" in settings:
            self.w = nn.Parameter(torch.tensor(settings.pop("w")))
        for name, value in settings.items():
            setattr(self, name, value)
        self.reset()

    def reset(self) -> None:
        self.v: Any = 0.0 if self.v_reset is None else self.v_reset
        self.c: Any = 0.0

    def _charge(self, x: Tensor) -> Any:
        rest = self.v_reset or 0.0
        name = type(self).__name__
        if name == "IFNode":
            return self.v + x
        if name == "CUBALIFNode":
            self.c = self.c_decay * self.c + x
            return self.v_decay * self.v + self.c
        share = self.w.sigmoid() if name == "ParametricLIFNode" else 1 / self.tau
        return self.v + (x - (self.v - rest)) * share if self.decay_input else self.v - (self.v - rest) * share + x

    def _step(self, x: Tensor) -> Tensor:
        h: Tensor = self._charge(x)
        spike: Tensor = self.surrogate_function(h - self.v_threshold)
        fired = spike.detach() if self.detach_reset else spike
        self.v = h - fired * self.v_threshold if self.v_reset is None else fired * self.v_reset + (1 - fired) * h
        return spike

    def forward(self, x: Tensor) -> Tensor:
        if self.step_mode == "s":
            return self._step(x)
        spikes, membranes = [], []
        for step in x.unbind(0):
            spikes.append(self._step(step))
            membranes.append(self.v)
        self.v_seq = torch.stack(membranes)
        return torch.stack(spikes)


def theirs(name: str, base: type[nn.Module], module: str) -> type[Any]:
    """A class under the name and module of one of SpikingJelly's."""
    return type(name, (base,), {"__module__": f"spikingjelly.activation_based.{module}"})


def node(settings: dict[str, Any], step_mode: str = "s") -> Any:
    """A neuron with recorded attributes."""
    given = dict(settings)
    shape = theirs(given.pop("surrogate"), _Surrogate, "surrogate")(given.pop("alpha"))
    return theirs(given.pop("class"), _Node, "neuron.lif")(step_mode, surrogate_function=shape, **given)


class _Layer(nn.Linear):
    step_mode = "m"


def linear(inputs: int, outputs: int) -> Any:
    """``spikingjelly``'s ``Linear``, which takes sequences as torch's does."""
    layer = theirs("Linear", _Layer, "layer")(inputs, outputs)
    layer._step_mode = "m"
    return layer

"""Layers with a simulated signal chain around their product: drop-in subclasses of torch's own."""

from __future__ import annotations

from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from neurosim.hardware.chain import ChainSpec
from neurosim.hardware.profile import Profile, load_profile
from neurosim.nn.chain import AnalogChain, Shapes


class HardwareLayer(nn.Module):
    """Base of all layers with a chain. Their parameters stay the clean ones of the digital layer, under their names."""

    chain: AnalogChain
    prefix: ClassVar = "Analog"  #: of the names of classes that are made for a user's own layers
    digital_class: ClassVar[type[nn.Module]]  #: what ``to_digital`` turns the layer back into


class AnalogLayer(HardwareLayer):
    """Base of all layers with a chain around their product."""

    weight: Tensor
    bias: Any  #: a tensor or None, as the digital layer declares it

    def mvm(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The product itself."""
        raise NotImplementedError(f"{type(self).__name__} must define mvm")

    def forward(self, x: Tensor) -> Tensor:
        """Inputs and outputs as in the digital layer."""
        chain = self.chain
        if chain.bypassed:
            return self.mvm(x, self.weight, self.bias)
        call = chain.begin()
        weight, bias = chain.weights(self.weight, self.bias, call)
        y = chain.decode(self.mvm(chain.encode(x, call), weight, bias), call)
        if self.bias is not None and chain.digital_bias:
            y = y + self.bias.to(y.dtype).reshape(chain.shapes["output"])
        return y


class AnalogLinear(AnalogLayer, nn.Linear):
    """``nn.Linear`` on simulated hardware.

    Args:
        in_features, out_features, bias, device, dtype: As in ``nn.Linear``.
        profile: A profile's name, a path to one, or a loaded one.
        seed: Which chip.
        path: The layer's name in its random streams; two layers of one chip need two names.

    Shapes:
        x ``(*, in_features)``; result ``(*, out_features)``.

    Raises:
        ConfigError: The profile is unknown or does not hold.

    >>> import torch
    >>> AnalogLinear(4, 2, profile="photonic_avnn", seed=0, path="head")(torch.zeros(3, 4)).shape
    torch.Size([3, 2])
    """

    digital_class = nn.Linear

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        profile: str | Profile,
        seed: int,
        path: str,
    ) -> None:
        nn.Linear.__init__(self, in_features, out_features, bias, device, dtype)
        self.chain = make_chain(self, load_profile(profile).chain, seed, path)

    def mvm(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """``x Wᵀ + b``."""
        return F.linear(x, weight, bias)


class _AnalogConv(AnalogLayer, _ConvNd):
    def __init__(self, *args: Any, profile: str | Profile, seed: int, path: str, **kwargs: Any) -> None:
        self.digital_class.__init__(self, *args, **kwargs)
        self.chain = make_chain(self, load_profile(profile).chain, seed, path)

    def mvm(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The convolution; padding is applied to the encoded signal."""
        y: Tensor = self._conv_forward(x, weight, bias)
        return y


class AnalogConv1d(_AnalogConv, nn.Conv1d):
    """``nn.Conv1d`` on simulated hardware: its arguments, and ``profile``, ``seed``, ``path`` as in :class:`AnalogLinear`."""

    digital_class = nn.Conv1d


class AnalogConv2d(_AnalogConv, nn.Conv2d):
    """``nn.Conv2d`` on simulated hardware: its arguments, and ``profile``, ``seed``, ``path`` as in :class:`AnalogLinear`."""

    digital_class = nn.Conv2d


class AnalogConv3d(_AnalogConv, nn.Conv3d):
    """``nn.Conv3d`` on simulated hardware: its arguments, and ``profile``, ``seed``, ``path`` as in :class:`AnalogLinear`."""

    digital_class = nn.Conv3d


def make_chain(layer: nn.Module, spec: ChainSpec, seed: int, path: str) -> AnalogChain:
    """A chain for a layer, on the device of its weight."""
    return AnalogChain(spec, seed=seed, path=path, shapes=shapes_of(layer)).to(_weight(layer).device)


def shapes_of(layer: nn.Module) -> Shapes:
    """Shapes that a chain is programmed with."""
    weight = _weight(layer)
    if isinstance(layer, _ConvNd):
        ones = (1,) * (weight.dim() - 2)
        return {
            "input": (layer.in_channels, *ones),
            "output": (layer.out_channels, *ones),
            "weight": tuple(weight.shape),
            "bias": (layer.out_channels,),
        }
    outputs, inputs = weight.shape
    return {"input": (inputs,), "output": (outputs,), "weight": (outputs, inputs), "bias": (outputs,)}


def _weight(layer: nn.Module) -> Tensor:
    weight = layer.weight
    if not isinstance(weight, Tensor):
        raise TypeError(f"{type(layer).__name__}.weight: must be a tensor, got {type(weight).__name__}")
    return weight

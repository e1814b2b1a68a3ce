"""Layers with a simulated signal chain around their product: drop-in subclasses of torch's own."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from neurosim.errors import ConfigError
from neurosim.hardware.chain import ChainSpec
from neurosim.hardware.layout import Shapes
from neurosim.hardware.profile import Profile, load_profile
from neurosim.nn.array import product
from neurosim.nn.chain import AnalogChain
from neurosim.nn.first_scales import follow_loaded, start_scales
from neurosim.nn.kept import once
from neurosim.nn.quadratures import joined, real_form, split
from neurosim.nn.windows import positions, windows


class HardwareLayer(nn.Module):
    """Base of all layers with a chain. Their parameters stay the clean ones of the digital layer, under their names."""

    chain: AnalogChain
    prefix: ClassVar = "Analog"  #: of the names of classes that are made for a user's own layers
    digital_class: ClassVar[type[nn.Module]]  #: what ``to_digital`` turns the layer back into


class ProductLayer(HardwareLayer, ABC):
    """Base of all layers with a chain around one product."""

    axes: ClassVar = (0, 1)  #: of a weight: outputs, inputs

    @abstractmethod
    def mvm(self, x: Tensor, weight: Tensor, bias: Tensor | None, *how: Any) -> Tensor:
        """The product itself; ``how`` is what else the layer was called with."""

    @abstractmethod
    def matrix(self, weight: Tensor) -> Tensor:
        """A weight as ``(groups, outputs, inputs)``, one matrix a group."""

    @abstractmethod
    def native(self, matrix: Tensor) -> Tensor:
        """The weight that such a matrix stands for."""

    @abstractmethod
    def vectors(self, x: Tensor) -> Tensor:
        """What its products are of, ``(products, groups, inputs)``."""

    @abstractmethod
    def fold(self, y: Tensor, x: Tensor, *how: Any) -> Tensor:
        """The output, from the results of all products ``(products, groups, outputs)``."""

    def compute(self, x: Tensor, weight: Tensor, bias: Tensor | None, *how: Any) -> Tensor:
        """The product of an input with clean weights, on the hardware."""
        chain = self.chain
        if chain.bypassed:
            return self.mvm(x, weight, bias, *how)
        if x.is_complex() != weight.is_complex():
            wanted = "complex" if weight.is_complex() else "real"
            raise ConfigError(f"{chain.path or '(model)'}: inputs must be {wanted} as its weights are, got {x.dtype}")
        call = chain.begin()
        if chain.layout is not None:
            y = product(self, x, weight, call, *how)
        else:
            held, offset = self.held(weight, bias, call)
            channels = -len(chain.shapes["output"])
            signal = chain.encode(split(x, channels) if x.is_complex() else x, call)
            y = chain.decode(self.mvm(signal, held, offset, *how), call)
            y = joined(y, channels) if x.is_complex() else y
        if bias is not None and chain.digital_bias:
            y = y + bias.to(y.dtype).reshape(-1, *chain.shapes["output"][1:])
        return y

    def held(self, weight: Tensor, bias: Tensor | None, call: int) -> tuple[Tensor, Tensor | None]:
        """What elementwise stages make of weight and bias, no bias if it is digital; complex ones are in real form then."""

        def write() -> tuple[Tensor, Tensor | None]:
            if not weight.is_complex():
                return self.chain.weights(weight, bias, call)
            clean = real_form(weight, *self.axes), None if bias is None else split(bias)
            return self.chain.weights(*clean, call, lambda one: real_form(one, *self.axes))

        return once(self.chain, "weights", write, weight, bias)


class AnalogLayer(ProductLayer):
    """Base of all layers that are one product with their weight."""

    weight: Tensor
    bias: Any  #: a tensor or None, as the digital layer declares it

    def forward(self, x: Tensor, *how: Any) -> Tensor:
        """Inputs and outputs as in the digital layer."""
        return self.compute(x, self.weight, self.bias, *how)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        follow_loaded(self.chain, self.matrix(self.weight), state_dict, prefix, [f"{prefix}weight"])


class MatrixProduct(ProductLayer):
    """The product of vectors with a matrix ``(outputs, inputs)``, as ``nn.Linear`` has it."""

    def mvm(self, x: Tensor, weight: Tensor, bias: Tensor | None, *how: Any) -> Tensor:
        """``x Wᵀ + b``."""
        return F.linear(x, weight, bias)

    def matrix(self, weight: Tensor) -> Tensor:
        """``(1, outputs, inputs)``."""
        return weight.unsqueeze(0)

    def native(self, matrix: Tensor) -> Tensor:
        """``(outputs, inputs)``."""
        return matrix.squeeze(0)

    def vectors(self, x: Tensor) -> Tensor:
        """``(samples, 1, inputs)``."""
        return x.reshape(-1, 1, x.shape[-1])

    def fold(self, y: Tensor, x: Tensor, *how: Any) -> Tensor:
        """``(*, outputs)``."""
        return y.reshape(*x.shape[:-1], y.shape[-1])


class AnalogLinear(MatrixProduct, AnalogLayer, nn.Linear):
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


class _AnalogConv(AnalogLayer, _ConvNd):
    def __init__(self, *args: Any, profile: str | Profile, seed: int, path: str, **kwargs: Any) -> None:
        self.digital_class.__init__(self, *args, **kwargs)
        self.chain = make_chain(self, load_profile(profile).chain, seed, path)

    def mvm(self, x: Tensor, weight: Tensor, bias: Tensor | None, *how: Any) -> Tensor:
        """The convolution; padding is applied to the encoded signal."""
        y: Tensor = self._conv_forward(x, weight, bias)
        return y

    def matrix(self, weight: Tensor) -> Tensor:
        """``(groups, out_channels / groups, in_channels / groups · kernel)``."""
        return weight.reshape(self.groups, -1, weight[0].numel())

    def native(self, matrix: Tensor) -> Tensor:
        """``(out_channels, in_channels / groups, *kernel)``."""
        return matrix.reshape(-1, self.in_channels // self.groups, *self.kernel_size)

    def vectors(self, x: Tensor) -> Tensor:
        """``(samples · positions, groups, in_channels / groups · kernel)``; padding is part of what is sent."""
        return windows(self, x).flatten(0, -3)

    def fold(self, y: Tensor, x: Tensor, *how: Any) -> Tensor:
        """``(*, out_channels, *positions)``."""
        axes = len(self.kernel_size)
        return y.reshape(*x.shape[: -1 - axes], *positions(self, x.shape[-axes:]), self.out_channels).movedim(-1, -1 - axes)


class AnalogConv1d(_AnalogConv, nn.Conv1d):
    """``nn.Conv1d`` on simulated hardware: its arguments, and ``profile``, ``seed``, ``path`` as in :class:`AnalogLinear`."""

    digital_class = nn.Conv1d


class AnalogConv2d(_AnalogConv, nn.Conv2d):
    """``nn.Conv2d`` on simulated hardware: its arguments, and ``profile``, ``seed``, ``path`` as in :class:`AnalogLinear`."""

    digital_class = nn.Conv2d


class AnalogConv3d(_AnalogConv, nn.Conv3d):
    """``nn.Conv3d`` on simulated hardware: its arguments, and ``profile``, ``seed``, ``path`` as in :class:`AnalogLinear`."""

    digital_class = nn.Conv3d


def make_chain(layer: AnalogLayer, spec: ChainSpec, seed: int, path: str) -> AnalogChain:
    """A chain for a layer, on the device of its weight."""
    chain = AnalogChain(spec, seed=seed, path=path, shapes=shapes_of(layer)).to(_weight(layer).device)
    start_scales(chain, layer.matrix(_weight(layer)))
    return chain


def shapes_of(layer: nn.Module) -> Shapes:
    """Shapes that a chain is programmed with."""
    weight = _weight(layer)
    parts = 2 if weight.is_complex() else 1  # real numbers of one
    also = {"quadratures": (2,)} if parts == 2 else {}
    if isinstance(layer, _ConvNd):
        ones, groups, inner = (1,) * (weight.dim() - 2), layer.groups, parts * math.prod(weight.shape[1:])
        inputs, outputs = parts * layer.in_channels, parts * layer.out_channels
        transposed = isinstance(layer, _ConvTransposeNd)  # a window for each input: windows that overlap are added digitally
        return {
            "input": (inputs, *ones),
            "output": (outputs, *ones),
            "weight": (parts * weight.shape[0], parts * weight.shape[1], *weight.shape[2:]),
            "bias": (outputs,),
            "array": (groups, inner, inputs // groups) if transposed else (groups, outputs // groups, inner),
            **also,
        }
    if isinstance(layer, nn.Embedding):
        inputs, outputs = weight.shape
        return shapes_of_matrix(outputs, inputs) | {"weight": (inputs, outputs)}
    return shapes_of_matrix(*(parts * size for size in weight.shape)) | also


def shapes_of_matrix(outputs: int, inputs: int) -> Shapes:
    """Shapes that the chain of one matrix is programmed with."""
    return {"input": (inputs,), "output": (outputs,), "weight": (outputs, inputs), "bias": (outputs,), "array": (1, outputs, inputs)}


def _weight(layer: nn.Module) -> Tensor:
    weight = layer.weight
    if not isinstance(weight, Tensor):
        raise TypeError(f"{type(layer).__name__}.weight: must be a tensor, got {type(weight).__name__}")
    return weight

"""Layers with several products on hardware: each product is a child of its own, and the layer passes it its weight."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from neurosim.hardware.chain import ChainSpec
from neurosim.hardware.profile import Profile, load_profile
from neurosim.nn.analog import HardwareLayer, MatrixProduct, shapes_of_matrix
from neurosim.nn.chain import AnalogChain
from neurosim.nn.first_scales import follow_loaded, start_scales


class Matrix(NamedTuple):
    """One matrix of a layer, and the bias of its product."""

    weight: Tensor
    bias: Tensor | None


class AnalogProduct(MatrixProduct):
    """One of several products of a layer on simulated hardware: it has the chain, the layer has the weight.

    Args:
        chain: The chain.

    Shapes:
        x ``(*, inputs)``, weight ``(outputs, inputs)``, bias ``(outputs,)``; result ``(*, outputs)``.
    """

    digital_class = nn.Linear  #: what it computes

    def __init__(self, chain: AnalogChain) -> None:
        super().__init__()
        self.chain = chain

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """``x Wᵀ + b``."""
        return self.compute(x, weight, bias)


class ComposedLayer(nn.Module):
    """Base of layers with several products on hardware.

    Their parameters stay the clean ones of the digital layer, under their names. A product is on hardware if the layer has an
    :class:`AnalogProduct` of its name; the others, and all that is no product with weights, are digital.
    """

    prefix: ClassVar = "Analog"  #: of the names of classes that are made for a user's own layers
    digital_class: ClassVar[type[nn.Module]]  #: what ``to_digital`` turns the layer back into
    dynamic: ClassVar[tuple[str, ...]] = ()  #: names of its products of two signals

    def __init__(self, *args: Any, profile: str | Profile, seed: int, path: str, **kwargs: Any) -> None:
        self.digital_class.__init__(self, *args, **kwargs)
        spec = load_profile(profile).chain
        for name, matrix in self.matrices(self).items():
            put(self, name, make_product_chain(matrix, spec, seed, f"{path}.{name}".lstrip(".")))

    @staticmethod
    def matrices(layer: nn.Module) -> dict[str, Matrix]:
        """The matrices of such a layer, digital or on hardware, by the names of their products."""
        raise NotImplementedError("a layer of several products must define matrices")

    @property
    def bypassed(self) -> bool:
        """Whether every stage of every product is ideal: the layer is then the digital one."""
        return all(part.chain.bypassed for part in self.children() if isinstance(part, HardwareLayer))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        own = [prefix + name for name in self._parameters]
        for name, matrix in self.matrices(self).items():
            if isinstance(part := self._modules.get(name), AnalogProduct):
                follow_loaded(part.chain, matrix.weight.unsqueeze(0), state_dict, f"{prefix}{name}.", own)

    def product(self, name: str, x: Tensor, matrix: Matrix) -> Tensor:
        """One of the products."""
        on_hardware = self._modules.get(name)
        if on_hardware is None:
            return F.linear(x, *matrix)
        y: Tensor = on_hardware(x, *matrix)
        return y


def make_product_chain(matrix: Matrix, spec: ChainSpec, seed: int, path: str) -> AnalogChain:
    """A chain for one matrix, on its device."""
    outputs, inputs = matrix.weight.shape
    chain = AnalogChain(spec, seed=seed, path=path, shapes=shapes_of_matrix(outputs, inputs)).to(matrix.weight.device)
    start_scales(chain, matrix.weight.unsqueeze(0))
    return chain


def put(layer: nn.Module, name: str, chain: AnalogChain) -> None:
    """Put one product of a layer on hardware, or on another one."""
    product = AnalogProduct(chain)
    product.train(layer.training)
    layer.add_module(name, product)


def take_off(layer: ComposedLayer) -> None:
    """Make a layer the digital one again."""
    for name in [name for name, part in layer.named_children() if isinstance(part, AnalogProduct) or name in layer.dynamic]:
        delattr(layer, name)
    object.__setattr__(layer, "__class__", layer.digital_class)

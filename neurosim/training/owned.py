"""Which parameters are weights: by what owns them, and not by their axes alone."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.utils import parametrizations

from neurosim.activations import identify
from neurosim.convert.parametrized import computed
from neurosim.convert.swap_activation import is_activation
from neurosim.neurons import is_neurons
from neurosim.nn.chain import AnalogChain
from neurosim.nn.scale import Scale, Shift
from neurosim.nn.wrappers import named_unwrapped
from neurosim.norms import Norm, WeightParametrization
from neurosim.quantizers import Quantizer

_NORMS: Final = (Norm, _BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
_SCALES: Final = (AnalogChain, Quantizer, Scale, Shift)  #: what they learn are scales, limits and offsets
_WITH_GAIN: Final = (WeightParametrization, parametrizations._WeightNorm)  #: of two parameters, the first is the length of rows


class Weight(NamedTuple):
    """A weight of a layer.

    Args:
        path: Of the layer, without what stands around it to compile it or to run it in parallel.
        layer: The layer.
        name: Of the weight in the layer.
        parameters: The weight itself; of a parametrized one, all that it is computed of.
        gains: Those of them that are scales.
    """

    path: str
    layer: nn.Module
    name: str
    parameters: tuple[nn.Parameter, ...]
    gains: tuple[nn.Parameter, ...] = ()

    @property
    def learned(self) -> list[nn.Parameter]:
        """Its parameters without its gains."""
        scales = {id(value) for value in self.gains}
        return [value for value in self.parameters if id(value) not in scales]

    @property
    def value(self) -> Tensor:
        """What it is now, without a gradient."""
        with torch.no_grad():
            value: Tensor = getattr(self.layer, self.name)
        return value.detach()


def weights_of(model: nn.Module) -> list[Weight]:
    """The weights of a model, each once: what layers multiply their inputs with, and what they look up.

    A parameter is one by its owner. Those of norms and activations are none, nor what neurons, chains of hardware, quantizers, scales and
    offsets learn, nor biases. Of the others, what is named ``weight``, ``weight_ih_l0``, ``in_proj_weight`` and the like is one if it has
    two axes, of whatever length; under another name, two of them must be longer than 1. A parametrized weight is what layers compute with.

    Args:
        model: Any module.

    >>> [weight.path for weight in weights_of(nn.Sequential(nn.Linear(3, 1), nn.PReLU(3), nn.LayerNorm([1, 3, 3])))]
    ['0']
    """
    modules = [(path, module) for path, module in named_unwrapped(model) if "parametrizations" not in path.split(".")]
    taken = of_norms(model) | {
        id(value)
        for _, module in modules
        if isinstance(module, _SCALES) or is_activation(module) or identify(module) is not None
        for value in module.parameters()
    }
    found = []
    for path, layer in modules:
        for weight in _own(path, layer):
            fresh = not any(id(value) in taken for value in weight.parameters)
            if fresh and any(_is_weight(layer, weight.name, value) for value in weight.learned):
                found.append(weight)
                taken |= {id(value) for value in weight.parameters}
    return found


def of_norms(model: nn.Module) -> set[int]:
    """The ids of the parameters of norms."""
    return {id(value) for module in model.modules() if isinstance(module, _NORMS) for value in module.parameters()}


def _own(path: str, layer: nn.Module) -> list[Weight]:
    plain = [Weight(path, layer, name, (value,)) for name, value in layer.named_parameters(recurse=False)]
    made = []
    for name, parts in computed(layer).items():
        held: Any = layer.parametrizations
        known = dict(held[name].named_parameters())
        gain = known.get("original0") if isinstance(parts[0], _WITH_GAIN) else None
        made.append(Weight(path, layer, name, tuple(known.values()), () if gain is None else (gain,)))
    return plain + made


def _is_weight(layer: nn.Module, name: str, value: nn.Parameter) -> bool:
    words = name.split("_")
    if "bias" in words or words[-2:] == ["weight", "g"]:  # the length of rows, under torch's former weight norm
        return False
    if "weight" in words:
        return value.dim() > 1
    return not is_neurons(layer) and value.squeeze().dim() > 1

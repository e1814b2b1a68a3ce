"""Layers whose weights are computed of what is learned, as layers with plain weights again."""

from __future__ import annotations

import copy
from typing import Any, Final

from torch import nn
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from neurosim.errors import ConversionError
from neurosim.norms import WeightParametrization

#: of torch: a deterministic function of what is learned, in evaluation
_OF_TORCH: Final = (parametrizations._WeightNorm, parametrizations._Orthogonal, parametrizations._SpectralNorm)


def computed(module: nn.Module) -> dict[str, list[nn.Module]]:
    """The parametrizations of a module, by the parameter that each gives."""
    if not parametrize.is_parametrized(module):
        return {}
    found: Any = module.parametrizations
    return {name: list(found[name]) for name in found}


def check_copies(where: str, model: nn.Module) -> None:
    """Refuse models that cannot be copied because torch's old weight norm, or spectral norm, has computed a weight with gradients.

    Raises:
        ConversionError: There is one, with ``where``.
    """
    for path, module in model.named_modules():
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, WeightNorm | SpectralNorm) and not getattr(module, hook.name).is_leaf:
                name = "weight_norm" if isinstance(hook, WeightNorm) else "spectral_norm"
                raise ConversionError(
                    f"{where}: {path or type(module).__name__}: a layer with torch.nn.utils.{name} cannot be copied; "
                    f"use torch.nn.utils.parametrizations.{name}"
                )


def check_constant(module: nn.Module) -> None:
    """Refuse parametrizations of which it is not known that evaluation always gives the same.

    Raises:
        ConversionError: There is one.
    """
    for parts in computed(module).values():
        for part in parts:
            if not isinstance(part, (WeightParametrization, *_OF_TORCH)):
                raise ConversionError(f"{type(part).__name__} is not known to give the same at every call")


def make_plain(module: nn.Module) -> None:
    """Make what parametrizations compute now the parameters, in place; nothing else that shares the class of the module is touched."""
    layer: Any = module
    layer.parametrizations.eval()
    values = {name: getattr(layer, name).detach().clone() for name in computed(layer)}
    learned = {name: any(value.requires_grad for value in layer.parametrizations[name].parameters()) for name in values}
    layer.__class__ = parametrize.type_before_parametrizations(layer)  # torch's own removal would change the class of copies too
    del layer.parametrizations
    for name, value in values.items():
        layer.register_parameter(name, nn.Parameter(value, requires_grad=learned[name]))


def plain(module: nn.Module) -> nn.Module:
    """A copy whose weights are plain parameters: what a parametrization or weight norm computes is taken as it is."""
    twin = copy.deepcopy(module)
    if parametrize.is_parametrized(twin):
        make_plain(twin)
    if hasattr(twin, "weight_g"):
        nn.utils.remove_weight_norm(twin)
    return twin

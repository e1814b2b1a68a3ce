"""Where the norms of a model stand, and what comes to them there."""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.instancenorm import _InstanceNorm

from neurosim.convert.affine import WEIGHTED
from neurosim.convert.places import chains, hooked
from neurosim.convert.swap_activation import is_activation
from neurosim.errors import ConfigError, ConversionError
from neurosim.neurons import is_neurons
from neurosim.nn.analog import AnalogLayer
from neurosim.nn.mpbn import MPBN
from neurosim.norms import NORMS, ChannelNorm, Entry, FreezingNorm, Norm, TimeNorm
from neurosim.norms.batch import channels_of

_OF_TORCH: Final = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
_KEEP_AXES: Final = (nn.Identity, _DropoutNd, Norm, *_OF_TORCH)
#: torch's norms by the name of ours
_KINDS: Final[dict[str, tuple[type[nn.Module], ...]]] = {
    "batch": (_BatchNorm,),
    "instance": (_InstanceNorm,),
    "group": (nn.GroupNorm,),
    "layer": (nn.LayerNorm,),
    "rms": (nn.RMSNorm,),
}
#: axes of the inputs of a norm beside batch and channels, by its class
_AXES: Final = {nn.BatchNorm2d: 2, nn.BatchNorm3d: 3, nn.InstanceNorm1d: 1, nn.InstanceNorm2d: 2, nn.InstanceNorm3d: 3}


@dataclass(frozen=True)
class NormPlace:
    """What a norm is given.

    Args:
        features: Channels, or the shape of the units.
        axis: Of the channels.
        time: Whether it sees the time axis, which ``axis`` then counts.
        space: Axes beside time, batch and channels, where they are known.
    """

    features: tuple[int, ...]
    axis: int
    time: bool
    space: int | None = None


def norms_of(root: nn.ModuleDict) -> dict[str, nn.Module]:
    """Every norm by its path in the model, where it stands; those inside another one, or inside MPBN, are part of it."""
    found: dict[str, nn.Module] = {}
    closed: list[str] = []
    for path, module in root.named_modules(remove_duplicate=False):
        if any(path.startswith(f"{outer}.") for outer in closed):
            continue
        if isinstance(module, (Norm, *_OF_TORCH)):
            found[path.partition(".")[2]] = module
        if isinstance(module, (Norm, MPBN)):
            closed.append(path)
    return found


def layers_before(root: nn.ModuleDict) -> dict[str, nn.Module]:
    """The layer with weights that surely feeds a module, by the path of the module, where nothing is between them that changes the axes."""
    found: dict[str, nn.Module] = {}
    for chain in chains(root, reads=(*WEIGHTED, AnalogLayer)):
        layer = None
        for place in chain:
            if layer is not None:
                found[place.path] = layer
            module = place.module
            if isinstance(module, (*WEIGHTED, AnalogLayer)):
                layer = module
            elif not (isinstance(module, _KEEP_AXES) or is_activation(module) or is_neurons(module)):
                layer = None
    return found


def place_of(old: nn.Module, before: nn.Module | None) -> NormPlace:
    """What a norm is given.

    Args:
        old: The norm.
        before: The layer that feeds it, if that is known.

    Raises:
        ConversionError: Its channels are not known, or it has hooks.
    """
    if hooked(old):
        raise ConversionError("it has hooks")
    place = _channels(unfrozen(old))
    if len(place.features) > 1 or place.axis - place.time != 1:
        return place
    if isinstance(before, (*WEIGHTED, AnalogLayer)):
        return replace(place, space=len(getattr(before, "kernel_size", ())))
    return replace(place, space=next((axes for kind, axes in _AXES.items() if isinstance(old, kind)), None))


def check_runs(new: nn.Module, place: NormPlace) -> None:
    """Try a copy of a norm on such inputs as come to its place, where these are known.

    Raises:
        ConversionError: It refuses them.
    """
    if place.space is None:
        return
    like = next((value for value in (*new.parameters(), *new.buffers()) if value.is_floating_point()), torch.empty(0))
    x = torch.ones(1, 2, *place.features, *(2,) * place.space, dtype=like.dtype, device=like.device)
    try:
        with torch.no_grad():
            copy.deepcopy(new)(x if getattr(new, "takes_time", False) else x[0])
    except ConfigError as error:
        raise ConversionError(f"{type(new).__name__} cannot run here: {error}") from None


def settings_of(old: nn.Module, entry: Entry) -> dict[str, Any]:
    """Settings of a norm for one of its kind that takes its place; nothing for one of another kind."""
    names = set(inspect.signature(entry.make).parameters) - {"features", "channel_dim"}
    if isinstance(old, _KINDS.get(entry.name, ())):
        held = {name: getattr(old, name, None) or None for name in ("eps", "momentum")} | {"groups": getattr(old, "num_groups", None)}
    elif isinstance(entry.make, type) and isinstance(old, entry.make):
        of = {"affine": "weight", "scale": "weight", "shift": "bias"}
        learned = {name: getattr(old, one) is not None for name, one in of.items() if hasattr(old, one)}
        held = learned | {name: getattr(old, name) for name in names if hasattr(old, name)}
    else:
        return {}
    return {name: value for name, value in held.items() if name in names and isinstance(value, int | float | str)}


def unfrozen(old: nn.Module) -> nn.Module:
    """The norm inside a FreezingNorm, or the norm itself."""
    return old.norm if isinstance(old, FreezingNorm) else old


def _channels(old: Any) -> NormPlace:
    if hooked(old):
        raise ConversionError("it has hooks")
    known: list[Any] = [*_OF_TORCH, nn.SyncBatchNorm, *(NORMS[name].make for name in NORMS if NORMS[name].kind == "module")]
    if type(old).forward not in [kind.forward for kind in known]:
        raise ConversionError(f"a {type(old).__name__} has a forward of its own, and what it does beside the norm would be lost")
    if isinstance(old, TimeNorm):
        return NormPlace(old.features, 2, True)
    if isinstance(old, ChannelNorm):
        return NormPlace(old.features, old.channel_dim if len(old.features) == 1 else -len(old.features), False)
    if isinstance(old, _BatchNorm):
        return NormPlace((old.num_features,), channels_of(old), False)
    if isinstance(old, _InstanceNorm):
        return NormPlace((old.num_features,), 1, False)
    if isinstance(old, nn.GroupNorm):
        return NormPlace((old.num_channels,), 1, False)
    if isinstance(old, nn.LayerNorm | nn.RMSNorm):
        shape = tuple(old.normalized_shape)
        return NormPlace(shape, -len(shape), False)
    raise ConversionError(f"the channels of a {type(old).__name__} are not known")

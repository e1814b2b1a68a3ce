"""Other norms in the place of those that a model has."""

from __future__ import annotations

import copy
import inspect
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
from torch import nn

from neurosim.checks import one_of
from neurosim.convert.fused_path import drop_fused_path
from neurosim.convert.norm_gain import gain_between
from neurosim.convert.norm_places import NormPlace, check_runs, layers_before, norms_of, place_of, settings_of, unfrozen
from neurosim.convert.norm_threshold import Thresholds
from neurosim.convert.report import table
from neurosim.convert.select import Selection, as_list, check_globs, check_model, matches
from neurosim.errors import ConfigError, ConversionError
from neurosim.nn.time import SpikingSequential, TimeFold
from neurosim.norms import Entry
from neurosim.norms.choice import make_norm, named_module

Adjust = Literal["nothing", "variance"]


@dataclass(frozen=True)
class NormSwap:
    """One norm.

    Args:
        path: Its name in the model.
        before: The class that stood there.
        after: The one that stands there now.
        features: Channels, or shape of the units.
        kept: Parameters and running statistics that it has taken over.
        factor: What its γ was multiplied by.
        reason: Why its γ was not adjusted where it should have been, for people.
    """

    path: str
    before: str
    after: str
    features: tuple[int, ...]
    kept: tuple[str, ...]
    factor: float = 1.0
    reason: str = ""


@dataclass(frozen=True)
class Swaps:
    """The report that :func:`neurosim.swap_norm` leaves at ``model.swaps``; ``print`` shows it as a table.

    Args:
        norms: One entry for every norm that was swapped.
    """

    norms: tuple[NormSwap, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data: JSON-able."""
        return asdict(self)

    def __str__(self) -> str:
        adjusted = any(one.factor != 1 or one.reason for one in self.norms)
        shown = [
            (
                *(one.path or "(model)", one.before, one.after, "×".join(map(str, one.features)), ", ".join(one.kept)),
                *((f"× {one.factor:.4g}" if not one.reason else one.reason,) if adjusted else ()),
            )
            for one in self.norms
        ]
        head = ("norm", "before", "after", "features", "kept", *(("γ",) if adjusted else ()))
        return "\n".join([f"{len(self.norms)} norms swapped", *table(head, shown)])


def swap_norm(
    model: nn.Module, name: str, *, layers: Selection = None, adjust: Adjust = "nothing", inplace: bool = False, **settings: Any
) -> nn.Module:
    r"""A copy of a model with other norms.

    Number and axis of the channels follow from the norm that is replaced. γ and β, where both have them, at the same place and of the same
    shape, are kept, and so are running statistics of the same names; everything else starts as new. A norm of
    the same kind keeps ε, momentum and other settings, too. A norm over time gives way to one of single steps in the same place, or the
    other way round, where something hands steps or sequences to it as it needs them. The model may be digital, on simulated hardware, or
    spiking.

    Weights stay as they are. A fresh model gets others for its new norms by ``neurosim.initialize(swapped, "lsuv", images)``, or any other
    initialiser; one whose norms are taken away needs that, or, if it is trained, :func:`neurosim.fold` in the first place.

    Norms that are an activation as well (EvoNorms, FRN) do not take the activation away that follows; norms inside MPBN stay.
    A ``FreezingNorm`` gives way as a whole, with its averages; :func:`neurosim.freeze_statistics` makes others.

    Args:
        model: Any module.
        name: Of a module in ``NORMS``; or ``none``, which leaves nothing in the place of a norm.
        layers: Globs over the paths of norms, or their types; None: all. A norm that stands in several places is swapped in all of them.
        adjust: ``variance`` multiplies the new norm's γ by what makes its outputs for normal inputs as large as those of the old one
            without its γ, so that a γ that is kept means the same: √(2/π) for a norm by magnitudes in the place of one by squares,
            1/(α V_th) for tdBN; ``nothing`` leaves γ.
        inplace: Change ``model`` itself.
        **settings: Arguments of the new norm; ``steps`` of a norm that counts them is by default that of the one that it replaces, and
            ``depth`` of one that knows it counts the norms that are swapped, in the order of the model. ``v_threshold`` of one that
            knows it is that of the neurons that follow, and its ``alpha`` then 1/√2 where it ends a branch of a residual block.

    Returns:
        The model, with the report at ``model.swaps``.

    Raises:
        ConfigError: There is no such norm, argument, or norm to be replaced.
        ConversionError: The new norm cannot stand in one of the places; the model is then unchanged. It is tried where the axes of its
            inputs are known, from the class of the old norm or from the layer that feeds it.

    >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    >>> swapped = swap_norm(model, "layer")
    >>> print(swapped.swaps)
    1 norms swapped
      norm  before       after      features  kept
      1     BatchNorm2d  LayerNorm  4         weight, bias
    """
    check_model("swap_norm", model)
    one_of("swap_norm.adjust", adjust, get_args(Adjust))
    entry = None if name == "none" else named_module("swap_norm", name, lambda entry: True, "module")
    if entry is None and settings:
        raise ConfigError(f"swap_norm: none takes no settings, got {', '.join(settings)}")
    changed = model if inplace else copy.deepcopy(model)
    root = nn.ModuleDict({"model": changed})
    found = norms_of(root)
    if not found:
        raise ConfigError("swap_norm: the model has no norm")
    check_globs("swap_norm", as_list(layers), found, "norm")
    wanted = {id(norm) for path, norm in found.items() if layers is None or matches(path, norm, layers)}
    if not wanted:
        raise ConfigError(f"swap_norm: layers must name a norm, got {layers!r}; there are {', '.join(found)}")
    if inplace and "" in found:
        raise ConfigError("swap_norm: a model that is itself a norm cannot be replaced in place; use what is returned")
    chosen = {path: norm for path, norm in found.items() if id(norm) in wanted}  # under all its names, if it has several
    before = layers_before(root)
    names = inspect.signature(entry.make).parameters if entry is not None else {}
    thresholds = Thresholds(root) if "v_threshold" in names and "v_threshold" not in settings else None
    made: dict[int, nn.Module] = {}
    factors: dict[int, float] = {}
    reports: list[NormSwap] = []
    problems: list[str] = []
    for path, old in chosen.items():
        try:
            bare = unfrozen(old)
            place = place_of(old, before.get(path))
            fires = {} if thresholds is None else thresholds.at(path)
            new = made[id(old)] if id(old) in made else _fresh(entry, bare, place, {**fires, **settings}, len(made) + 1)
            check_runs(new, place)
            like = "weight" in _same(bare, new)
            factor = gain_between(bare, new, place.features, place.axis, place.time, like) if adjust == "variance" else 1.0
        except ConversionError as error:
            problems.append(f"{path or '(model)'}: {error}")
            continue
        if id(old) not in made:
            made[id(old)] = new
        found_factor, reason = (1.0, factor) if isinstance(factor, str) else (factor, "")
        report = NormSwap(path, type(old).__name__, type(new).__name__, place.features, _same(bare, new), found_factor, reason)
        reports.append(report)
        factors[id(old)] = found_factor
    seats = {path: _seated(root, path, old, made[id(old)], problems) for path, old in chosen.items() if id(old) in made}
    if problems:
        raise ConversionError("swap_norm: the model is unchanged; " + "; ".join(problems))
    for path in chosen:
        parent, _, last = f"model.{path}".rstrip(".").rpartition(".")
        root.get_submodule(parent)._modules[last] = seats[path]
    for old in {id(norm): norm for norm in chosen.values()}.values():
        _keep(unfrozen(old), made[id(old)], factors[id(old)])
    drop_fused_path(root, made.values())
    result: Any = root["model"]
    result.swaps = Swaps(tuple(reports))
    return root["model"]


def _fresh(entry: Entry | None, old: nn.Module, place: NormPlace, settings: dict[str, Any], depth: int) -> nn.Module:
    """The new norm with the mode, the device and the precision of the old one; without an entry, nothing."""
    if entry is None:
        return nn.Identity().train(old.training)
    names = inspect.signature(entry.make).parameters
    takes_time = bool(getattr(entry.make, "takes_time", False))
    given = dict(settings)
    features: int | tuple[int, ...] = place.features[0] if len(place.features) == 1 else place.features
    if "steps" in names and hasattr(old, "steps"):
        given.setdefault("steps", old.steps)
    if "depth" in names:
        given.setdefault("depth", depth)
    given = {**settings_of(old, entry), **given}
    axis = place.axis - place.time
    if len(place.features) > 1 and not takes_time and not getattr(entry.make, "whole_units", False):
        features = place.features[0]  # channels first, and space after them
        axis = 1
    elif len(place.features) == 1 and axis != 1:
        if "channel_dim" not in names:
            raise ConversionError(f"{entry.name} takes channels on axis 1, and here they are on axis {axis}")
        given.setdefault("channel_dim", axis)
    new = make_norm("swap_norm", entry, features, given)
    like = next((value for value in (*old.parameters(), *old.buffers()) if value.is_floating_point()), torch.empty(0))
    return new.to(like.device, torch.float64 if like.dtype == torch.float64 else torch.float32).train(old.training)


def _seated(root: nn.Module, path: str, old: nn.Module, new: nn.Module, problems: list[str]) -> nn.Module:
    """The new norm, in what hands the time axis to it in steps or leaves it whole."""
    before, after = (bool(getattr(norm, "takes_time", False)) for norm in (old, new))
    parent = root.get_submodule(f"model.{path}".rstrip(".").rpartition(".")[0])
    if before == after or isinstance(parent, SpikingSequential) or isinstance(new, nn.Identity):
        return new
    if before:
        return TimeFold(new).train(new.training)
    problems.append(f"{path or '(model)'}: a {type(new).__name__} needs the time axis, and only single samples or steps come here")
    return new


def _same(old: nn.Module, new: nn.Module) -> tuple[str, ...]:
    """Names of what both hold alike: γ and β that are the last that both do, and running statistics."""
    last = all(getattr(norm, "affine_last", True) for norm in (old, new))
    theirs, ours = ({**dict(norm.named_parameters(recurse=False)), **dict(norm.named_buffers(recurse=False))} for norm in (old, new))
    names = [*(("weight", "bias") if last else ()), "running_mean", "running_var", "num_batches_tracked"]
    return tuple(name for name in names if name in theirs and name in ours and theirs[name].shape == ours[name].shape)


@torch.no_grad()
def _keep(old: nn.Module, new: nn.Module, factor: float) -> None:
    for name in _same(old, new):
        getattr(new, name).copy_(getattr(old, name))
    if factor != 1:
        new.get_parameter("weight").mul_(factor)

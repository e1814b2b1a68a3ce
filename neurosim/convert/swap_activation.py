"""Other activations in a model, in a line."""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from neurosim.activations import Curve, Facts, activation, check_activation, facts, identify, named_draws
from neurosim.activations.facts import IN_MODELS
from neurosim.checks import flag, one_of
from neurosim.convert.affine import WEIGHTED
from neurosim.convert.fused_path import drop_fused_path
from neurosim.convert.places import Place, Uses, chains, hooked
from neurosim.convert.report import table
from neurosim.convert.select import Selection, as_list, check_globs, check_model, matches
from neurosim.errors import ConfigError, with_article
from neurosim.nn.analog import AnalogLayer

Gain = Literal["keep", "variance"]

#: of torch's module of activations, those that are none in this sense
_OTHERS: Final = (nn.MultiheadAttention, nn.Softmax, nn.Softmax2d, nn.LogSoftmax, nn.Softmin, nn.GLU)
#: between an activation and the layer that it feeds: they keep second moments, or nearly
PASSIVE: Final = (nn.Identity, nn.Flatten, nn.Unflatten, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


@dataclass(frozen=True)
class ActivationReport:
    """One activation.

    Args:
        path: Its name in the model; the first one if the model uses it under several.
        was: What it was.
        now: What it is; empty where it was left.
        layer: The layer whose weights were adjusted, or empty.
        factor: What they were multiplied by.
        reason: Why it was left, or why no weights were adjusted, for people.
    """

    path: str
    was: str
    now: str
    layer: str = ""
    factor: float = 1.0
    reason: str = ""


@dataclass(frozen=True)
class ActivationSwap:
    """The report that :func:`neurosim.swap_activation` leaves at ``model.activation_swap``; ``print`` shows it as a table."""

    activations: tuple[ActivationReport, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data: JSON-able."""
        return asdict(self)

    def __str__(self) -> str:
        swapped = [one for one in self.activations if one.now]
        adjusted = {one.layer for one in swapped if one.layer}
        left = len(self.activations) - len(swapped)
        head = f"{len(swapped)} activations swapped, {left} left; the weights of {len(adjusted)} layers adjusted"
        rows = [
            (one.path or "(model)", one.was, one.now or "left", f"{one.layer} × {one.factor:.4g}" if one.layer else "", one.reason)
            for one in self.activations
        ]
        return "\n".join([head, *table(("activation", "was", "now", "weights", "reason"), rows)])


def swap_activation(
    model: nn.Module,
    name: object,
    *,
    layers: Selection = None,
    gain: Gain = "keep",
    shared: bool = False,
    inplace: bool = False,
    **settings: Any,
) -> nn.Module:
    r"""A copy of a model with other activations; everything else, names and weights included, stays.

    Activations are the modules of the registry and of torch; functions that a ``forward`` calls are not seen, nor is what neurons do. The
    model may be digital, on simulated hardware, or spiking.

    Args:
        model: Any module.
        name: A name in :data:`neurosim.ACTIVATIONS`, or a mapping with ``kind`` and parameters.
        layers: Which activations: globs over their paths, or types; None for all.
        gain: ``variance`` multiplies the weights of the layer that an activation surely feeds (a neighbour in ``nn.Sequential``, or as
            ``torch.fx`` reads a ``forward``) by :math:`\sqrt{E f_{old}^2 / E f_{new}^2}` for inputs N(0, 1), so that what the layer gives
            keeps its size; ``keep`` leaves all weights.
        shared: One module for all places: with ``rational``, one physical curve for all neurons.
        inplace: Change ``model`` itself.
        settings: Parameters of the activation.

    Returns:
        The model, with the report at ``model.activation_swap``.

    Raises:
        ConfigError: There is no such activation or parameter, a glob names none, or there is no activation to swap. ``model`` is then
            unchanged.

    >>> model = swap_activation(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), "gelu", gain="variance")
    >>> print(model.activation_swap)
    1 activations swapped, 0 left; the weights of 1 layers adjusted
      activation  was   now                       weights    reason
      1           ReLU  GELU(approximate='none')  2 × 1.084
    """
    check_model("swap_activation", model)
    one_of("swap_activation.gain", gain, get_args(Gain))
    flag("swap_activation.shared", shared)
    check_activation(choice := {**(name if isinstance(name, dict) else {"kind": name}), **settings})
    places = activations_of(model)
    if not places:
        raise ConfigError(
            "swap_activation: the model must have activations that are modules, got none; functions in a forward are not seen"
        )
    check_globs("swap_activation", as_list(layers), [path for path, _ in places], "activation")
    wanted = {id(module) for path, module in places if layers is None or matches(path, module, layers)}
    if not wanted:
        raise ConfigError(f"swap_activation: layers must name an activation, got {layers!r}; there are {', '.join(p for p, _ in places)}")
    if inplace and any(path == "" for path, _ in places):
        raise ConfigError("swap_activation: a model that is itself an activation cannot be replaced in place; use what is returned")
    target = model if inplace else copy.deepcopy(model)
    chosen = {id(twin) for (_, old), (_, twin) in zip(places, activations_of(target), strict=True) if id(old) in wanted}
    swapped, reports = _swapped(target, chosen, choice, gain, shared or bool(choice.get("shared", False)))
    report: Any = swapped
    report.activation_swap = ActivationSwap(tuple(reports))
    return swapped


def activations_of(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The activations of a model by path, each once; not those that another one holds."""
    found: list[tuple[str, nn.Module]] = []
    for path, module in model.named_modules():
        inside = any(path.startswith(f"{outer}.") or outer == "" for outer, _ in found)
        if is_activation(module) and not inside:
            found.append((path, module))
    return found


def is_activation(module: nn.Module) -> bool:
    """Whether a module is an activation of the registry, or one of torch's, that can stand in any place."""
    if isinstance(module, (nn.Identity, *_OTHERS)):
        return False
    entry = identify(module)
    if entry is not None:
        return entry.kind in IN_MODELS
    return type(module).__module__ == "torch.nn.modules.activation"


def _swapped(
    model: nn.Module, chosen: set[int], choice: dict[str, Any], gain: Gain, shared: bool
) -> tuple[nn.Module, list[ActivationReport]]:
    """Swap in ``model`` itself."""
    root = nn.ModuleDict({"model": model})
    like = next((value for value in model.parameters() if value.is_floating_point()), torch.empty(0))
    fed = _feeds(root, Uses(root)) if gain == "variance" else {}
    one = activation(choice) if shared else None
    made: dict[int, nn.Module] = {}
    reports = []
    for path, old in activations_of(model):
        if id(old) not in chosen:
            continue
        if hooked(old):
            reports.append(ActivationReport(path, _shown(old), "", reason="it has hooks"))
            continue
        new = named_draws(activation(choice), path) if one is None else one
        made[id(old)] = new.to(like.device, like.dtype).train(old.training)
        if gain == "keep":
            reports.append(ActivationReport(path, _shown(old), _shown(new)))
        else:
            reports.append(_adjusted(path, old, new, fed.get(id(old), "nothing certain comes after it")))
    for module in list(root.modules()):
        for name, child in module._modules.items():
            if child is not None and id(child) in made:
                module._modules[name] = made[id(child)]
    drop_fused_path(root, made.values())
    return root["model"], reports


def _adjusted(path: str, old: nn.Module, new: nn.Module, fed: Place | str) -> ActivationReport:
    """The report of one whose gain is to be made up for, which is done where that is possible."""
    was, now = _curve(old), _curve(new)
    if was is None or now is None:
        unknown = old if was is None else new
        what = "it is no function of one number" if identify(unknown) is not None else f"{type(unknown).__name__} is not in ACTIVATIONS"
        return ActivationReport(path, _shown(old), _shown(new), reason=f"{what}, so its gain is not known")
    if isinstance(fed, str):
        return ActivationReport(path, _shown(old), _shown(new), reason=fed)
    before, after = was.moments().second, now.moments().second
    if before == 0 or after == 0:
        return ActivationReport(path, _shown(old), _shown(new), reason="it is 0 everywhere")
    factor = math.sqrt(before / after)
    weight = fed.module._parameters["weight"]
    if isinstance(weight, Tensor):
        with torch.no_grad():
            weight.mul_(factor)
    return ActivationReport(path, _shown(old), _shown(new), fed.path, factor)


def _feeds(root: nn.ModuleDict, uses: Uses) -> dict[int, Place | str]:
    """By activation, the layer it surely feeds, or why there is none."""
    found: dict[int, Place | str] = {}
    kinds = tuple({type(module) for module in root.modules() if is_activation(module)})
    for chain in chains(root, reads=kinds):
        for at, place in enumerate(chain):
            if is_activation(place.module):
                after = next((one for one in chain[at + 1 :] if not isinstance(one.module, PASSIVE)), None)
                found[id(place.module)] = _layer(place.module, after, uses)
    return found


def _layer(module: nn.Module, after: Place | None, uses: Uses) -> Place | str:
    if uses.count(module) > 1:
        return "it is used in several places"
    if after is None:
        return "nothing certain comes after it"
    kind = type(after.module).__name__
    if not isinstance(after.module, (*WEIGHTED, AnalogLayer)):
        return f"{with_article(kind)} comes after it"
    if uses.shared(after.module) or parametrize.is_parametrized(after.module) or after.module._parameters.get("weight") is None:
        return f"the weights of the {kind} after it are not its own alone"
    return after


def _curve(module: nn.Module) -> Facts | None:
    entry = identify(module)
    return facts(module) if isinstance(entry, Curve) else None


def _shown(module: nn.Module) -> str:
    text = repr(module)
    return type(module).__name__ if "\n" in text else text.removesuffix("()")

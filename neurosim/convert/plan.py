"""What a conversion is going to do, layer by layer; nothing is changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.nn.parameter import UninitializedParameter

from neurosim.convert.control import overridden
from neurosim.convert.fan_in import crowded_neurons
from neurosim.convert.report import LayerReport, Status
from neurosim.convert.select import Selection, matches
from neurosim.errors import ConfigError, ConversionError
from neurosim.hardware.chain import LayerSpec
from neurosim.hardware.layout import check_fan_in
from neurosim.hardware.profile import Profile
from neurosim.hardware.word_neuron import WORD_RESETS
from neurosim.neurons import Neuron
from neurosim.nn.analog import AnalogLayer, HardwareLayer, shapes_of
from neurosim.nn.chain import AnalogChain
from neurosim.nn.classes import HARDWARE, hardware_class
from neurosim.nn.mpbn import MPBN
from neurosim.nn.neuron import NO_NORM_IN_WORDS
from neurosim.nn.neuron_chain import full_scale
from neurosim.norms import Norm

_DIGITAL = "no product: it runs in the digital part"
_FOLD = "a norm runs in the digital part; neurosim.fold(model) first makes it part of weights or thresholds, where it can be"
_OWN = "its own forward uses its parameters; wrap the product in nn.Linear or nn.Conv to convert it"
_NO_NEURONS = "this hardware has no neurons: they run in the digital part"
#: layers that multiply by their weights and have no rule yet, with the reason that the report gives
_REFUSED: dict[type[nn.Module], str] = {
    nn.MultiheadAttention: "attention reads its projections' weights directly; no rule for it yet",
    nn.RNNBase: "recurrent layers compute their gates in one fused call; no rule for them yet",
    nn.RNNCellBase: "recurrent cells read two weights in one call; no rule for them yet",
    nn.Bilinear: "bilinear products have no rule yet",
}
_PRODUCT = ("forward", "_conv_forward")  #: what decides that a subclass still computes the product of its base
_STEP = ("run", "trace", "_steps", "_circuit", "_leak", "_firing")  #: likewise for neurons


def plan(model: nn.Module, device: Profile, layers: Selection, skip: Selection) -> list[LayerReport]:
    """One report for every module that owns parameters, and for every neuron if the hardware has some, in the model's order.

    Of a neuron that holds another, as ``Recurrent`` does, the inner one is reported, and the connections.
    """
    reports: list[LayerReport] = []
    owners: dict[int, str] = {}
    inside_attention: set[int] = {
        id(part) for module in model.modules() if isinstance(module, nn.MultiheadAttention) for part in module.modules()
    }
    norms = norms_of(model)
    for path, module in model.named_modules():
        if isinstance(module, AnalogChain) or "parametrizations" in path.split("."):
            continue
        own = dict(module.named_parameters(recurse=False))
        own |= {name: value for name, value in module.named_parameters() if name.startswith("parametrizations.")}
        neuron = isinstance(module, Neuron) and not any(isinstance(part, Neuron) for part in module.children())
        if not own and not isinstance(module, nn.Linear | nn.modules.conv._ConvNd) and not (neuron and device.neuron is not None):
            continue
        status, reason = _judge_neuron(module, device, norms.get(path, (path, None))[1]) if neuron else _judge(module, device)
        if id(module) in inside_attention:
            status, reason = "refused", _REFUSED[nn.MultiheadAttention]
        if status == "converted" and matches(path, module, skip):
            status, reason = "digital", "skipped as asked"
        elif status == "converted" and layers is not None and not matches(path, module, layers):
            status, reason = "digital", "not among the layers asked for"
        others = sorted({owners[id(value)] for value in own.values() if id(value) in owners})
        owners |= {id(value): path for value in own.values() if id(value) not in owners}
        also = [other for other, found in model.named_modules(remove_duplicate=False) if found is module and other != path]
        notes = [
            note
            for note in (
                reason,
                f"also used as {', '.join(also)}" if also else "",
                f"weight shared with {', '.join(others)}" if others else "",
            )
            if note
        ]
        known = not neuron and hardware_class(type(module)) is not None
        sizes = shapes_of(module) if known and not any(isinstance(value, UninitializedParameter) for value in own.values()) else None
        reports.append(
            LayerReport(
                path,
                getattr(type(module), "digital_class", type(module)).__name__,
                status,
                "; ".join(notes),
                sizes["input"][0] if sizes else 0,
                sizes["output"][0] if sizes else 0,
                sum(value.numel() for value in own.values() if not isinstance(value, UninitializedParameter)),
            )
        )
    return reports


def _judge(module: nn.Module, device: Profile) -> tuple[Status, str]:
    """Status and reason of a layer that is no neuron, whatever was asked for."""
    refusal = next((reason for kind, reason in _REFUSED.items() if isinstance(module, kind)), None)
    if refusal:
        return "refused", refusal
    if hardware_class(type(module)) is None:
        if isinstance(module, Norm | nn.modules.batchnorm._BatchNorm):
            return "digital", _FOLD
        if type(module).__module__.startswith("torch.nn"):
            return "digital", _DIGITAL
        return "digital", getattr(type(module), "stays_digital", "") or _OWN
    if isinstance(module, AnalogLayer):
        return "converted", "was on hardware already; moved to this profile"
    changed = _changed(module, _PRODUCT)
    if changed:
        return "refused", f"{type(module).__name__} defines {changed[0]} itself, so its product is not known to be that of {changed[1]}"
    if any(isinstance(value, UninitializedParameter) for value in module.parameters(recurse=False)):
        return "refused", "its weights have no shape yet: run one batch through the model first"
    weight = module.weight
    if getattr(weight, "is_complex", bool)() or not getattr(weight, "is_floating_point", bool)():
        return "refused", f"weights must be real floating-point numbers, got {getattr(weight, 'dtype', type(weight).__name__)}"
    return "converted", ""


def norms_of(model: nn.Module) -> dict[str, tuple[str, MPBN]]:
    """For the path of every neuron whose membrane is normalised, the path of the norm, and the norm.

    Such a neuron has the random streams and the full scale that it has if the norm is folded first: those of the norm's path and of the
    thresholds that it folds to.
    """
    found = {path: module for path, module in model.named_modules() if isinstance(module, MPBN)}
    return {f"{path}.neuron".lstrip("."): (path, module) for path, module in found.items()}


def _judge_neuron(module: nn.Module, device: Profile, norm: MPBN | None) -> tuple[Status, str]:
    """Status and reason of a neuron, and of the norm of its membrane, whatever was asked for."""
    if device.neuron is None:
        return "digital", _NO_NEURONS
    name = getattr(type(module), "digital_class", type(module)).__name__
    if hardware_class(type(module)) is None:
        known = ", ".join(kind.__name__ for kind in HARDWARE if issubclass(kind, Neuron))
        return "refused", f"{name} has no model on hardware yet; those that have one: {known}"
    changed = None if isinstance(module, HardwareLayer) else _changed(module, _STEP)
    if changed:
        return "refused", f"{name} defines {changed[0]} itself, so its step is not known to be that of {changed[1]}"
    if getattr(module, "input_noise", 0) or getattr(module, "membrane_noise", 0):
        return "refused", "it has noise of its own; set it to 0, the noise of the hardware is the profile's"
    reset = getattr(module, "reset", "none")
    if device.neuron.neuron.words is not None and reset not in WORD_RESETS:
        return "refused", f"reset {reset!r} has no arithmetic in words; those that have it: {', '.join(WORD_RESETS)}"
    if norm is not None and norm.carry != "raw":
        return (
            "refused",
            f"it goes on from a normalised potential, carry={norm.carry!r}, as no neuron on hardware does; train with 'raw'",
        )
    if norm is not None and device.neuron.neuron.words is not None:
        return "refused", f"potentials in words {NO_NORM_IN_WORDS}"
    scale = f"full scale {full_scale(getattr(module if norm is None else norm, 'v_threshold', None)):g}"
    return "converted", f"was on hardware already; moved to this profile; {scale}" if isinstance(module, HardwareLayer) else scale


def _changed(module: nn.Module, names: tuple[str, ...]) -> tuple[str, str] | None:
    """Which of these methods a user's subclass defines itself, and the class that it derives from; None if none."""
    base = next(parent for parent in type(module).__mro__ if parent in HARDWARE)
    changed = [name for name in names if getattr(type(module), name, None) is not getattr(base, name, None)]
    return (" and ".join(changed), base.__name__) if changed else None


def layer_specs(
    where: str, model: nn.Module, device: Profile, paths: list[str], overrides: Mapping[str, Mapping[str, Any]]
) -> dict[str, LayerSpec]:
    """The chain of every chosen layer, with its overrides.

    Raises:
        ConfigError: An override does not hold or fits none of its layers; all problems at once.
        ConversionError: Layers, or neurons that several layers lead to, have more inputs than the hardware can sum; all of them.
    """
    modules = dict(model.named_modules())
    neuron = device.neuron
    specs: dict[str, LayerSpec] = {
        path: neuron if neuron is not None and isinstance(modules[path], Neuron) else device.chain for path in paths
    }
    problems: list[str] = []
    for glob, changes in overrides.items():
        try:
            named = {path: spec for path, spec in specs.items() if matches(path, nn.Identity(), glob)}
            specs |= overridden(named, changes, f"{where}: overrides[{glob!r}]") if named else {}
        except ConfigError as error:
            problems += [problem for problem in error.problems if problem not in problems]
    if problems:
        raise ConfigError("\n".join(problems), problems)
    for path, spec in specs.items():
        try:
            check_fan_in(spec, {} if isinstance(modules[path], Neuron) else shapes_of(modules[path]), path)
        except ConversionError as error:
            problems.append(f"{where}: {error}")
    problems += [f"{where}: {problem}" for problem in crowded_neurons(model, specs)]
    if problems:
        raise ConversionError("\n".join(problems))
    return specs

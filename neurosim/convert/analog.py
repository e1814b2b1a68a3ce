"""From a digital model to one on simulated analog hardware, and back."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.nn.parameter import UninitializedParameter

from neurosim.convert.control import advance
from neurosim.convert.report import Conversion, LayerReport, Status
from neurosim.convert.select import Selection, as_list, check_globs, matches
from neurosim.ei import check
from neurosim.errors import ConfigError, ConversionError
from neurosim.hardware.chain import ChainSpec, slots
from neurosim.hardware.chain import override as override_chain
from neurosim.hardware.profile import Profile, load_profile
from neurosim.nn.analog import ANALOG, AnalogLayer, analog_class, make_chain, shapes_of
from neurosim.nn.chain import AnalogChain

_DIGITAL = "no product: it runs in the digital part"
#: layers that multiply by their weights and have no rule yet, with the reason that the report gives
_REFUSED: dict[type[nn.Module], str] = {
    nn.MultiheadAttention: "attention reads its projections' weights directly; no rule for it yet",
    nn.RNNBase: "recurrent layers compute their gates in one fused call; no rule for them yet",
    nn.RNNCellBase: "recurrent cells read two weights in one call; no rule for them yet",
    nn.Bilinear: "bilinear products have no rule yet",
    nn.modules.conv._ConvTransposeNd: "transposed convolutions have no rule yet",
}


def to_analog(
    model: nn.Module,
    profile: str | Profile,
    *,
    seed: int,
    layers: Selection = None,
    skip: Selection = None,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    inplace: bool = False,
) -> nn.Module:
    """Put a digital model on simulated hardware.

    The result is the same kind of module: train it, save it, compile it. Weights stay clean parameters under their names, so that the
    digital ``state_dict`` loads strictly into it and back. Each call of the model is a new draw of its noise; calls of its parts or of
    other methods stay within the last draw: weights keep the errors they have. ``result.conversion`` says what was converted and why.

    Args:
        model: Any module. ``nn.Linear``, ``nn.Conv1d``, ``nn.Conv2d``, ``nn.Conv3d`` and subclasses of them that compute the same product
            are converted; a layer used in several places is converted once, under its first path. Layers already converted move to the new
            profile.
        profile: The name of a device profile, a path to one, or a loaded one.
        seed: Which chip, in [0, 2⁶³): two conversions with one seed are one chip.
        layers: Which layers: globs over their paths, or types; ``None`` is all.
        skip: Which of these stay digital, likewise.
        overrides: Changes of the chain by glob over layer paths: ``{"head": {"output.adc.levels": 257}}``; later ones win.
        inplace: Convert ``model`` itself instead of a deep copy.

    Returns:
        The converted model, on the same device and in the same training mode.

    Raises:
        ConfigError: The profile, a glob or an override does not hold.
        ConversionError: Nothing can be converted, the model cannot be copied, or it has excitatory-inhibitory layers with weights below 0.
            The model is then unchanged.

    >>> analog = to_analog(nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2)), "photonic_avnn", seed=17)
    >>> print(analog.conversion)
    photonic_avnn, chip 17: 2 layers converted, 0 left digital, 0 refused; 46 weights on the chip (100%)
      layer  type    size  status     reason
      0      Linear  8→4   converted
      2      Linear  4→2   converted
    """
    if not isinstance(model, nn.Module):
        raise ConfigError(f"to_analog: model must be a torch.nn.Module, got {type(model).__name__}")
    given: Any = overrides if overrides is not None else {}
    if not isinstance(given, Mapping) or not all(isinstance(one, Mapping) for one in given.values()):
        raise ConfigError(f"to_analog: overrides must be {{layer glob: {{dotted.key: value}}}}, got {overrides!r}")
    check(model, where="to_analog", error=ConversionError)
    device = load_profile(profile)
    reports = _plan(model, layers, skip)
    chosen = [report.path for report in reports if report.status == "converted"]
    known = {report.path: None for report in reports}
    for what, selection in (("layers", layers), ("skip", skip), ("overrides", list(overrides or {}))):
        check_globs(f"to_analog: {what}", as_list(selection), known, "layer with weights")
    if not chosen:
        why = (
            "\n".join(f"  {report.path or '(model)'} ({report.type}): {report.reason}" for report in reports)
            or "  it has no layer with weights"
        )
        raise ConversionError(f"to_analog: at least one layer must be convertible, got none:\n{why}")
    specs = _specs(device, chosen, overrides or {})
    target = model if inplace else _copy(model)
    modules = dict(target.named_modules())
    chains = {path: make_chain(modules[path], spec, seed, path) for path, spec in specs.items()}
    for path, chain in chains.items():  # nothing below can fail: a model is never half converted
        module = modules[path]
        if not isinstance(module, AnalogLayer):
            module.__class__ = analog_class(type(module)) or AnalogLayer
        module.chain = chain
    for module in modules.values():
        _drop_hook(module)
        if isinstance(module, nn.TransformerEncoderLayer):
            module.activation_relu_or_gelu = 0  # its fused inference path would read the clean weights and pass the hardware by
    target.register_forward_pre_hook(advance)
    report = Conversion(device.name, seed, tuple(reports), device.summary, device.not_modelled, tuple(slots(device.chain)), device.sha256)
    target.conversion = report  # type: ignore[assignment]  # nn.Module types attributes as Tensor | Module
    return target


def to_digital(model: nn.Module, *, inplace: bool = False) -> nn.Module:
    """The digital model with the weights of a converted one: every chain, frozen error and hook of the conversion is gone.

    Args:
        model: A converted model.
        inplace: Change ``model`` itself instead of a deep copy.

    Returns:
        The digital model, its layers of the classes that they had before.

    Raises:
        ConversionError: The model cannot be copied.
    """
    target = model if inplace else _copy(model)
    for module in target.modules():
        _drop_hook(module)
        if isinstance(module, AnalogLayer):
            del module.chain
            object.__setattr__(module, "__class__", module.digital_class)
    if hasattr(target, "conversion"):
        del target.conversion
    return target


def _plan(model: nn.Module, layers: Selection, skip: Selection) -> list[LayerReport]:
    """One report for every module that owns parameters, in the model's order; nothing is changed."""
    reports: list[LayerReport] = []
    owners: dict[int, str] = {}
    inside_attention: set[int] = {
        id(part) for module in model.modules() if isinstance(module, nn.MultiheadAttention) for part in module.modules()
    }
    for path, module in model.named_modules():
        if isinstance(module, AnalogChain) or "parametrizations" in path.split("."):
            continue
        own = dict(module.named_parameters(recurse=False))
        own |= {name: value for name, value in module.named_parameters() if name.startswith("parametrizations.")}
        if not own and not isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
            continue
        status, reason = _judge(path, module, layers, skip, id(module) in inside_attention)
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
        known = status == "converted" or analog_class(type(module)) is not None
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


def _judge(path: str, module: nn.Module, layers: Selection, skip: Selection, in_attention: bool) -> tuple[Status, str]:
    """Status and reason of one layer."""
    refusal = next((reason for kind, reason in _REFUSED.items() if isinstance(module, kind)), None)
    if in_attention:
        return "refused", _REFUSED[nn.MultiheadAttention]
    if refusal:
        return "refused", refusal
    cls = analog_class(type(module))
    if cls is None:
        reason = getattr(type(module), "stays_digital", "") or (
            _DIGITAL
            if type(module).__module__.startswith("torch.nn")
            else "its own forward uses its parameters; wrap the product in nn.Linear or nn.Conv to convert it"
        )
        return "digital", reason
    if matches(path, module, skip):
        return "digital", "skipped as asked"
    if layers is not None and not matches(path, module, layers):
        return "digital", "not among the layers asked for"
    if isinstance(module, AnalogLayer):
        return "converted", "was on hardware already; moved to this profile"
    base = next(parent for parent in type(module).__mro__ if parent in ANALOG)
    changed = [name for name in ("forward", "_conv_forward") if getattr(type(module), name, None) is not getattr(base, name, None)]
    if changed:
        return (
            "refused",
            f"{type(module).__name__} defines {' and '.join(changed)} itself, so its product is not known to be that of {base.__name__}",
        )
    if any(isinstance(value, UninitializedParameter) for value in module.parameters(recurse=False)):
        return "refused", "its weights have no shape yet: run one batch through the model first"
    weight = module.weight
    if getattr(weight, "is_complex", bool)() or not getattr(weight, "is_floating_point", bool)():
        return "refused", f"weights must be real floating-point numbers, got {getattr(weight, 'dtype', type(weight).__name__)}"
    return "converted", ""


def _specs(device: Profile, paths: list[str], overrides: Mapping[str, Mapping[str, Any]]) -> dict[str, ChainSpec]:
    problems: list[str] = []
    specs: dict[str, ChainSpec] = {}
    for path in paths:
        spec = device.chain
        for glob, changes in overrides.items():
            if matches(path, nn.Identity(), glob):
                try:
                    spec = override_chain(spec, changes, where=f"to_analog: overrides[{glob!r}]")
                except ConfigError as error:
                    problems += [problem for problem in error.problems if problem not in problems]
        specs[path] = spec
    if problems:
        raise ConfigError("\n".join(problems), problems)
    return specs


def _copy(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception as error:
        raise ConversionError(
            f"to_analog: the model must be deep-copyable, got {type(error).__name__}: {error}; "
            "pass inplace=True to convert the model itself"
        ) from error


def _drop_hook(module: nn.Module) -> None:
    for key in [key for key, hook in module._forward_pre_hooks.items() if hook is advance]:
        del module._forward_pre_hooks[key]

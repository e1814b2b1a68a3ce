"""From a digital model to one on simulated analog hardware, and back."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from neurosim.checks import number
from neurosim.convert.draws import advance
from neurosim.convert.dynamic import DynamicProducts, install_product, plan_products, products_in, rewritten_chain, with_limits
from neurosim.convert.folding import fold
from neurosim.convert.fused_path import with_fused_path, without_fused_path
from neurosim.convert.parts import Part, owners_in, parts_in
from neurosim.convert.plan import layer_specs, norms_of, plan
from neurosim.convert.report import Conversion
from neurosim.convert.select import Selection, as_list, check_globs
from neurosim.convert.spiking_report import SpikingConversion
from neurosim.convert.validity import warn_beyond
from neurosim.ei import check
from neurosim.errors import ConfigError, ConversionError
from neurosim.hardware.profile import Profile, load_profile
from neurosim.neurons import Neuron
from neurosim.nn.analog import AnalogLayer, HardwareLayer
from neurosim.nn.chain import AnalogChain
from neurosim.nn.classes import become, chain_of
from neurosim.nn.composed import AnalogProduct, ComposedLayer, put, take_off
from neurosim.nn.first_scales import start_scales
from neurosim.nn.neuron import HardwareNeuron
from neurosim.nn.rewritten import RewrittenChain


def to_analog(
    model: nn.Module,
    profile: str | Profile,
    *,
    seed: int,
    layers: Selection = None,
    skip: Selection = None,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    dynamic_products: DynamicProducts = False,
    fold_norm: bool = False,
    seconds: float = 0.0,
    inplace: bool = False,
) -> nn.Module:
    """Put a digital model on simulated hardware.

    The result is the same kind of module: train it, save it, compile it. Weights stay clean parameters under their names, so that the
    digital ``state_dict`` loads strictly into it and back. Each call of the model is a new draw of its noise; calls of its parts or of
    other methods stay within the last draw: weights keep the errors they have. ``result.conversion`` says what was converted and why.

    Args:
        model: Any module. ``nn.Linear``, convolutions and transposed convolutions, recurrent layers and cells, attention, embeddings, and
            subclasses of them that compute the same product are converted, and neurons if the profile has some; a layer used in several
            places is converted once, under its first path. Layers already converted move to the new profile.
        profile: The name of a device profile, a path to one, or a loaded one.
        seed: Which chip, in [0, 2⁶³): two conversions with one seed are one chip.
        layers: Which layers: globs over their paths, or types; ``None`` is all. The products of a recurrent layer or of attention have
            paths of their own, such as ``lstm.hh_l0`` and ``attn.q_proj``; the layer's path names all of them.
        skip: Which of these stay digital, likewise.
        overrides: Changes of the chain by glob over layer paths: ``{"head": {"output.adc.levels": 257}}``; later ones win.
        dynamic_products: Which products of two signals run on arrays that are written at every forward: globs over their paths or those of
            their layers, or types; True is all. ``nn.MultiheadAttention`` has ``qk`` and ``av``, and :class:`neurosim.nn.Matmul` is one.
            The others are digital.
        fold_norm: First make norms part of weights, where :func:`neurosim.fold` can; its report is at ``result.folding``.
        seconds: How long ago the chip was programmed, s, as in :func:`neurosim.drift_to`.
        inplace: Convert ``model`` itself instead of a deep copy.

    Returns:
        The converted model, on the same device and in the same training mode.

    Raises:
        ConfigError: The profile, a glob, an override or the time does not hold.
        ConversionError: Nothing can be converted, a layer has more inputs than the hardware can sum, the profile's neurons find none in
            the model, excitatory-inhibitory layers have weights below 0, or others where cells hold none, or the model cannot be copied.
            The model is then unchanged.

    >>> analog = to_analog(nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2)), "photonic_avnn", seed=17)
    >>> print(analog.conversion)
    photonic_avnn, chip 17: 2 layers converted, 0 left digital, 0 refused; 46 weights on the chip (100%)
      layer  type    size  status     reason
      0      Linear  8→4   converted
      2      Linear  4→2   converted
    """
    return put_on_hardware("to_analog", model, profile, seed, layers, skip, overrides, inplace, dynamic_products, fold_norm, seconds)


def put_on_hardware(
    where: str,
    model: nn.Module,
    profile: str | Profile,
    seed: int,
    layers: Selection,
    skip: Selection,
    overrides: Mapping[str, Mapping[str, Any]] | None,
    inplace: bool,
    dynamic_products: DynamicProducts = False,
    fold_norm: bool = False,
    seconds: float = 0.0,
) -> nn.Module:
    """:func:`to_analog`, called by a name of its own in messages."""
    if not isinstance(model, nn.Module):
        raise ConfigError(f"{where}: model must be a torch.nn.Module, got {type(model).__name__}")
    given: Any = overrides if overrides is not None else {}
    if not isinstance(given, Mapping) or not all(isinstance(one, Mapping) for one in given.values()):
        raise ConfigError(f"{where}: overrides must be {{layer glob: {{dotted.key: value}}}}, got {overrides!r}")
    when = number(f"{where}: seconds", seconds, ge=0)
    check(model, where=where, error=ConversionError)
    device = load_profile(profile)
    if device.neuron is not None and not any(isinstance(module, Neuron) for module in model.modules()):
        raise ConversionError(f"{where}: {device.name} is hardware for spiking networks: the model must have neurons, it has none")
    source = fold(_copy(model, where), inplace=True) if fold_norm else model
    reports = plan(source, device, layers, skip)
    refused = {report.path: report.reason for report in reports if report.status == "refused"}
    reports += plan_products(where, source, dynamic_products, skip, refused)
    chosen = [report.path for report in reports if report.status == "converted"]
    known = dict.fromkeys([*(report.path for report in reports), *owners_in(source).values()])
    for what, selection in (("layers", layers), ("skip", skip), ("overrides", list(overrides or {}))):
        check_globs(f"{where}: {what}", as_list(selection), known, "layer with weights")
    if not chosen:
        why = (
            "\n".join(f"  {report.path or '(model)'} ({report.type}): {report.reason}" for report in reports)
            or "  it has no layer with weights"
        )
        raise ConversionError(f"{where}: at least one layer must be convertible, got none:\n{why}")
    specs = layer_specs(where, source, device, chosen, overrides or {})
    reports = with_limits(reports, specs, products_in(source))
    target = _target(where, model, source, fold_norm, inplace)
    modules, parts, norms, products = dict(target.named_modules()), parts_in(target), norms_of(target), products_in(target)
    place = next((value.device for value in target.parameters()), torch.device("cpu"))
    chains: dict[str, AnalogChain] = {}
    for path, spec in specs.items():
        part, (name, fires) = parts.get(path), norms.get(path, (path, modules.get(path, target)))
        shapes, where_to = ({}, place) if part is None else (part.shapes, part.weight.device)
        product = path in products
        chains[path] = rewritten_chain(spec, seed, path, place) if product else chain_of(shapes, spec, seed, name, fires, where_to)
        chains[path].seconds = when
    for path, chain in chains.items():  # nothing below can fail: a model is never half converted
        if isinstance(chain, RewrittenChain):
            install_product(products[path], chain)
        else:
            _install(parts.get(path), modules.get(path), chain)
    for module in modules.values():
        _drop_hook(module)
        if device.neuron is None and isinstance(module, HardwareNeuron):
            _take_off(module)
        if isinstance(module, nn.MultiheadAttention) and isinstance(module.out_proj, HardwareLayer):
            become(module)  # the digital one reads the weights of its last layer and passes the hardware by
        without_fused_path(module)
    target.register_forward_pre_hook(advance)
    warn_beyond(chains.values(), stacklevel=4)
    about = (device.summary, device.not_modelled, tuple(device.slots), device.sha256, _spiking_report(target), device.costs)
    target.conversion = Conversion(device.name, seed, tuple(reports), *about)  # type: ignore[assignment]  # nn.Module types attributes as Tensor | Module
    return target


def to_digital(model: nn.Module, *, inplace: bool = False) -> nn.Module:
    """The digital model with the weights of a converted one: every chain, frozen error, hook and report of the conversion is gone.

    The report of :func:`neurosim.to_spiking`, if it was the model's before, is at ``conversion`` again.

    Args:
        model: A converted model.
        inplace: Change ``model`` itself instead of a deep copy.

    Returns:
        The digital model, its layers of the classes that they had before.

    Raises:
        ConversionError: The model cannot be copied.
    """
    target = model if inplace else _copy(model, "to_digital")
    for module in list(target.modules()):
        _drop_hook(module)
        with_fused_path(module)
        if isinstance(module, ComposedLayer):
            take_off(module)
        elif isinstance(module, HardwareLayer) and not isinstance(module, AnalogProduct):
            _take_off(module)
    before = _spiking_report(target)
    if hasattr(target, "conversion"):
        del target.conversion
    if before is not None:
        target.conversion = before  # type: ignore[assignment]  # nn.Module types attributes as Tensor | Module
    return target


def _spiking_report(model: nn.Module) -> SpikingConversion | None:
    """What ``to_spiking`` reported of a model, whether it was put on hardware since or not."""
    report = getattr(model, "conversion", None)
    if isinstance(report, Conversion):
        report = report.before
    return report if isinstance(report, SpikingConversion) else None


def _target(where: str, model: nn.Module, source: nn.Module, fold_norm: bool, inplace: bool) -> nn.Module:
    """What is converted: the model itself, or the copy that was planned for, or a copy."""
    if not fold_norm:
        return model if inplace else _copy(model, where)
    return fold(model, inplace=True) if inplace else source


def _install(part: Part | None, module: nn.Module | None, chain: AnalogChain) -> None:
    """Give a product or a neuron its chain."""
    if part is not None and part.name is not None:
        become(part.owner)
        put(part.owner, part.name, chain)
        start_scales(chain, part.weight.unsqueeze(0))
    elif module is not None:
        become(module)
        module.chain = chain.train(module.training)
        if isinstance(module, AnalogLayer):
            start_scales(chain, module.matrix(module.weight))


def _take_off(module: HardwareLayer) -> None:
    del module.chain
    object.__setattr__(module, "__class__", module.digital_class)


def _copy(model: nn.Module, where: str) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception as error:
        raise ConversionError(
            f"{where}: the model must be deep-copyable, got {type(error).__name__}: {error}; pass inplace=True to convert the model itself"
        ) from error


def _drop_hook(module: nn.Module) -> None:
    for key in [key for key, hook in module._forward_pre_hooks.items() if hook is advance]:
        del module._forward_pre_hooks[key]

"""Digital models whose products are of numbers of a format: weights, what enters the layers, and gradients."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from neurosim.analysis.joint_limits import joint_limits
from neurosim.analysis.layer_inputs import Seen, channel_axis, layer_inputs
from neurosim.analysis.quantization_report import LayerQuantization, Quantization
from neurosim.analysis.sample import METHODS, Method, Sample
from neurosim.checks import number, one_of, whole
from neurosim.convert.affine import TRANSPOSED, WEIGHTED
from neurosim.convert.calibration import Calibration
from neurosim.convert.given import check_model
from neurosim.convert.select import as_list, check_globs, matches
from neurosim.errors import ConfigError
from neurosim.nn.analog import HardwareLayer
from neurosim.nn.wrappers import unwrapped
from neurosim.ops.quantize import Rounding
from neurosim.quantizers import GradientQuantizer, LowRank, Quantizer, fake_quantize, low_rank_factors, number_format, sqnr_db
from neurosim.quantizers.rounding import ROUNDINGS

Per = Literal["tensor", "channel", "shift"]
_SHIFTS: Final = 8  #: groups of ranges that are powers of two of one another


def quantize(
    model: nn.Module,
    *,
    weights: str | None = None,
    activations: str | None = None,
    gradients: str | None = None,
    layers: str | Sequence[str] | None = None,
    per: Per = "channel",
    calibration: Calibration | None = None,
    method: Method | Literal["joint"] = "mse",
    percentile: float = 99.99,
    learned: bool = False,
    symmetrize: bool = False,
    rank: int | None = None,
    rounding: Rounding = "stochastic",
    seed: int = 0,
    inplace: bool = False,
) -> nn.Module:
    """A copy of a digital model that computes with the numbers of a format, for evaluation and for training.

    Of linear layers and convolutions the weights, the inputs, and the gradients at the outputs are rounded; everything else, biases and
    norms among it, stays as it is. Weights stay parameters in full precision, rounded at every use; gradients pass straight through.

    Args:
        model: Digital; what is on simulated hardware has converters in its chain instead (``kind: number_format``).
        weights: Format of the weights, a name in :data:`neurosim.FORMATS`; None leaves them. Their limit is their
            largest magnitude at every use.
        activations: Of what enters the layers. Unsigned formats suit layers behind a ReLU.
        gradients: Of what arrives backwards at the outputs.
        layers: Globs over the paths of layers; None is all.
        per: Ranges of weights and gradients: one for each output channel (``channel``), one for the ``tensor``, or one for each channel in
            powers of two of one another (``shift``).
        calibration: Inputs like those that the model will see: a tensor, or batches that begin with one. Ranges of activations are then
            set, from the model before it is quantised; else they follow the signal, the largest magnitude of each batch.
        method: How they are set: ``mse`` or ``l1``, the least squared or absolute error; ``percentile`` of the magnitudes; ``max``. Or
            ``joint``: together with the limits of the weights, which then stay as they are, and with factors of the input channels, for
            the least squared error of what each layer gives, weights and inputs both rounded. On the calibration, of which of every
            batch up to 2²⁰ inputs of a layer are taken, it is never more than with ``mse``.
        percentile: In (0, 100].
        learned: Whether training moves the ranges of activations on.
        symmetrize: Subtract from each input channel the middle of its range before it is rounded, and add it after, which hardware does in
            the bias: for a linear layer, b + W·m. What is rounded then has either sign, and needs a signed format.
        rank: Add to the weights, beside the rounded ones, the best correction of that rank: a digital path of two thin layers.
        rounding: Of the gradients; ``stochastic`` keeps their mean.
        seed: Of its draws.
        inplace: Change ``model`` itself.

    Returns:
        The model, with the report at ``model.quantization``.

    Raises:
        ConfigError: An argument is out of its domain or goes with another one that is missing, a glob names nothing, or there is no layer
            to quantise.
        DataError: The model does not take the calibration. ``model`` is unchanged after both.

    Source:
        Z. Yao et al., "ZeroQuant-V2", arXiv 2303.08302 (2023), for ``rank``; J. Wang et al., "OutlierTune: efficient channel-wise
        quantization for large language models", arXiv 2406.18832 (2024), for ``symmetrize``; W. Guo et al., arXiv 2411.10948 (2024), for
        ``per="shift"``; J. Lee et al., "Enhancing computation efficiency in large language models through weight and activation
        quantization", EMNLP 2023, for ``joint``.

    >>> model = nn.Sequential(nn.Linear(4, 2, bias=False))
    >>> rounded = quantize(model, weights="int3", per="tensor")
    >>> steps = 3 * rounded[0].weight / rounded[0].weight.abs().max()
    >>> bool(((steps - steps.round()).abs() < 1e-6).all())
    True
    """
    check_model("quantize", model)
    _check(weights, activations, gradients, per, calibration, method, percentile, learned, symmetrize, rank)
    alone: Method = "mse" if method == "joint" else method
    one_of("quantize: rounding", rounding, ROUNDINGS)
    whole("quantize: seed", seed, 0)
    names = _layers(unwrapped(model), layers)
    if rank is not None:
        for path in names:
            layer: Any = unwrapped(model).get_submodule(path)
            shape = layer.weight.flatten(1).shape
            if rank > min(shape):
                raise ConfigError(f"quantize: rank: {path or '(model)'}: at most {min(shape)}, the smaller side of its matrix, got {rank}")
    seen: dict[str, Seen] = {}
    if activations is not None and calibration is not None:
        seen = layer_inputs(model, names, calibration, symmetrize, method == "joint")
    ranges = {path: _range(path, one.sample, activations or "", alone, percentile) for path, one in seen.items()}
    joint = {}
    for path, given in seen.items() if method == "joint" else ():
        if not given.rows:
            continue  # nothing to judge by: each for itself
        layer = unwrapped(model).get_submodule(path)
        how = (weights or "", activations or "", _weight_axis(layer, per), ranges[path], given.offset)
        joint[path] = joint_limits(layer, given.rows, *how)
    if learned and (unseen := [path for path in names if path not in seen]):
        raise ConfigError(f"quantize: learned: the calibration does not reach {unseen[0]}: leave it out with layers")
    changed = model if inplace else copy.deepcopy(model)
    reports = []
    for path in names:
        layer = unwrapped(changed).get_submodule(path)
        one, found = seen.get(path), joint.get(path)
        limit: float | Tensor | None = ranges.get(path) if found is None else found.inputs
        if activations is not None:
            rounds_input = Quantizer(activations, limit, learned=learned, offset=None if one is None else one.offset)
            layer.add_module("input_quantizer", rounds_input.to(layer.weight.device))
            layer.register_forward_pre_hook(_round_input, with_kwargs=True)
        power = None if weights is None else _round_weight(layer, weights, per, rank, None if found is None else found.weights)
        if gradients is not None:
            axis = None if per == "tensor" else channel_axis(layer)
            shifts = _SHIFTS if per == "shift" else None
            rounds = GradientQuantizer(gradients, axis=axis, shifts=shifts, rounding=rounding, seed=seed, name=path)
            layer.add_module("gradient_quantizer", rounds.to(layer.weight.device))
            layer.register_forward_hook(_round_gradient)
        reports.append(LayerQuantization(path, power, *_judge(one, activations or "", limit), *(() if found is None else found[2:])))
    result: Any = changed
    result.quantization = Quantization(weights, activations, gradients, tuple(reports))
    return changed


def _check(
    weights: str | None,
    activations: str | None,
    gradients: str | None,
    per: str,
    calibration: object,
    method: str,
    percentile: float,
    learned: bool,
    symmetrize: bool,
    rank: int | None,
) -> None:
    for form in (weights, activations, gradients):
        if form is not None:
            number_format(form)
    if weights is activations is gradients is None:
        raise ConfigError("quantize: give at least one of weights, activations and gradients")
    one_of("quantize: per", per, ("tensor", "channel", "shift"))
    one_of("quantize: method", method, (*METHODS, "joint"))
    if method == "joint":
        if weights is None or activations is None or calibration is None:
            raise ConfigError("quantize: method joint chooses limits of weights and inputs: give weights, activations and calibration")
        if learned or rank is not None or per == "shift":
            raise ConfigError("quantize: method joint goes with per 'channel' or 'tensor', and neither with learned nor with rank")
    if not 0 < number("quantize: percentile", percentile, gt=0) <= 100:
        raise ConfigError(f"quantize: percentile must be in (0, 100], got {percentile}")
    if (learned or symmetrize) and (calibration is None or activations is None):
        raise ConfigError("quantize: learned and symmetrize start from ranges of activations: give activations and calibration")
    if symmetrize and activations is not None and not number_format(activations).signed:
        raise ConfigError(f"quantize: symmetrize gives activations of either sign: give a signed format, got {activations}")
    if rank is not None and weights is None:
        raise ConfigError("quantize: rank corrects rounded weights: give weights")
    if rank is not None:
        whole("quantize: rank", rank, 1)


def _layers(model: nn.Module, layers: str | Sequence[str] | None) -> list[str]:
    """Paths of what is to be quantised, each layer once."""
    every = {path: module for path, module in model.named_modules() if isinstance(module, WEIGHTED)}
    check_globs("quantize: layers", as_list(layers), every, "linear layer or convolution")
    chosen = {path: module for path, module in every.items() if layers is None or matches(path, module, layers)}
    if not chosen:
        raise ConfigError("quantize: the model has no linear layer or convolution")
    for path, module in model.named_modules():
        if isinstance(module, nn.MultiheadAttention) and f"{path}.out_proj".lstrip(".") in chosen:
            raise ConfigError(
                f"quantize: {path or '(model)'}: the products of nn.MultiheadAttention cannot be rounded: leave it out with layers"
            )
        if isinstance(module, HardwareLayer):
            raise ConfigError(f"quantize: {path or '(model)'} is on simulated hardware: its chain takes a stage of kind number_format")
        done = any(hasattr(module, name) for name in ("input_quantizer", "gradient_quantizer"))
        if path in chosen and (done or parametrize.is_parametrized(module, "weight")):
            raise ConfigError(f"quantize: {path or '(model)'} is quantised already, or its weight is computed from other parameters")
    return list(chosen)


def _round_input(layer: Any, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if args:
        return (layer.input_quantizer(args[0]), *args[1:]), named
    return args, {**named, "input": layer.input_quantizer(named["input"])}


def _round_gradient(layer: Any, args: tuple[Any, ...], y: Tensor) -> Tensor:
    result: Tensor = layer.gradient_quantizer(y)
    return result


def _weight_axis(layer: nn.Module, per: Per) -> int | None:
    """Of the output channels of a weight that have limits of their own."""
    return None if per == "tensor" else int(isinstance(layer, TRANSPOSED))


def _round_weight(layer: Any, form: str, per: Per, rank: int | None, limits: Tensor | None) -> float:
    """Round a layer's weight from now on, with the limits that were chosen, if any were; its signal-to-noise ratio."""
    before = layer.weight.detach().clone()
    axis = _weight_axis(layer, per) if limits is None else None
    rounds = Quantizer(form, limits, axis=axis, shifts=_SHIFTS if per == "shift" else None, grad="ste")
    parametrize.register_parametrization(layer, "weight", rounds)
    if rank is not None:
        parametrize.register_parametrization(layer, "weight", LowRank(*low_rank_factors(before, rounds(before), rank)))
    if rank is not None:
        return _power_db(before, layer.weight.detach())
    return sqnr_db(before, form, rounds.limits(before) if limits is None else limits)


def _power_db(x: Tensor, near: Tensor) -> float:
    error = float((x - near).double().square().sum())
    return 10 * math.log10(float(x.double().square().sum()) / error) if error else math.inf


def _range(path: str, sample: Sample, form: str, method: Method, percentile: float) -> float:
    numbers = number_format(form)
    try:
        (_, high), _ = sample.range((-1.0 if numbers.signed else 0.0, 1.0), method, percentile / 100, numbers)
    except ConfigError as error:
        raise ConfigError(f"quantize: {path or '(model)'}: {error}") from None
    return high


def _judge(seen: Seen | None, form: str, limit: float | Tensor | None) -> tuple[float | None, float | None, float | None]:
    """The largest limit of a layer's inputs, the share of the calibration that is clipped, and its signal-to-noise ratio."""
    if seen is None or limit is None:
        return None, None, None
    low = -limit if number_format(form).signed else 0.0
    if not isinstance(limit, Tensor):
        x = seen.sample.values()
        clipped = (x > limit) | (x < low)
        return limit, float(clipped.double().mean()) if x.numel() else 0.0, sqnr_db(x, form, limit)
    parts = [x if seen.offset is None else x - seen.offset for x in seen.rows]  # which may have other sizes
    outside = torch.cat([((x > limit) | (x < low)).flatten() for x in parts])
    near = torch.cat([fake_quantize(x, form, limit).flatten() for x in parts])
    return float(limit.max()), float(outside.double().mean()), _power_db(torch.cat([x.flatten() for x in parts]), near)

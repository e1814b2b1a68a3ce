"""Digital models whose products are of numbers of a format: weights, what enters the layers, and gradients."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from neurosim.analysis.inputs import answer, check_model
from neurosim.analysis.quantization_report import LayerQuantization, Quantization
from neurosim.analysis.sample import METHODS, Method, Sample
from neurosim.checks import number, one_of, whole
from neurosim.convert.affine import TRANSPOSED, WEIGHTED
from neurosim.convert.calibration import Calibration, Samples
from neurosim.convert.select import as_list, check_globs, matches
from neurosim.errors import ConfigError
from neurosim.nn.analog import HardwareLayer
from neurosim.nn.modes import evaluation_mode
from neurosim.nn.wrappers import unwrapped
from neurosim.ops.quantize import Rounding
from neurosim.quantizers import GradientQuantizer, LowRank, Quantizer, low_rank_factors, number_format, sqnr_db
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
    method: Method = "mse",
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
        method: How they are set: ``mse`` or ``l1``, the least squared or absolute error; ``percentile`` of the magnitudes; ``max``.
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
        ``per="shift"``.

    >>> model = nn.Sequential(nn.Linear(4, 2, bias=False))
    >>> rounded = quantize(model, weights="int3", per="tensor")
    >>> steps = 3 * rounded[0].weight / rounded[0].weight.abs().max()
    >>> bool(((steps - steps.round()).abs() < 1e-6).all())
    True
    """
    check_model("quantize", model)
    _check(weights, activations, gradients, per, calibration, method, percentile, learned, symmetrize, rank)
    one_of("quantize: rounding", rounding, ROUNDINGS)
    whole("quantize: seed", seed, 0)
    names = _layers(unwrapped(model), layers)
    if rank is not None:
        for path in names:
            layer: Any = unwrapped(model).get_submodule(path)
            shape = layer.weight.flatten(1).shape
            if rank > min(shape):
                raise ConfigError(f"quantize: rank: {path or '(model)'}: at most {min(shape)}, the smaller side of its matrix, got {rank}")
    seen = {} if activations is None or calibration is None else _watched(model, names, calibration, activations, symmetrize)
    ranges = {path: _range(path, one, activations or "", method, percentile) for path, (one, _) in seen.items()}
    if learned and (unseen := [path for path in names if path not in seen]):
        raise ConfigError(f"quantize: learned: the calibration does not reach {unseen[0]}: leave it out with layers")
    changed = model if inplace else copy.deepcopy(model)
    reports = []
    for path in names:
        layer = unwrapped(changed).get_submodule(path)
        limit, offset = (ranges[path], seen[path][1]) if path in seen else (None, None)
        if activations is not None:
            rounds_input = Quantizer(activations, limit, learned=learned, offset=offset)
            layer.add_module("input_quantizer", rounds_input.to(layer.weight.device))
            layer.register_forward_pre_hook(_round_input, with_kwargs=True)
        power = None if weights is None else _round_weight(layer, weights, per, rank)
        if gradients is not None:
            axis = None if per == "tensor" else _channel_axis(layer)
            shifts = _SHIFTS if per == "shift" else None
            rounds = GradientQuantizer(gradients, axis=axis, shifts=shifts, rounding=rounding, seed=seed, name=path)
            layer.add_module("gradient_quantizer", rounds.to(layer.weight.device))
            layer.register_forward_hook(_round_gradient)
        clipped, power_in = (None, None) if limit is None or activations is None else _judge(seen[path][0], activations, limit)
        reports.append(LayerQuantization(path, power, limit, clipped, power_in))
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
    one_of("quantize: method", method, METHODS)
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


def _round_weight(layer: Any, form: str, per: Per, rank: int | None) -> float:
    """Round a layer's weight from now on; its signal-to-noise ratio."""
    axis = None if per == "tensor" else int(isinstance(layer, TRANSPOSED))
    before = layer.weight.detach().clone()
    rounds = Quantizer(form, axis=axis, shifts=_SHIFTS if per == "shift" else None, grad="ste")
    parametrize.register_parametrization(layer, "weight", rounds)
    if rank is not None:
        parametrize.register_parametrization(layer, "weight", LowRank(*low_rank_factors(before, rounds(before), rank)))
    return sqnr_db(before, form, rounds.limits(before)) if rank is None else _power_db(before, layer.weight.detach())


def _power_db(x: Tensor, near: Tensor) -> float:
    error = float((x - near).double().square().sum())
    return 10 * math.log10(float(x.double().square().sum()) / error) if error else math.inf


def _channel_axis(layer: nn.Module) -> int:
    """Of its inputs and outputs."""
    return -1 - len(layer.kernel_size) if isinstance(layer, WEIGHTED) and not isinstance(layer, nn.Linear) else -1


Seen = tuple[Sample, Tensor | None]  #: what entered a layer, less its offset


def _watched(model: nn.Module, names: list[str], given: Calibration, form: str, symmetrize: bool) -> dict[str, Seen]:
    """What enters the layers, less the middle of each channel's range where that is asked for."""
    samples = Samples("quantize", given, next((value.device for value in model.parameters()), torch.device("cpu")))
    layers = {path: unwrapped(model).get_submodule(path) for path in names}
    ends: dict[str, tuple[Tensor, Tensor]] = {}

    def widen(path: str, layer: nn.Module, x: Tensor) -> None:
        axis = _channel_axis(layer) % x.dim()
        others = [one for one in range(x.dim()) if one != axis]
        low, high = x.detach().amin(others, keepdim=True), x.detach().amax(others, keepdim=True)
        low, high = (one.reshape(one.shape[axis:]) for one in (low, high))
        if path in ends:
            low, high = torch.minimum(low, ends[path][0]), torch.maximum(high, ends[path][1])
        ends[path] = low, high

    def gather(path: str, layer: nn.Module, x: Tensor) -> None:
        sample, offset = found.setdefault(path, (Sample(), sum(ends[path]) / 2 if symmetrize else None))
        sample.add(x if offset is None else x - offset)

    found: dict[str, Any] = {}
    if symmetrize:
        with _hooked(layers, widen):
            _run_all(model, samples)
    with _hooked(layers, gather):
        _run_all(model, samples)
    return found


@contextmanager
def _hooked(layers: dict[str, nn.Module], look: Any) -> Iterator[None]:
    def hook(path: str, layer: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        look(path, layer, args[0] if args else named["input"])

    handles = [layer.register_forward_pre_hook(partial(hook, path), with_kwargs=True) for path, layer in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def _run_all(model: nn.Module, samples: Samples) -> None:
    with evaluation_mode(model):
        for x in samples.inputs():
            answer("quantize", model, x)


def _range(path: str, sample: Sample, form: str, method: Method, percentile: float) -> float:
    numbers = number_format(form)
    try:
        (_, high), _ = sample.range((-1.0 if numbers.signed else 0.0, 1.0), method, percentile / 100, numbers)
    except ConfigError as error:
        raise ConfigError(f"quantize: {path or '(model)'}: {error}") from None
    return high


def _judge(sample: Sample, form: str, limit: float) -> tuple[float, float]:
    """The share of a sample that is clipped, and its signal-to-noise ratio."""
    low = -limit if number_format(form).signed else 0.0
    return sample.outside((low, limit)), sqnr_db(sample.values(), form, limit)

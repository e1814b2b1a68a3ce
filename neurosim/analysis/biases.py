"""Bias correction: biases that take back the mean of what a chip's weights do wrong."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from neurosim.activations.base import Activation
from neurosim.analysis.equalization import BY_CHANNEL
from neurosim.analysis.inputs import check_chip
from neurosim.analysis.observe import watching
from neurosim.analysis.weight_error import effective_weight
from neurosim.convert.calibration import Calibration, Samples
from neurosim.convert.control import noise
from neurosim.convert.places import chains
from neurosim.convert.report import table
from neurosim.convert.select import analog_layers, select_layers
from neurosim.errors import ConfigError
from neurosim.nn.analog import AnalogLayer
from neurosim.nn.answer import answer
from neurosim.nn.modes import evaluation_mode
from neurosim.nn.wrappers import unwrapped
from neurosim.random import Stream

Model = TypeVar("Model", bound=nn.Module)

#: what gives in evaluation the numbers that it is given
_PASSES: Final = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.Flatten)
#: between a rectifier and a product, what leaves the mean of every channel as it is
_KEEPS_MEANS: Final = (*_PASSES, *(kind for kind in BY_CHANNEL if "Avg" in kind.__name__))


@dataclass(frozen=True)
class BiasReport:
    """One layer.

    Args:
        layer: Its path.
        status: Whether it was corrected.
        weight_error: Root of the mean square of the error of its weights.
        largest: Largest change of a bias.
        reason: Why it was left, for people.
    """

    layer: str
    status: Literal["corrected", "left"]
    weight_error: float
    largest: float
    reason: str = ""


@dataclass(frozen=True)
class BiasCorrection:
    """The report that :func:`correct_bias` leaves at ``model.bias_correction``; ``print`` shows it as a table.

    Args:
        layers: One entry for every layer on hardware.
    """

    layers: tuple[BiasReport, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data: JSON-able."""
        return asdict(self)

    def __str__(self) -> str:
        done = sum(one.status == "corrected" for one in self.layers)
        rows = [(one.layer or "(model)", one.status, f"{one.weight_error:.3g}", f"{one.largest:.3g}", one.reason) for one in self.layers]
        names = ("layer", "status", "weight error", "largest change", "reason")
        return "\n".join([f"biases of {done} layers corrected, {len(rows) - done} left", *table(names, rows)])


def bias_correction(weight_error: Tensor, mean_input: Tensor) -> Tensor:
    r"""What to add to the biases of a product whose weights are wrong.

    .. math:: \Delta b = -(\hat W - W)\, E[x]

    Args:
        weight_error: ``(groups, outputs, inputs)``.
        mean_input: ``(groups, inputs)``.

    Returns:
        ``(groups · outputs,)``.

    Source:
        M. Nagel et al., "Data-free quantization through weight equalization and bias correction", ICCV 2019, section 4.2.

    >>> bias_correction(torch.tensor([[[0.5, -1.0]]]), torch.tensor([[2.0, 3.0]]))
    tensor([2.])
    """
    return -torch.einsum("goi,gi->go", weight_error, mean_input).flatten()


def rectified_mean(mean: Tensor, std: Tensor, ceiling: float | Tensor | None = None) -> Tensor:
    r"""The mean of the positive part of a normal distribution, up to a ceiling.

    .. math:: R(\mu) = E[\max(x, 0)] = \sigma\,\varphi(\mu/\sigma) + \mu\,\Phi(\mu/\sigma), \qquad
        E[\min(\max(x, 0), c)] = R(\mu) - R(\mu - c)

    Args:
        mean: μ.
        std: σ ≥ 0.
        ceiling: c > 0, such as the 6 of ReLU6; None is ReLU, which has none.

    Source:
        M. Nagel et al., ICCV 2019, appendix, with μ = β and σ = γ of a batch norm.

    >>> rectified_mean(torch.tensor([0.0, 5.0, -1.0]), torch.tensor([1.0, 0.0, 0.0]))
    tensor([0.3989, 5.0000, 0.0000])
    >>> rectified_mean(torch.tensor([0.0, 5.0]), torch.tensor([1.0, 0.0]), 1.0)
    tensor([0.3156, 1.0000])
    """
    return _positive_mean(mean, std) if ceiling is None else _positive_mean(mean, std) - _positive_mean(mean - ceiling, std)


def _positive_mean(mean: Tensor, std: Tensor) -> Tensor:
    z = mean / std.clamp(min=torch.finfo(std.dtype).tiny)
    density = torch.exp(-z.square() / 2) / (2 * torch.pi) ** 0.5
    return torch.where(std > 0, std * density + mean * torch.special.ndtr(z), mean.clamp(min=0))


def correct_bias(
    model: Model,
    loader: Calibration | None = None,
    *,
    layers: str | Sequence[str] | None = None,
    stream: Stream | None = None,
    inplace: bool = False,
) -> Model:
    r"""A copy of a model on hardware whose biases take back the mean error of what this chip holds instead of its weights.

    The error of the weights is measured (:func:`neurosim.analysis.effective_weight`), the mean input is that of the digital model:

    .. math:: b \leftarrow b - (\hat W - W)\,E[x] - (\hat b - b)

    A layer without bias gets one. A bias that the hardware holds itself is rounded and disturbed like any other.

    Args:
        model: A converted model, at the chip and time for which it is to be corrected.
        loader: Inputs, of which :math:`E[x]` is taken. Without, layers behind a batch norm and a ReLU, also one with a ceiling such as
            ReLU6, are corrected by the mean that the statistics of the norm promise (:func:`neurosim.analysis.rectified_mean`); padding
            then counts as inputs like any other.
        layers: Globs over the paths of analog layers; ``None`` is all.
        stream: For models that take one: batch n is run with draw n of it.
        inplace: Change the biases of ``model`` itself.

    Returns:
        The model, with the report at ``model.bias_correction``.

    Raises:
        ConfigError: The model has no layer on hardware, a glob names none, or the loader has no data.
        DataError: The model does not take the inputs. ``model`` is unchanged after both.

    Source:
        M. Nagel et al., "Data-free quantization through weight equalization and bias correction", ICCV 2019, section 4.2, with a measured
        error in place of that of rounding.
    """
    check_chip("correct_bias", model, stream)
    named = {path for path, layer in select_layers(model, layers, "correct_bias: layers").items() if isinstance(layer, AnalogLayer)}
    measured = copy.deepcopy(unwrapped(model))
    parts = {path: layer for path, layer in analog_layers(measured).items() if path in named and isinstance(layer, AnalogLayer)}
    means = _norm_means(measured) if loader is None else _input_means(measured, parts, loader, stream)
    reports, changes = [], {}
    for path, layer in parts.items():
        held = effective_weight(layer)
        error = held.weight - layer.weight.detach()
        size = float(error.abs().square().mean().sqrt())
        if path not in means:
            reason = "no input reached it" if loader is not None else "no batch norm and ReLU are certain to come before it"
            reports.append(BiasReport(path, "left", size, 0.0, reason))
            continue
        change = _by_matrix(layer, error, means[path]) if loader is None else _by_product(layer, error, means[path])
        if held.bias is not None:
            change = change - (held.bias - layer.bias.detach())
        changes[path] = change
        reports.append(BiasReport(path, "corrected", size, float(change.abs().max())))
    target = model if inplace else copy.deepcopy(model)
    for path, real in analog_layers(target).items():
        if path in changes and isinstance(real, AnalogLayer):
            add_to_bias(real, changes[path])
    report: Any = target
    report.bias_correction = BiasCorrection(tuple(reports))
    return target


class _Means:
    """Watches layers, and gathers the sum of what each is given."""

    def __init__(self, paths: dict[int, str]) -> None:
        self.paths = paths
        self.sums: dict[str, tuple[Tensor, int]] = {}

    def wants_membrane(self, module: nn.Module) -> bool:
        return False

    def enter(self, module: nn.Module, x: Any) -> None:
        path, linear = self.paths[id(module)], isinstance(module, nn.Linear)
        values = x.detach().to(torch.complex128 if x.is_complex() else torch.float64)
        values = values.reshape(-1, values.shape[-1]) if linear else values.reshape(-1, *values.shape[-1 - len(_kernel(module)) :])
        total, count = values.sum(0), len(values)
        before = self.sums.get(path)
        if before is not None and before[0].shape != total.shape:
            raise ConfigError(
                f"correct_bias: {path}: all inputs must have one shape, got {tuple(before[0].shape)} and {tuple(total.shape)}"
            )
        self.sums[path] = (total, count) if before is None else (before[0] + total, before[1] + count)

    def leave(self, module: nn.Module, result: Any, membrane: Tensor | None) -> None:
        pass


def _kernel(module: Any) -> tuple[int, ...]:
    size: tuple[int, ...] = module.kernel_size
    return size


def _input_means(model: nn.Module, layers: dict[str, AnalogLayer], loader: Calibration, stream: Stream | None) -> dict[str, Tensor]:
    """The mean of what every layer of the digital model is given, without the axes of the samples."""
    seen = _Means({id(layer): path for path, layer in layers.items()})
    samples = Samples("correct_bias", loader, next((value.device for value in model.parameters()), torch.device("cpu")))
    with torch.no_grad(), evaluation_mode(model), noise("ideal", model), watching(layers.values(), seen):
        for at, x in enumerate(samples.inputs()):
            answer("correct_bias", model, x, **({} if stream is None else {"stream": stream._replace(draw=at)}))
    return {path: total / count for path, (total, count) in seen.sums.items() if count}


def _norm_means(model: nn.Module) -> dict[str, Tensor]:
    """The mean of every channel that a batch norm and a rectifier send to a layer."""
    found = {}
    for chain in chains(nn.ModuleDict({"model": model}), reads=(_BatchNorm,)):
        mean: Tensor | None = None
        norm: Any = None
        for place in chain:
            module = place.module
            if isinstance(module, AnalogLayer) and mean is not None:
                found[place.path] = mean
            if isinstance(module, _BatchNorm) and module.affine:
                norm, mean = module, None
            elif norm is not None and type(module) not in _PASSES:
                norm, mean = None, _rectified(module, norm)
            elif norm is None and not _keeps_means(module):
                mean = None
    return found


def _rectified(module: nn.Module, norm: Any) -> Tensor | None:
    """The mean of every channel behind a batch norm and a rectifier; None for any other module."""
    mean, std = norm.bias.detach().double(), norm.weight.detach().double().abs()
    if isinstance(module, nn.ReLU):
        return rectified_mean(mean, std)
    if isinstance(module, nn.Hardtanh) and module.min_val == 0:
        return rectified_mean(mean, std, module.max_val)
    if isinstance(module, Activation) and module.entry.name == "relu_n":
        return rectified_mean(mean, std, torch.as_tensor(module.settings()["n"]).to(mean))
    return None


def _keeps_means(module: Any) -> bool:
    """Whether the mean of every channel stays as it is; zeros in the windows of a pool change it."""
    padded = getattr(module, "count_include_pad", False) and module.padding not in (0, (0,), (0, 0), (0, 0, 0))
    return type(module) in _KEEPS_MEANS and not padded and getattr(module, "divisor_override", None) is None


def _by_product(layer: AnalogLayer, error: Tensor, mean: Tensor) -> Tensor:
    """The change of biases for a mean input with its space: the mean, over space, of what the error makes of it."""
    wrong = layer.mvm(mean.unsqueeze(0).to(error), error, None)
    return -(wrong.squeeze(0) if isinstance(layer, nn.Linear) else wrong.squeeze(0).flatten(1).mean(1))


def _by_matrix(layer: AnalogLayer, error: Tensor, mean: Tensor) -> Tensor:
    """The change of biases for the mean of every channel."""
    matrix = layer.matrix(error)
    if matrix.shape[0] * matrix.shape[1] != layer.chain.shapes["output"][0]:  # transposed: windows overlap
        taps = matrix.shape[1] * matrix.shape[0] // layer.chain.shapes["output"][0]
        matrix = matrix.reshape(matrix.shape[0], -1, taps, matrix.shape[2]).sum(2) / _stride(layer)
    inputs = matrix.shape[0] * matrix.shape[2]
    return bias_correction(matrix, mean.to(error).repeat_interleave(inputs // len(mean)).reshape(matrix.shape[0], -1))


def _stride(layer: Any) -> int:
    return int(torch.tensor(layer.stride).prod())


def add_to_bias(layer: Any, change: Tensor) -> None:
    """Change the bias of a layer in place; one without gets one."""
    with torch.no_grad():
        if layer.bias is None:
            layer.bias = nn.Parameter(change.to(layer.weight), requires_grad=layer.weight.requires_grad)
        else:
            layer.bias.add_(change.to(layer.bias))

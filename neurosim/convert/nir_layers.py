"""Layers without state as nodes of NIR, and back. NIR's shapes are those of one sample: they have no batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from neurosim.convert.nir_neurons_write import WRITER, Units, written_here
from neurosim.errors import ConversionError
from neurosim.nn.ei_layer import EILayer
from neurosim.nn.mpbn import MPBN
from neurosim.nn.scale import Scale, Shift
from neurosim.nn.spike_pool import SpikingMaxPool2d
from neurosim.norms import Norm

_FOLDED: Final = (nn.modules.batchnorm._BatchNorm, Norm, MPBN)
_PER_SAMPLE: Final = (nn.GroupNorm, nn.LayerNorm, nn.modules.instancenorm._InstanceNorm, nn.RMSNorm)


def layer_node(where: str, layer: nn.Module, units: Units) -> Any:
    """The node of a layer whose inputs have that shape.

    Raises:
        ConversionError: NIR has no such layer, or not with these settings.
    """
    write = _WRITERS.get(type(layer))
    if write is None:
        raise ConversionError(f"{where}: NIR has no {type(layer).__name__}{_advice(layer)}")
    return write(where, layer, units)


def node_layer(where: str, node: Any, dtype: torch.dtype | None) -> nn.Module:
    """The layer of a node.

    Raises:
        ConversionError: The node is not known, or its numbers do not fit together.
    """
    read = _READERS.get(type(node).__name__)
    if read is None:
        raise ConversionError(f"{where}: {type(node).__name__} is not supported; supported: neurons, {', '.join(_READERS)}")
    try:
        return read(where, node, dtype)
    except ConversionError:
        raise
    except Exception as error:  # whatever numpy and torch raise of numbers that do not fit together
        got = f"{type(error).__name__}: {error}"
        raise ConversionError(f"{where}: {type(node).__name__} must have fields that fit together, got {got}") from error


def _advice(layer: nn.Module) -> str:
    if isinstance(layer, _FOLDED):
        return "; fold it into its neighbours first: ns.fold(model), whose report says of each norm what became of it"
    if isinstance(layer, _PER_SAMPLE):
        return ": it takes statistics of every sample, which no weights can take over; train with a batch norm, which ns.fold(model) can"
    if isinstance(layer, SpikingMaxPool2d | nn.MaxPool2d):
        return (
            ", only pooling by averages and sums: nn.AvgPool2d, which is what ns.to_spiking(model, max_pool='average', ...) makes of it, "
            "to be trained on; its other choices of max_pool all take maxima"
        )
    if isinstance(layer, EILayer):
        return (
            ": nothing there divides by a current; a layer with subtractive inhibition only is one product, which nn.Linear or nn.Conv2d "
            "with the weights gain_e × (excitatory - lateral × inhibitory) and the bias can stand for"
        )
    if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
        return ": what it changes of its base class would be lost; of analog layers, write ns.to_digital(model)"
    return ""


def _linear_node(where: str, layer: nn.Linear, units: Units) -> Any:
    import nir

    if len(units) != 1:
        raise ConversionError(f"{where}: NIR's Linear takes one axis of units, got a sample of shape {units}; flatten it first")
    if layer.bias is None:
        return nir.Linear(weight=array_of(layer.weight))
    return nir.Affine(weight=array_of(layer.weight), bias=array_of(layer.bias))


def _conv_node(where: str, layer: nn.Conv1d | nn.Conv2d, units: Units) -> Any:
    import nir

    if layer.padding_mode != "zeros":
        raise ConversionError(f"{where}: NIR pads convolutions with zeros only, got padding_mode={layer.padding_mode!r}")
    flat = isinstance(layer, nn.Conv1d)

    def sizes(value: Any) -> Any:
        return value if isinstance(value, str) else value[0] if flat else tuple(value)

    weight = array_of(layer.weight)
    return (nir.Conv1d if flat else nir.Conv2d)(
        input_shape=units[-1] if flat else tuple(units[-2:]),
        weight=weight,
        stride=sizes(layer.stride),
        padding=sizes(layer.padding),
        dilation=sizes(layer.dilation),
        groups=layer.groups,
        bias=np.zeros(len(weight), weight.dtype) if layer.bias is None else array_of(layer.bias),
        metadata={"writer": WRITER, "bias": layer.bias is not None},
    )


def _pool_node(where: str, layer: nn.AvgPool2d, units: Units) -> Any:
    import nir

    if layer.ceil_mode or not layer.count_include_pad or layer.divisor_override not in (None, 1):
        raise ConversionError(f"{where}: NIR's pooling has neither ceil_mode, nor count_include_pad=False, nor a divisor of its own")
    kind = nir.SumPool2d if layer.divisor_override == 1 else nir.AvgPool2d
    sizes = (layer.kernel_size, layer.stride, layer.padding)
    return kind(*(np.array(size if isinstance(size, tuple) else (size, size)) for size in sizes))


def _adaptive_node(where: str, layer: nn.AdaptiveAvgPool2d, units: Units) -> Any:
    """Pooling to a size, as pooling by the factor that this is for the maps at hand."""
    import nir

    wanted: Any = layer.output_size
    sizes = wanted if isinstance(wanted, tuple) else (wanted, wanted)
    if len(units) != 3 or not all(size and unit % size == 0 for unit, size in zip(units[1:], sizes, strict=True)):
        raise ConversionError(f"{where}: NIR pools by whole factors, got maps of {tuple(units[1:])} to be pooled to {layer.output_size}")
    factor = np.array([unit // size for unit, size in zip(units[1:], sizes, strict=True)])
    return nir.AvgPool2d(factor, factor, np.zeros(2, np.int64))


def _flatten_node(where: str, layer: nn.Flatten, units: Units) -> Any:
    import nir

    axes = len(units) + 1
    start, end = layer.start_dim % axes - 1, layer.end_dim % axes - 1
    if start < 0:
        raise ConversionError(f"{where}: Flatten must leave the batch alone, got start_dim={layer.start_dim}")
    return nir.Flatten(input_type={"input": np.array(units)}, start_dim=start, end_dim=-1 if end == axes - 2 else end)


def _scale_node(where: str, layer: Scale, units: Units) -> Any:
    import nir

    said = {"writer": WRITER, "shape": np.array(layer.value.shape, np.int64), "learn": isinstance(layer.value, nn.Parameter)}
    return nir.Scale(scale=np.ascontiguousarray(np.broadcast_to(array_of(layer.value), units)), metadata=said)


def _shift_node(where: str, layer: Shift, units: Units) -> Any:
    import nir

    if len(units) != 1:
        raise ConversionError(f"{where}: NIR has no offset of maps, only of units: Affine takes one axis, got {units}")
    value = array_of(layer.value)
    said = {"writer": WRITER, "shift": np.array(layer.value.shape, np.int64), "learn": isinstance(layer.value, nn.Parameter)}
    return nir.Affine(weight=np.eye(*units, dtype=value.dtype), bias=np.ascontiguousarray(np.broadcast_to(value, units)), metadata=said)


def _affine(where: str, node: Any, dtype: torch.dtype | None) -> nn.Module:
    weight = tensor_of(where, "weight", node.weight, dtype)
    bias = tensor_of(where, "bias", node.bias, dtype) if hasattr(node, "bias") else None
    if weight.dim() != 2 or (bias is not None and bias.shape != weight.shape[:1]):
        got = f"{tuple(weight.shape)} and {None if bias is None else tuple(bias.shape)}"
        raise ConversionError(f"{where}: weight must be (outputs, inputs) and bias (outputs,), got {got}")
    if written_here(node.metadata) and "shift" in node.metadata and bias is not None:
        return Shift(_of_shape(bias, node.metadata["shift"]), learn=bool(node.metadata["learn"]))
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    return _loaded(layer, weight, bias)


def _conv(where: str, node: Any, dtype: torch.dtype | None) -> nn.Module:
    weight, bias = tensor_of(where, "weight", node.weight, dtype), tensor_of(where, "bias", node.bias, dtype)
    flat = type(node).__name__ == "Conv1d"
    if weight.dim() != (3 if flat else 4) or bias.shape != weight.shape[:1]:
        raise ConversionError(f"{where}: weight must be (out, in, …) and bias (out,), got {tuple(weight.shape)} and {tuple(bias.shape)}")
    biased = bool(node.metadata.get("bias", True)) if written_here(node.metadata) else True
    groups = int(node.groups)
    stride, dilation = _sizes(node.stride, weight), _sizes(node.dilation, weight)
    padding = node.padding if isinstance(node.padding, str) else _sizes(node.padding, weight)
    if min(*stride, *dilation, groups) < 1 or (not isinstance(padding, str) and min(padding) < 0):
        raise ConversionError(f"{where}: stride, dilation and groups must be > 0, padding not negative")
    make: Any = nn.Conv1d if flat else nn.Conv2d  # as many axes as the weight has
    layer = make(
        weight.shape[1] * groups,
        weight.shape[0],
        kernel_size=tuple(weight.shape[2:]),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        bias=biased,
        device="meta",
    )
    return _loaded(layer, weight, bias if biased else None)


def _pool(where: str, node: Any, dtype: torch.dtype | None) -> nn.Module:
    kernel, stride, padding = (_pair(value) for value in (node.kernel_size, node.stride, node.padding))
    if min(*kernel, *stride) < 1 or min(padding) < 0:
        raise ConversionError(f"{where}: kernel and stride must be > 0, padding not negative, got {kernel}, {stride}, {padding}")
    return nn.AvgPool2d(kernel, stride, padding, divisor_override=1 if type(node).__name__ == "SumPool2d" else None)


def _flatten(where: str, node: Any, dtype: torch.dtype | None) -> nn.Module:
    start, end = int(node.start_dim), int(node.end_dim)
    return nn.Flatten(start + 1 if start >= 0 else start, end + 1 if end >= 0 else end)


def _scale(where: str, node: Any, dtype: torch.dtype | None) -> nn.Module:
    value = tensor_of(where, "scale", node.scale, dtype)
    if written_here(node.metadata):
        return Scale(_of_shape(value, node.metadata["shape"]), learn=bool(node.metadata["learn"]))
    return Scale(value)


def _of_shape(value: Tensor, shape: Any) -> Tensor:
    """A value for every unit as the smaller tensor it was."""
    wanted = tuple(int(size) for size in np.asarray(shape))
    full = (1,) * (value.dim() - len(wanted)) + wanted
    return value[tuple(slice(0, 1) if size == 1 else slice(None) for size in full)].reshape(wanted)


def _loaded(layer: Any, weight: Tensor, bias: Tensor | None) -> nn.Module:
    layer.weight = nn.Parameter(weight)
    if bias is not None:
        layer.bias = nn.Parameter(bias)
    module: nn.Module = layer
    return module


def tensor_of(where: str, name: str, value: Any, dtype: torch.dtype | None) -> Tensor:
    """A field as a tensor of its own; writers leave tensors in graphs.

    Raises:
        ConversionError: It is not floating point.
    """
    found = value.detach().cpu().clone() if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
    if not found.is_floating_point():
        raise ConversionError(f"{where}: {name} must be floating point, got {found.dtype}")
    return found if dtype is None else found.to(dtype)


def array_of(value: Tensor) -> Any:
    """A tensor as an array of its own, for a graph; float16 and bfloat16, which files of arrays do not all know, in float32."""
    kept = value.detach().cpu()
    return (kept.float() if kept.dtype.itemsize < 4 else kept).numpy().copy()


def _sizes(value: Any, weight: Tensor) -> Any:
    sizes = tuple(int(size) for size in np.atleast_1d(np.asarray(value)))
    return sizes * (weight.dim() - 2) if len(sizes) == 1 else sizes


def _pair(value: Any) -> tuple[int, int]:
    sizes = [int(size) for size in np.atleast_1d(np.asarray(value))]
    return sizes[0], sizes[-1]


_WRITERS: Final[Mapping[type[nn.Module], Callable[[str, Any, Units], Any]]] = {
    nn.Linear: _linear_node,
    nn.Conv1d: _conv_node,
    nn.Conv2d: _conv_node,
    nn.AvgPool2d: _pool_node,
    nn.AdaptiveAvgPool2d: _adaptive_node,
    nn.Flatten: _flatten_node,
    Scale: _scale_node,
    Shift: _shift_node,
}
_READERS: Final[Mapping[str, Callable[[str, Any, torch.dtype | None], nn.Module]]] = {
    "Linear": _affine,
    "Affine": _affine,
    "Conv1d": _conv,
    "Conv2d": _conv,
    "AvgPool2d": _pool,
    "SumPool2d": _pool,
    "Flatten": _flatten,
    "Scale": _scale,
}

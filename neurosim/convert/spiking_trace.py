"""A digital network as a list of the layers that a spiking one can be made of."""

from __future__ import annotations

import copy
import operator
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import torch
import torch.nn.functional as F
from torch import fx, nn

from neurosim.activations import QCFS, Activation
from neurosim.convert.affine import affine_of, check_axis, fold_after
from neurosim.convert.parametrized import plain
from neurosim.errors import ConversionError
from neurosim.nn.graph import INPUT
from neurosim.norms import BatchNorm, Norm

Kind = Literal["product", "activation", "passive", "max_pool", "norm"]

_PRODUCTS: Final = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_PASSIVE: Final = (
    *(nn.Identity, nn.Flatten, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
)
_NORMS: Final = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, BatchNorm)
#: activations whose values a firing rate can follow: 0 below 0, and growing above
RECTIFIERS: Final = (nn.ReLU, nn.ReLU6, QCFS)
#: the others that ``direct`` may replace, for it trains on
SMOOTH: Final = (
    nn.LeakyReLU,
    nn.ELU,
    nn.SELU,
    nn.CELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Softplus,
    nn.Tanh,
    nn.Sigmoid,
    nn.Hardtanh,
    nn.PReLU,
    Activation,
)


@dataclass(frozen=True)
class Layer:
    """One layer of a traced network.

    Args:
        name: Unique, without dots.
        path: Where its module lies in the model; the function's name if it is none.
        kind: What the conversion does with it.
        module: A copy of its own.
        sources: The layers whose sum it takes; ``"input"`` is the network's.
    """

    name: str
    path: str
    kind: Kind
    module: nn.Module
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Traced:
    """A network as layers, each after its sources, and the name of the last."""

    layers: tuple[Layer, ...]
    output: str

    def consumers(self, name: str) -> list[Layer]:
        """The layers that take what ``name`` gives."""
        return [layer for layer in self.layers if name in layer.sources]


def trace(model: nn.Module) -> Traced:
    """The layers of a network; additions are implied by several sources.

    Args:
        model: Left as it is. ``torch.fx`` must be able to trace it: no branches on values.

    Raises:
        ConversionError: It cannot be traced, or holds something that has no spiking counterpart, all of which are named.
    """
    try:
        twin = copy.deepcopy(model).eval()
        graph = fx.GraphModule(twin, _Tracer().trace(twin))
    except Exception as error:
        raise ConversionError(f"to_spiking: torch.fx must be able to trace the model, got {type(error).__name__}: {error}") from error
    reader = _Reader(graph)
    output = reader.read()
    if reader.problems:
        raise ConversionError("to_spiking: every layer must have a spiking counterpart, got\n" + "\n".join(reader.problems))
    return Traced(tuple(reader.layers), output)


def fold_batch_norms(traced: Traced) -> tuple[Traced, list[str]]:
    """The same network with every batch norm folded into the product before it, and the paths of those that were.

    Raises:
        ConversionError: A batch norm does not follow a product, or cannot be folded into it.
    """
    layers = {layer.name: layer for layer in traced.layers}
    renamed: dict[str, str] = {}
    folded = []
    for layer in traced.layers:
        if layer.kind != "norm":
            continue
        before = layers.get(layer.sources[0])
        kind = type(layer.module).__name__
        if before is None or before.kind != "product" or len(layer.sources) > 1 or len(traced.consumers(before.name)) > 1:
            raise ConversionError(
                f"to_spiking: {layer.path} ({kind}): a batch norm must directly follow a linear or convolution layer "
                "whose result nothing else uses; else it has no layer to be folded into"
            )
        product: Any = copy.deepcopy(before.module)
        try:
            check_axis(layer.module, product)
            fold_after(product, affine_of(layer.module))
        except ConversionError as error:
            raise ConversionError(f"to_spiking: {layer.path} ({kind}) cannot be folded into {before.path}: {error}") from error
        layers[before.name] = replace(before, module=product)
        renamed[layer.name] = before.name
        del layers[layer.name]
        folded.append(layer.path)
    kept = [replace(layer, sources=tuple(renamed.get(source, source) for source in layer.sources)) for layer in layers.values()]
    return Traced(tuple(kept), renamed.get(traced.output, traced.output)), folded


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Layers that are known are taken whole."""
        return _kind(m) is not None or isinstance(m, Norm) or super().is_leaf_module(m, module_qualified_name)


class _Reader:
    """Walks the nodes of a traced graph; what is found wrong is collected, not raised."""

    def __init__(self, graph: fx.GraphModule) -> None:
        self.graph = graph
        self.modules = dict(graph.named_modules())
        self.layers: list[Layer] = []
        self.problems: list[str] = []
        self._sums: dict[fx.Node, tuple[str, ...]] = {}  # what a consumer of the node sums

    def read(self) -> str:
        inputs = [node for node in self.graph.graph.nodes if node.op == "placeholder"]
        if len(inputs) != 1:
            self.problems.append(f"  the model must take one input, got {len(inputs)}")
        for node in self.graph.graph.nodes:
            if node.op == "placeholder":
                self._sums[node] = (INPUT,)
            elif node.op == "output":
                return self._output(node)
            elif not _is_shape(node):
                self._node(node)
        return INPUT

    def _output(self, node: fx.Node) -> str:
        result = node.args[0]
        if not isinstance(result, fx.Node):
            self.problems.append("  the model must give one tensor")
            return INPUT
        sources = self._sums.get(result, ())
        if len(sources) == 1 and sources[0] != INPUT:
            return sources[0]
        self._add("output", "output", "passive", nn.Identity(), sources)
        return self.layers[-1].name

    def _node(self, node: fx.Node) -> None:
        if node.op == "call_module":
            module = self.modules[str(node.target)]
            self._module(node, str(node.target), plain(module))
        elif node.op in ("call_function", "call_method") and _name(node) in ("add", "iadd", "add_"):
            parts = node.args[:2]
            if len(node.args) < 2 or not all(isinstance(part, fx.Node) for part in parts) or node.kwargs:
                self._wrong(node, "only sums of two activations are converted")
            else:
                self._sums[node] = tuple(source for part in parts if isinstance(part, fx.Node) for source in self._sums.get(part, ()))
        elif node.op in ("call_function", "call_method"):
            module = _as_module(node)
            if module is None:
                self._wrong(node, "has no spiking counterpart; use layers of torch.nn for what it computes")
            else:
                self._module(node, _name(node), module)
                if _name(node) == "mean":  # of the maps, without their axes
                    self._add("flatten", "mean", "passive", nn.Flatten(), self._sums[node])
                    self._sums[node] = (self.layers[-1].name,)
        else:
            self._wrong(node, "parameters that the model uses outside of a layer are not converted")

    def _module(self, node: fx.Node, path: str, module: nn.Module) -> None:
        kind = _kind(module)
        if kind is None:
            self._wrong(node, f"{path} ({type(module).__name__}): {_advice(module)}")
            return
        (source, *_) = node.args or node.kwargs.values()
        sources = self._sums.get(source, ()) if isinstance(source, fx.Node) else ()
        self._add(path.replace(".", "_") or node.name, path, kind, module, sources)
        self._sums[node] = (self.layers[-1].name,)

    def _add(self, name: str, path: str, kind: Kind, module: nn.Module, sources: tuple[str, ...]) -> None:
        taken = {INPUT, *(layer.name for layer in self.layers)}
        name = next(one for one in (name, *(f"{name}_{use}" for use in range(2, len(taken) + 3))) if one not in taken)
        self.layers.append(Layer(name, path, kind, module.eval(), sources))

    def _wrong(self, node: fx.Node, why: str) -> None:
        self._sums[node] = (INPUT,)  # so that reading can go on
        where = "" if node.op == "call_module" else f"{_name(node)}: "
        self.problems.append(f"  {where}{why}")


def _kind(module: nn.Module) -> Kind | None:
    if isinstance(module, _PRODUCTS):
        return "product"
    if isinstance(module, (*RECTIFIERS, *SMOOTH)):
        return "activation"
    if isinstance(module, _PASSIVE):
        return "passive"
    if isinstance(module, nn.MaxPool2d) and not module.return_indices:
        return "max_pool"
    return "norm" if isinstance(module, _NORMS) else None


def _advice(module: nn.Module) -> str:
    if isinstance(module, nn.Softmax | nn.LogSoftmax):
        return "has no spiking counterpart; leave it out and let the loss compute it"
    of_samples = isinstance(module, Norm) and module.stats == "sample"
    if of_samples or isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.InstanceNorm1d | nn.InstanceNorm2d):
        return "takes its statistics from the sample and cannot be folded; train with a batch norm instead"
    return "has no spiking counterpart"


def _name(node: fx.Node) -> str:
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))


def _is_shape(node: fx.Node) -> bool:
    """Whether a node only asks for the shape, as ``x.view(x.size(0), -1)`` does."""
    if node.op == "call_method" and node.target == "size":
        return True
    return node.target is getattr or (node.target is operator.getitem and isinstance(node.args[0], fx.Node) and _is_shape(node.args[0]))


def _as_module(node: fx.Node) -> nn.Module | None:
    """The layer that does what a function does, or None."""
    rest: tuple[Any, ...] = node.args[1:]
    named: dict[str, Any] = {key: value for key, value in node.kwargs.items() if key not in ("input", "inplace", "training")}
    name = _name(node).removesuffix("_")
    try:
        if name == "relu":
            return nn.ReLU()
        if name == "relu6":
            return nn.ReLU6()
        if name == "dropout":
            return nn.Dropout(*rest[:1], **named)
        if name == "flatten":
            return nn.Flatten(*(rest or (0,)), **named) if (rest or (0,))[0] == 1 or named.get("start_dim") == 1 else None
        if name in ("view", "reshape"):
            return nn.Flatten() if len(rest) == 2 and rest[1] == -1 else None
        if name in ("avg_pool2d", "adaptive_avg_pool2d"):
            return (nn.AvgPool2d if name == "avg_pool2d" else nn.AdaptiveAvgPool2d)(*rest, **named)
        if name in ("max_pool2d", "boolean_dispatch"):
            return _max_pool(node, rest, named)
        if name == "mean":
            dims = rest[0] if rest else named.get("dim")
            return nn.AdaptiveAvgPool2d(1) if set(dims or ()) in ({2, 3}, {-1, -2}) and not named.get("keepdim") and len(rest) < 2 else None
    except (TypeError, IndexError):
        return None
    return _SMOOTH_FUNCTIONS[name]() if name in _SMOOTH_FUNCTIONS and not rest and not named else None


_SMOOTH_FUNCTIONS: Final[dict[str, type[nn.Module]]] = {
    **{"leaky_relu": nn.LeakyReLU, "elu": nn.ELU, "selu": nn.SELU, "gelu": nn.GELU, "silu": nn.SiLU, "mish": nn.Mish},
    **{"softplus": nn.Softplus, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid},
}


def _max_pool(node: fx.Node, rest: tuple[Any, ...], named: dict[str, Any]) -> nn.Module | None:
    if node.target not in (F.max_pool2d, torch.max_pool2d):
        return None
    names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    return nn.MaxPool2d(**{**dict(zip(names, rest, strict=False)), **named})

"""The layers of a model whose weights are drawn: how many inputs a sum has, and what feeds it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.parameter import UninitializedParameter

from neurosim.convert.affine import TRANSPOSED, WEIGHTED, Weighted
from neurosim.convert.places import chains
from neurosim.convert.select import Selection, as_list, check_globs, matches
from neurosim.convert.swap_activation import PASSIVE, is_activation
from neurosim.errors import ConfigError
from neurosim.initialisers.normed import elementwise
from neurosim.nn.delta import DeltaActivation
from neurosim.norms import Branch, Norm, Residual
from neurosim.norms.placing import put_weight

Source = Literal["input", "activation", "norm", "layer", "stream", "unknown"]

_NORMS: Final = (Norm, _BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
#: they change second moments, though by no more than the layers around them can bear; none of the rules counts them
_POOLS: Final = (
    *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d),
)
_BLOCKS: Final = (Branch, Residual)
_THROUGH: Final = (*PASSIVE, *_POOLS, DeltaActivation)


class Feed(NamedTuple):
    """What feeds a layer, as :class:`Target` has it."""

    source: Source = "unknown"
    activation: nn.Module | None = None
    norms: tuple[nn.Module, ...] = ()


class Fans(NamedTuple):
    """Of a layer."""

    inputs: float  #: of one sum
    outputs: float  #: sums that one input takes part in, away from the border


@dataclass(frozen=True)
class Target:
    """A layer whose weights are drawn.

    Args:
        path: Its first name in the model.
        layer: The layer.
        source: What feeds it: the model's ``input``, an ``activation``, a ``norm``, another ``layer``, the ``stream`` of a residual
            network, which is a sum of such, or something ``unknown``.
        activation: The activation that feeds it.
        norms: What stands before that activation, up to the last norm: norms, and activations among them.
    """

    path: str
    layer: Weighted
    source: Source
    activation: nn.Module | None = None
    norms: tuple[nn.Module, ...] = ()

    @property
    def name(self) -> str:
        """For people."""
        return self.path or type(self.layer).__name__

    @property
    def fans(self) -> Fans:
        """Inputs of a sum, and sums that an input takes part in; a stride thins them out."""
        weight, layer = self.layer.weight, self.layer
        if isinstance(layer, nn.Linear):
            return Fans(weight.shape[1], weight.shape[0])
        taps, steps = math.prod(layer.kernel_size), math.prod(layer.stride)
        inputs, outputs = layer.in_channels // layer.groups * taps, layer.out_channels // layer.groups * taps
        return Fans(inputs / steps, outputs) if isinstance(layer, TRANSPOSED) else Fans(inputs, outputs / steps)

    @property
    def matrices(self) -> tuple[int, int, int]:
        """Groups, outputs and inputs of the matrices that its weight consists of."""
        layer, weight = self.layer, self.layer.weight
        if isinstance(layer, nn.Linear):
            return 1, *weight.shape
        groups = layer.groups
        taps = math.prod(layer.kernel_size)
        return groups, layer.out_channels // groups, layer.in_channels // groups * taps

    def native(self, matrices: Tensor) -> Tensor:
        """A weight of the layer's shape, from its matrices ``(groups, outputs, inputs)``."""
        layer, weight = self.layer, self.layer.weight
        if not isinstance(layer, TRANSPOSED):
            return matrices.reshape(weight.shape)
        groups, outputs, _ = self.matrices
        inputs = layer.in_channels // groups
        return matrices.reshape(groups, outputs, inputs, -1).transpose(1, 2).reshape(weight.shape)

    def put(self, weight: Tensor) -> None:
        """Give the layer this weight; of a parametrized one, what makes it.

        Raises:
            ConfigError: The parametrization cannot tell what makes a given weight.
        """
        put_weight(f"initialize: {self.name}", self.layer, weight.to(self.layer.weight))


def targets(model: nn.Module, selection: Selection = None, *, look_back: bool = True) -> list[Target]:
    """The linear and convolution layers of a model, each once, in its order, with what surely feeds them.

    What feeds a layer is known of neighbours in ``nn.Sequential`` and of what ``torch.fx`` reads of a ``forward``. The first layer of the
    model of which nothing is known takes the model's input.

    Args:
        model: Any module.
        selection: Globs over paths, or types; None: all.
        look_back: Whether to find out what feeds them; else it is ``unknown``.

    Raises:
        ConfigError: There is no such layer, a glob names none, or a weight has no shape or is complex.
    """
    found = {path: module for path, module in model.named_modules() if isinstance(module, WEIGHTED)}
    if not found:
        raise ConfigError("initialize: the model must have linear or convolution layers, has none")
    check_globs("initialize: layers", as_list(selection), found, "linear or convolution layer")
    chosen = [path for path, module in found.items() if selection is None or matches(path, module, selection)]
    if not chosen:
        raise ConfigError(f"initialize: layers must name a linear or convolution layer, got {selection!r:.60}")
    for path in chosen:
        _check(path, found[path])
    fed = _sources(model) if look_back else {}
    first = next(iter(found))
    made = []
    for path in chosen:
        feed = fed.get(id(found[path]), Feed())
        if look_back and path == first and feed.source == "unknown":
            feed = feed._replace(source="input")
        made.append(Target(path, found[path], *feed))
    return made


def _check(path: str, layer: Weighted) -> None:
    given = layer._parameters.get("weight")
    if isinstance(given, UninitializedParameter):
        raise ConfigError(f"initialize: {path or type(layer).__name__}: its shape must be known, so call the model once before, it is lazy")
    if not layer.weight.is_floating_point():
        raise ConfigError(
            f"initialize: {path or type(layer).__name__}: its weights must be real floating-point numbers, got {layer.weight.dtype}"
        )


def _sources(model: nn.Module) -> dict[int, Feed]:
    """By layer, what feeds it in the first chain that it stands in."""
    root = nn.ModuleDict({"model": model})
    reads = tuple({type(module) for module in root.modules() if isinstance(module, WEIGHTED)})
    found: dict[int, Feed] = {}
    on_stream = {id(part) for block in root.modules() if isinstance(block, _BLOCKS) for part in _begins(block)}
    for chain in chains(root, reads=reads):
        start: Source = "stream" if chain and id(chain[0].module) in on_stream else "unknown"
        for module, feed in _along((place.module for place in chain), Feed(start)):
            known = found.get(id(module))
            if known is None or known.source == "unknown":
                found[id(module)] = feed
    return found


def _begins(block: nn.Module) -> Iterator[nn.Module]:
    """The first modules of what a residual block gives its stream to."""
    for part in block.children():
        while type(part) is nn.Sequential and len(part):
            part = part[0]
        yield part


def _along(chain: Iterator[nn.Module], feed: Feed) -> Iterator[tuple[nn.Module, Feed]]:
    for module in chain:
        if isinstance(module, WEIGHTED):
            yield module, feed
            feed = Feed("layer")
        elif isinstance(module, _NORMS):
            before = () if feed.activation is None else (feed.activation,)
            blind = feed.source == "unknown" and elementwise(module)  # what it gives is then as unknown as what it is given
            feed = Feed("unknown" if blind else "norm", None, (*feed.norms, *before, module))
        elif is_activation(module):
            feed = Feed("activation", module, feed.norms)
        elif isinstance(module, _BLOCKS):
            feed = Feed("stream")
        elif not isinstance(module, _THROUGH):
            feed = Feed()

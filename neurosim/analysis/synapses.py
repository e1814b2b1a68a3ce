"""Operations that data really cause: every number that is not 0 meets the weights that it reaches, and a 0 meets none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from neurosim.analysis.inference_cost import standing
from neurosim.analysis.inputs import inputs_of
from neurosim.analysis.observe import layer_by_layer, watching
from neurosim.analysis.synops_report import LayerSynOps, SynOps
from neurosim.convert.affine import WEIGHTED
from neurosim.convert.chip_stack import ChipStack
from neurosim.convert.given import check_model
from neurosim.convert.select import Selection, as_list, check_globs, matches
from neurosim.errors import ConfigError, DataError
from neurosim.neurons.recurrent_lif import LinearToOthers
from neurosim.nn.analog import HardwareLayer
from neurosim.nn.answer import answer
from neurosim.nn.assembly import Assembly
from neurosim.nn.composed import ComposedLayer
from neurosim.nn.delta_linear import AddUp
from neurosim.nn.delta_network import DeltaNetwork
from neurosim.nn.modes import evaluation_mode
from neurosim.nn.time import takes_time
from neurosim.nn.wrappers import named_unwrapped, unwrapped
from neurosim.random import Stream

_COUNTED: Final = (*WEIGHTED, AddUp)
#: their products are not layers of their own, so that nobody sees what arrives at them
_CLOSED: Final = (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention, nn.Bilinear, Assembly)
_CONVOLVED: Final[dict[int, Callable[..., Tensor]]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED: Final[dict[int, Callable[..., Tensor]]] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def synaptic_operations(layer: nn.Module, x: Tensor, output_size: Sequence[int] | None = None) -> int:
    r"""How many weights the numbers that are not 0 meet: events times their fan-out.

    .. math:: \sum_{i} [x_i \ne 0]\, f_i, \qquad f_i = \begin{cases} \text{outputs} & \text{linear} \\
        \frac{\text{outputs}}{\text{groups}}\, |\{(o, k) : \text{window } o \text{ has input } i \text{ at tap } k\}|
        & \text{convolution} \end{cases}

    Spikes, graded events, changes and the zeros behind a ReLU are all counted alike. Inputs at a border are in fewer windows, those between
    the windows of a stride in none. Padding with zeros causes nothing, padding with copies what the copies cause. A weight that is 0 is met
    like any other.

    Args:
        layer: ``nn.Linear``, a convolution or a transposed one, digital or on hardware; a layer of a
            :class:`~neurosim.nn.DeltaNetwork`, for changes.
        x: What arrives at it, any number of samples and steps.
        output_size: Of a transposed convolution that was asked for a size: that of the axes of space.

    Returns:
        The sum over all of ``x``, exact.

    Raises:
        ConfigError: The layer is of another kind, or the input is none of its.

    Source:
        J. Yik et al., "The NeuroBench framework for benchmarking neuromorphic computing algorithms and systems", Nature Communications 16
        (2025), doi:10.1038/s41467-025-56739-4: synaptic operations.

    >>> synaptic_operations(nn.Linear(4, 10), torch.tensor([[1.0, 0.0, 0.0, 1.0]]))
    20
    >>> synaptic_operations(nn.Conv1d(1, 5, 3), torch.tensor([[1.0, 0.0, 1.0, 0.0]]))  # the first is in one window, the third in two
    15
    """
    if not isinstance(layer, _COUNTED):
        raise ConfigError(f"synaptic_operations: layer must be a linear layer or a convolution, got {type(layer).__name__}")
    arrived = x != 0
    if isinstance(layer, AddUp):
        return int(layer.operations(arrived))
    channels, axes = (layer.in_features, 0) if isinstance(layer, nn.Linear) else (layer.in_channels, len(layer.kernel_size))
    if x.dim() <= axes or x.shape[-1 - axes] != channels:
        raise ConfigError(f"synaptic_operations: x must have {channels} channels on axis {-1 - axes}, got shape {tuple(x.shape)}")
    if isinstance(layer, nn.Linear):
        return int(arrived.sum()) * (layer.out_features - isinstance(layer, LinearToOthers))
    # how many arrive at each place, and in how many windows that is: integers in float64 on the CPU, whose sums are exact
    places = arrived.flatten(0, -1 - axes).sum(0).double().cpu()[None, None]
    taps = torch.ones(1, 1, *layer.kernel_size, dtype=torch.float64)
    if isinstance(layer, _ConvTransposeNd):
        kinds: Any = layer  # torch types the sizes as lists and has tuples
        size = None if output_size is None else [*output_size]
        more = kinds._output_padding(places, size, layer.stride, layer.padding, layer.kernel_size, axes, layer.dilation)
        met = _TRANSPOSED[axes](places, taps, None, layer.stride, layer.padding, more, 1, layer.dilation)
    else:
        around = F.pad(places, layer._reversed_padding_repeated_twice, "constant" if layer.padding_mode == "zeros" else layer.padding_mode)
        met = _CONVOLVED[axes](around, taps, None, layer.stride, 0, layer.dilation)
    return round(float(met.sum())) * (layer.out_channels // layer.groups)


def synops(model: nn.Module, data: Tensor | Iterable[Any], layers: Selection = None, *, stream: Stream | None = None) -> SynOps:
    """Synaptic operations of each layer with weights on given data, beside those of an input without zeros.

    It runs the model as it is, in evaluation mode, and leaves nothing behind: spiking networks, whose steps add up, networks with ReLU or
    with gates, delta networks, and all of them on simulated hardware, where what arrives is looked at before its converters. A layer to
    which nothing but 1, -1 and 0 arrives needs no multiplications: its operations are accumulates (AC), all others multiply-accumulates
    (MAC). Products of two signals have no weights and are not counted; layers whose products nobody can see, such as ``nn.LSTM`` and
    ``nn.MultiheadAttention``, are named in :attr:`SynOps.left_out`.

    Args:
        model: Any model with linear layers or convolutions.
        data: What the model is called with: one batch, or several, a ``DataLoader`` for example; of a tuple, its first entry.
        layers: Globs over module paths, types, or a list of both; None takes all.
        stream: For models that take one: batch n is run with draw n of it.

    Raises:
        ConfigError: The model has no such layer or runs none.
        DataError: There are no samples, or the model does not take them.

    Source:
        As for :func:`neurosim.analysis.synaptic_operations`.

    >>> net = nn.Sequential(nn.Linear(3, 2, bias=False), nn.ReLU(), nn.Linear(2, 5))
    >>> _ = net[0].weight.data.copy_(torch.tensor([[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]]))
    >>> print(synops(net, torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])))
    2 samples: 8 operations each, 50.0% of 16; 3 only accumulate
      layer  type    dense  operations  share  kind
      0      Linear  6      3           50.0%  AC
      2      Linear  10     5           50.0%  MAC
    """
    check_model("synops", model, stream)
    chosen = _chosen(model, layers)
    counter = _Counter(chosen)
    place = next((value.device for value in (*model.parameters(), *model.buffers())), torch.device("cpu"))
    timed = [module for _, module in named_unwrapped(model) if takes_time(module)]
    samples = 0
    with evaluation_mode(model), torch.no_grad(), standing(model), layer_by_layer(), watching(dict.fromkeys([*chosen, *timed]), counter):
        for number, batch in enumerate(inputs_of("synops", data)):
            options = {} if stream is None else {"stream": stream._replace(draw=stream.draw + number)}
            counter.samples = len(batch) if batch.dim() else 1
            answer("synops", model, batch.to(place), **options)
            samples += counter.samples
    if not samples:
        raise DataError("synops: there must be at least one sample, the data hold none")
    if not counter.counts:
        raise ConfigError(f"synops: the model runs none of the layers {', '.join(path or '(model)' for path in chosen.values()):.60}")
    return SynOps(counter.found(samples), samples, counter.closed)


def _chosen(model: nn.Module, layers: Selection) -> dict[nn.Module, str]:
    """What is to be counted or is to be named as closed, with its path; the layers of a delta network have those of the original."""
    if isinstance(unwrapped(model), ChipStack):
        raise ConfigError("synops: the model must be one chip, got several together: give one of them, stack.chips[0]")
    known: dict[str, nn.Module] = {}
    closed: list[str] = []
    for path, module in named_unwrapped(model):
        if isinstance(module, DeltaNetwork):
            pieces = [piece for piece in module.pieces if isinstance(piece, AddUp)]
            known |= {f"{path}.{name}".strip("."): piece for name, piece in zip(module.paths, pieces, strict=True)}
        elif isinstance(module, (*WEIGHTED, *_CLOSED)) and not any(path.startswith(f"{around}.") for around in closed):
            known[path] = module
            closed += [path] if isinstance(module, _CLOSED) else []
    globs = as_list(layers)
    check_globs("synops: layers", globs, known, "linear layer or convolution")
    found = {module: path for path, module in known.items() if layers is None or matches(path, module, globs)}
    if not any(isinstance(module, _COUNTED) for module in found):
        raise ConfigError("synops: the model must have a linear layer or a convolution among those that are asked for, it has none")
    return found


@dataclass
class _Count:
    dense: int = 0
    done: int = 0
    accumulates: bool = True


class _Counter:
    """Counts what arrives at layers while a model runs."""

    def __init__(self, paths: dict[nn.Module, str]) -> None:
        self.paths = paths
        self.samples = 0  #: of this batch
        self.counts: dict[nn.Module, _Count] = {}
        self.closed: dict[str, str] = {}  #: types of what ran and nobody saw, by path
        self._running: list[tuple[nn.Module, Any]] = []  #: the modules that are running, and what they were given

    def wants_membrane(self, module: nn.Module) -> bool:
        """Never."""
        return False

    def enter(self, module: nn.Module, x: Any) -> None:
        """Remember what arrives; the outermost module over time says how many samples there are."""
        if takes_time(module) and isinstance(x, Tensor) and x.dim() > 1 and not any(takes_time(one) for one, _ in self._running):
            self.samples = x.shape[1]
        self._running.append((module, x))

    def leave(self, module: nn.Module, result: Any, membrane: Tensor | None) -> None:
        """Count it, now that the size of the output is known."""
        _, x = self._running.pop()
        path = self.paths.get(module)
        if path is None or result is None:
            return
        if isinstance(module, _CLOSED):
            self.closed[path] = _type(module)
            return
        size = result.shape[-len(module.kernel_size) :] if isinstance(module, _ConvTransposeNd) else None
        count = self.counts.setdefault(module, _Count())
        count.dense += synaptic_operations(module, x.new_ones(()).expand_as(x), size)
        count.done += synaptic_operations(module, x, size)
        count.accumulates &= not bool(((x != 0) & (x != 1) & (x != -1)).any())

    def found(self, samples: int) -> tuple[LayerSynOps, ...]:
        """The layers that ran, in the order in which they did."""
        return tuple(
            LayerSynOps(self.paths[module], _type(module), one.dense / samples, one.done / samples, one.accumulates)
            for module, one in self.counts.items()
        )


def _type(module: nn.Module) -> str:
    digital: type[nn.Module] = module.digital_class if isinstance(module, HardwareLayer | ComposedLayer) else type(module)
    return digital.__name__

"""Units that are hardly ever on, given another start: ReDo."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.utils import parametrize

from neurosim.activations import identify
from neurosim.analysis.equalization import BY_CHANNEL, cells, check_channels, weighted
from neurosim.analysis.inputs import check_chip
from neurosim.analysis.observe import watching
from neurosim.analysis.revival_report import Revival, RevivedReport
from neurosim.checks import number, whole
from neurosim.convert.affine import WEIGHTED
from neurosim.convert.calibration import Calibration, Samples
from neurosim.convert.places import Place, Uses, chains
from neurosim.convert.swap_activation import is_activation
from neurosim.errors import ConversionError
from neurosim.initialisers.draws import uniform
from neurosim.initialisers.layers import Target
from neurosim.neurons import is_neurons
from neurosim.neurons.recurrent import Recurrent
from neurosim.nn.analog import AnalogLayer
from neurosim.nn.answer import answer
from neurosim.nn.modes import evaluation_mode
from neurosim.nn.wrappers import unwrapped
from neurosim.norms import DynamicTanh, InstanceNorm, L1BatchNorm
from neurosim.norms.time_norm import TimeNorm
from neurosim.random import Stream
from neurosim.random import stream as named_stream

Model = TypeVar("Model", bound=nn.Module)
_PASSIVE: Final = (nn.Identity, nn.Dropout, *BY_CHANNEL)
#: norms of which a channel depends on itself alone
_APART: Final = (_BatchNorm, _InstanceNorm, TimeNorm, InstanceNorm, L1BatchNorm, DynamicTanh)
#: how their channels start
_STARTS: Final = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0, "running_deviation": 1.0}


def dormancy(magnitudes: Tensor) -> Tensor:
    r"""How much each unit of a layer does, beside the others.

    .. math:: s_i = \frac{E|h_i|}{\operatorname{mean}_k E|h_k|}

    Args:
        magnitudes: E|h|, one a unit.

    Returns:
        Mean 1; 0 where all are 0.

    Source:
        G. Sokar et al., "The dormant neuron phenomenon in deep reinforcement learning", ICML 2023, definition 3.1.

    >>> dormancy(torch.tensor([0.0, 1.0, 3.0, 0.0]))
    tensor([0., 1., 3., 0.])
    """
    mean = magnitudes.mean()
    return magnitudes / mean if bool(mean > 0) else torch.zeros_like(magnitudes)


def revive_units(
    model: Model,
    loader: Calibration,
    *,
    tau: float = 0.025,
    seed: int = 0,
    draw: int = 0,
    optimizer: torch.optim.Optimizer | None = None,
    stream: Stream | None = None,
    inplace: bool = False,
) -> Model:
    r"""A copy of a model whose dormant units have new incoming weights, and outgoing weights of 0, so that they can learn again.

    A unit is dormant where :func:`neurosim.analysis.dormancy` is τ or less; with τ = 0 where it never was on: a ReLU that is dead, a neuron
    that never spikes. Its incoming weights are drawn as He et al. have them for ReLU, U(±√(6/n)), its bias becomes 0, and what a norm by
    channels behind it has of it starts anew. All else stays; since a dormant unit gave little, so does what the model computes. Where it
    gave nothing, exactly: with τ = 0, for the inputs that were looked at.

    Args:
        model: Digital, spiking, or on hardware, whose clean weights change. Neighbours must be certain, as for :func:`neurosim.equalize`.
        loader: Inputs like those that the model sees: a tensor, or batches that begin with one. The model is looked at in evaluation.
        tau: τ ≥ 0.
        seed: Of the new weights.
        draw: Which of the draws of that seed, ≥ 0: another for every time that it is done.
        optimizer: Of the model's parameters: what it remembers of the changed ones becomes 0 (momenta, running squares).
        stream: For models that take one: batch n is run with draw n of it.
        inplace: Change ``model`` itself; needed where there is an optimiser.

    Returns:
        The model, with the report at ``model.revival``. Layers are left, with the reason, where something between them mixes channels,
        or where their weights are computed from other parameters.

    Raises:
        ConfigError: An argument is out of its domain, or the loader has no data.
        DataError: The model does not take the inputs. ``model`` is unchanged after both.

    Source:
        G. Sokar et al., "The dormant neuron phenomenon in deep reinforcement learning", ICML 2023, algorithm 1 (ReDo).

    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    >>> for value, numbers in ((model[0].weight, [[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]]), (model[0].bias, [0.0, -9.0, 0.0])):
    ...     _ = value.data.copy_(torch.tensor(numbers))
    >>> print(revive_units(model, torch.ones(4, 2), tau=0.0).revival)
    1 of 3 units given another start
      layer  feeds  units  status   dormant  reason
      0      2      3      revived  1
    """
    check_chip("revive_units", model, stream)
    tau, draw = number("revive_units: tau", tau, ge=0), whole("revive_units: draw", draw, 0)
    whole("revive_units: seed", seed, 0)
    target = model if inplace else copy.deepcopy(model)
    bare = unwrapped(target)
    root = nn.ModuleDict({"model": bare})
    found, left = _segments(root)
    reports = {one.layer: one for one in left}
    seen = _magnitudes(bare, found, loader, stream)
    for segment, _ in found:
        first, second = segment[0], segment[-1]
        if first.path not in seen:
            reports[first.path] = RevivedReport(first.path, second.path, _units(first.module), "left", reason="no input reached it")
            continue
        dormant = dormancy(seen[first.path]) <= tau
        if bool(dormant.any()):
            _restart(segment, dormant, named_stream(seed, first.path, "revive", draw=draw), optimizer)
        reports[first.path] = RevivedReport(first.path, second.path, len(dormant), "revived", int(dormant.sum()))
    order = {path: at for at, (path, _) in enumerate(bare.named_modules(remove_duplicate=False))}
    report: Any = target
    report.revival = Revival(tuple(sorted(reports.values(), key=lambda one: order[one.layer])))
    return target


def revivable(model: nn.Module) -> tuple[list[str], list[RevivedReport]]:
    """Of the layers that feed another: the paths of those whose units can be given another start, and reports of the others."""
    found, left = _segments(nn.ModuleDict({"model": unwrapped(model)}))
    return [segment[0].path for segment, _ in found], left


def _segments(root: nn.ModuleDict) -> tuple[list[tuple[list[Place], Place]], list[RevivedReport]]:
    """From every layer with weights to the next, with the place of the units; and reports of those that are left."""
    uses = Uses(root)
    found: list[tuple[list[Place], Place]] = []
    left: list[RevivedReport] = []
    for chain in chains(root, reads=(*WEIGHTED, AnalogLayer)):
        at = [index for index, place in enumerate(chain) if weighted(place.module) or _parametrized(place.module)]
        for one, other in pairwise(at):
            segment = chain[one : other + 1]
            try:
                found.append((segment, _active(segment, uses)))
            except ConversionError as error:
                left.append(RevivedReport(segment[0].path, segment[-1].path, _units(segment[0].module), "left", reason=str(error)))
    return found, left


def _parametrized(module: nn.Module) -> bool:
    return parametrize.is_parametrized(module) and parametrize.type_before_parametrizations(module) in WEIGHTED


def _active(segment: list[Place], uses: Uses) -> Place:
    """Where the units of the first layer are: the last activation or neurons before the next layer.

    Raises:
        ConversionError: Something between the layers mixes channels, or there is none.
    """
    check_channels(segment, uses)
    first, second = segment[0].module, segment[-1].module
    if _parametrized(first):  # its bias
        raise ConversionError(f"the bias of the {type(first).__name__} is computed from other parameters")
    found = None
    for place in segment[1:-1]:
        module, name = place.module, type(place.module).__name__
        if uses.shared(module):
            raise ConversionError(f"the {name} between them is used in several places")
        if is_neurons(module) or is_activation(module):
            entry = identify(module)
            if isinstance(module, Recurrent) or (entry is not None and entry.kind not in ("curve", "random")):
                raise ConversionError(f"the {name} between them mixes channels")
            found = place
        elif not isinstance(module, (*_PASSIVE, *_APART)):
            raise ConversionError(f"{name} is between them, and is not known to keep channels apart")
        elif isinstance(module, _APART) and getattr(module, "features", (_units(first),)) != (_units(first),):
            raise ConversionError(f"the {name} between them has other channels than the layer has units")
    if found is None:
        raise ConversionError("no activation is between them")
    if any(layer.weight.is_complex() for layer in (first, second) if isinstance(layer.weight, Tensor)):
        raise ConversionError("their weights are complex")
    return found


def _units(layer: nn.Module) -> int:
    held = cells(layer)
    return held.shape[0] * held.shape[1]


class _Sizes:
    """Watches modules, and sums the magnitudes of the channels that they give."""

    def __init__(self, sources: dict[int, list[tuple[str, nn.Module]]]) -> None:
        self.sources = sources
        self.sums: dict[str, Tensor] = {}

    def wants_membrane(self, module: nn.Module) -> bool:
        return False

    def enter(self, module: nn.Module, x: Any) -> None:
        pass

    def leave(self, module: nn.Module, result: Any, membrane: Tensor | None) -> None:
        if not isinstance(result, Tensor):
            return
        for path, layer in self.sources[id(module)]:
            channels = result.detach().double().abs().movedim(-1 - len(getattr(layer, "kernel_size", ())), 0).flatten(1)
            self.sums[path] = self.sums.get(path, 0) + channels.mean(1) * result.shape[0]


def _magnitudes(model: nn.Module, found: list[tuple[list[Place], Place]], loader: Calibration, stream: Stream | None) -> dict[str, Tensor]:
    """The mean magnitude of every unit, up to a factor, by the path of its layer; measured on a copy."""
    twin = copy.deepcopy(model)
    sources: dict[int, list[tuple[str, nn.Module]]] = {}
    for segment, place in found:
        sources.setdefault(id(twin.get_submodule(place.path)), []).append((segment[0].path, segment[0].module))
    watched = [twin.get_submodule(place.path) for _, place in found]
    sizes = _Sizes(sources)
    samples = Samples("revive_units", loader, next((value.device for value in twin.parameters()), torch.device("cpu")))
    with torch.no_grad(), evaluation_mode(twin), watching(watched, sizes):
        for at, x in enumerate(samples.inputs()):
            answer("revive_units", twin, x, **({} if stream is None else {"stream": stream._replace(draw=at)}))
    return sizes.sums


@torch.no_grad()
def _restart(segment: list[Place], dormant: Tensor, source: Stream, optimizer: torch.optim.Optimizer | None) -> None:
    """New weights into these units, none out of them."""
    first: Any = segment[0].module
    second: Any = segment[-1].module
    target = Target(segment[0].path, first, "unknown")
    drawn = uniform(first.weight, math.sqrt(6.0 / target.fans.inputs), source)
    rows, inputs = cells(first), cells(second)
    into = dormant.reshape(*rows.shape[:2], 1, 1).to(rows.device)
    repeated = dormant.repeat_interleave(inputs.shape[0] * inputs.shape[2] // dormant.numel())
    out = repeated.reshape(inputs.shape[0], 1, inputs.shape[2], 1).to(inputs.device)
    rows.copy_(torch.where(into, cells(first, drawn), rows))
    inputs.masked_fill_(out, 0.0)
    plain = [first.bias] if first.bias is not None else []
    for place in segment[1:-1]:
        norm: Any = place.module
        for name, start in _STARTS.items() if isinstance(norm, _APART) else ():
            value = getattr(norm, name, None)
            if value is not None:
                value.masked_fill_(dormant.to(value.device), start)
                plain += [value] if isinstance(value, nn.Parameter) else []
    if first.bias is not None:
        first.bias.masked_fill_(dormant.to(first.bias.device), 0.0)
    if optimizer is not None:
        _forget(optimizer, first.weight, lambda value: cells(first, value), into)
        _forget(optimizer, second.weight, lambda value: cells(second, value), out)
        for parameter in plain:
            _forget(optimizer, parameter, lambda value: value, dormant.to(parameter.device))


def _forget(optimizer: torch.optim.Optimizer, parameter: Tensor, view: Callable[[Tensor], Tensor], mask: Tensor) -> None:
    """Make 0 what an optimiser remembers of some elements of a parameter."""
    for value in optimizer.state.get(parameter, {}).values():
        if isinstance(value, Tensor) and value.shape == parameter.shape:
            view(value).masked_fill_(mask, 0.0)

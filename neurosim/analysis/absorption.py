"""Bias absorption: what every pre-activation of a channel has in common moves from one layer into the bias of the next."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from neurosim.analysis.biases import add_to_bias
from neurosim.analysis.equalization import cells, check_between, weighted
from neurosim.analysis.ideal import watch_ideal
from neurosim.analysis.inputs import check_chip
from neurosim.checks import number
from neurosim.convert.affine import TRANSPOSED, WEIGHTED
from neurosim.convert.calibration import Calibration
from neurosim.convert.places import Place, Uses, chains
from neurosim.convert.report import table
from neurosim.errors import ConversionError
from neurosim.nn.analog import AnalogLayer
from neurosim.norms.batch import channels_of
from neurosim.norms.moments import ChannelMoments, moments
from neurosim.random import Stream

Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class AbsorbedReport:
    """Two layers of which one feeds the other.

    Args:
        first, second: Their paths; the first is the norm, where one stands behind the weights.
        status: Whether biases were absorbed.
        channels: How many channels were moved.
        largest: By how much at most.
        reason: Why they were left, for people.
    """

    first: str
    second: str
    status: Literal["absorbed", "left"]
    channels: int = 0
    largest: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class Absorption:
    """The report that :func:`absorb_bias` leaves at ``model.absorption``; ``print`` shows it as a table.

    Args:
        pairs: One entry for every layer with weights that is followed by another.
    """

    pairs: tuple[AbsorbedReport, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data: JSON-able."""
        return asdict(self)

    def __str__(self) -> str:
        done = sum(pair.status == "absorbed" for pair in self.pairs)
        head = f"biases of {done} layers absorbed by the next, {len(self.pairs) - done} left"
        rows = [(pair.first, pair.second, pair.status, str(pair.channels), f"{pair.largest:.3g}", pair.reason) for pair in self.pairs]
        return "\n".join([head, *(table(("layer", "feeds", "status", "channels", "largest", "reason"), rows) if rows else [])])


def absorbed(mean: Tensor, std: Tensor, sigmas: float = 3.0) -> Tensor:
    r"""What nearly all values of a normal distribution exceed, if that is positive.

    .. math:: c = \max(0, \beta - 3\gamma)

    Args:
        mean: β.
        std: γ; of its sign nothing depends.
        sigmas: How many standard deviations below the mean.

    Source:
        M. Nagel et al., "Data-free quantization through weight equalization and bias correction", ICCV 2019, section 4.1.3.

    >>> absorbed(torch.tensor([5.0, 1.0]), torch.tensor([1.0, -1.0]))
    tensor([2., 0.])
    """
    return (mean - sigmas * std.abs()).clamp(min=0)


def absorb_bias(
    model: Model, loader: Calibration | None = None, *, sigmas: float = 3.0, stream: Stream | None = None, inplace: bool = False
) -> Model:
    r"""A copy of a model whose channels with high biases need less range: what they have in common is added in the next layer.

    Behind a ReLU, channels whose pre-activations lie above c give :math:`\max(0, z) = \max(0, z - c) + c`, so that

    .. math:: b_1 \leftarrow b_1 - c, \qquad b_2 \leftarrow b_2 + W_2 c, \qquad c = \max(0, \beta - 3\gamma)

    The network computes the same for inputs whose pre-activations stay above c, and differs by c at most in the others. Dropout is that of
    evaluation.

    Args:
        model: Digital, or on hardware: its clean biases change. Neighbours must be certain, as for :func:`neurosim.equalize`.
        loader: Inputs, of which β and γ are taken: mean and standard deviation of pre-activations in the digital model. Without, they are
            those that a batch norm in front of the ReLU promises; layers without are left.
        sigmas: In place of 3; the larger, the fewer pre-activations lie below c.
        stream: For models that take one: batch n is run with draw n of it.
        inplace: Change ``model`` itself.

    Returns:
        The model, with the report at ``model.absorption``. Where a constant does not pass on as one (padding with zeros, transposed
        convolutions, anything but ReLUs and pooling between), layers are left, with the reason.

    Raises:
        ConfigError: ``sigmas`` is out of its domain, or the loader has no data.
        DataError: The model does not take the inputs. ``model`` is unchanged after both.

    Source:
        M. Nagel et al., "Data-free quantization through weight equalization and bias correction", ICCV 2019, section 4.1.3.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.ReLU(), nn.Linear(2, 1)).eval()
    >>> _ = nn.init.constant_(model[1].bias, 5.0)
    >>> print(absorb_bias(model).absorption)
    biases of 1 layers absorbed by the next, 0 left
      layer  feeds  status    channels  largest  reason
      1      3      absorbed  2         2
    """
    check_chip("absorb_bias", model, stream)
    sigmas = number("absorb_bias: sigmas", sigmas, ge=0)
    target = model if inplace else copy.deepcopy(model)
    root = nn.ModuleDict({"model": target})
    uses, pairs, reports = Uses(root), [], {}
    for chain in chains(root, reads=(*WEIGHTED, AnalogLayer, _BatchNorm)):
        at = [index for index, place in enumerate(chain) if weighted(place.module)]
        for one, other in pairwise(at):
            segment = chain[one : other + 1]
            source = segment[1] if isinstance(segment[1].module, _BatchNorm) else segment[0]
            try:
                _check(segment, source, uses, loader is not None)
            except ConversionError as error:
                reports[source.path] = AbsorbedReport(source.path, segment[-1].path, "left", reason=str(error))
            else:
                pairs.append((source, segment[-1]))
    found = _measured(target, [source for source, _ in pairs], loader, stream) if loader is not None else {}
    for source, second in pairs:
        norm: Any = source.module
        if loader is None:
            c = absorbed(norm.bias.detach(), norm.weight.detach(), sigmas)
        elif source.path in found:
            c = absorbed(found[source.path].mean, found[source.path].variance.sqrt(), sigmas)
        else:
            reports[source.path] = AbsorbedReport(source.path, second.path, "left", reason="no input reached it")
            continue
        _move(source.module, second.module, c)
        reports[source.path] = AbsorbedReport(source.path, second.path, "absorbed", int((c > 0).sum()), float(c.max()))
    order = {path: at for at, (path, _) in enumerate(target.named_modules(remove_duplicate=False))}
    report: Any = target
    report.absorption = Absorption(tuple(sorted(reports.values(), key=lambda pair: order[pair.first])))
    return target


def _check(segment: list[Place], source: Place, uses: Uses, data: bool) -> None:
    """Raise unless a constant behind ``source`` arrives at the last layer as one.

    Raises:
        ConversionError: With the reason.
    """
    first, second = segment[0], segment[-1]
    normed = source is not first
    check_between([first, *segment[2 if normed else 1 :]], uses)
    norm: Any = source.module
    if normed and (not norm.affine or norm.running_mean is None or uses.shared(norm)):
        raise ConversionError(f"the {type(norm).__name__} between them must have a bias and statistics of its own")
    if not normed and not data:
        raise ConversionError("no batch norm says what its outputs are; give data")
    if not normed and isinstance(first.module, TRANSPOSED) and norm.output_padding not in (0, (0,) * len(norm.output_padding)):
        raise ConversionError("outputs that nothing reaches have only the bias")
    layer: Any = second.module
    if isinstance(layer, TRANSPOSED):
        raise ConversionError("windows of the transposed convolution overlap in some places more than in others")
    if isinstance(layer, _ConvNd) and layer.padding_mode == "zeros" and layer.padding not in ("valid", (0,) * len(layer.kernel_size)):
        raise ConversionError("the convolution is padded with zeros, which a constant would not pass")
    for place in segment[1:-1]:
        pool: Any = place.module
        name = type(pool).__name__
        if name.startswith("AvgPool") and pool.padding not in (0, (0,), (0, 0), (0, 0, 0)):
            raise ConversionError(f"the {name} between them is padded with zeros, which a constant would not pass")
        if getattr(pool, "divisor_override", None) is not None:
            raise ConversionError(f"the {name} between them divides by a number of its own, and makes another constant of one")


def _move(first: nn.Module, second: nn.Module, c: Tensor) -> None:
    """Take a constant of every channel out of one layer, and add what the next makes of it there."""
    held = cells(second)  # (groups, outputs, inputs, kernel)
    by_input = c.to(held).repeat_interleave(held.shape[0] * held.shape[2] // c.numel()).reshape(held.shape[0], held.shape[2])
    add_to_bias(first, -c)
    add_to_bias(second, torch.einsum("goik,gi->go", held, by_input).flatten())


class _Outputs:
    """Watches modules, and gathers the moments of the channels that they give."""

    def __init__(self, paths: dict[int, str]) -> None:
        self.paths = paths
        self.seen: dict[str, ChannelMoments] = {}

    def wants_membrane(self, module: nn.Module) -> bool:
        return False

    def enter(self, module: nn.Module, x: Any) -> None:
        pass

    def leave(self, module: nn.Module, result: Any, membrane: Tensor | None) -> None:
        if not isinstance(result, Tensor):
            return
        path, layer = self.paths[id(module)], module
        axis = channels_of(layer) if isinstance(layer, _BatchNorm) else -1 - len(getattr(layer, "kernel_size", ()))
        new = moments(result, [axis % result.dim()])
        self.seen[path] = self.seen[path].merge(new) if path in self.seen else new


def _measured(model: nn.Module, sources: list[Place], loader: Calibration, stream: Stream | None) -> dict[str, ChannelMoments]:
    """The moments of what these modules give in the digital model."""
    return watch_ideal("absorb_bias", model, [place.path for place in sources], _Outputs, loader, stream).seen

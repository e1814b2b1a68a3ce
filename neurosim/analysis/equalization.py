"""Cross-layer equalisation: weights of neighbouring layers use the same range, while the network computes the same."""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Final, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from neurosim.activations.rectifiers import PReLU
from neurosim.analysis.inputs import check_chip
from neurosim.checks import number, whole
from neurosim.convert.affine import TRANSPOSED, WEIGHTED
from neurosim.convert.places import Place, Uses, chains, hooked
from neurosim.convert.report import table
from neurosim.errors import ConversionError
from neurosim.nn.analog import AnalogLayer

Model = TypeVar("Model", bound=nn.Module)

#: f(s x) = s f(x) for every s > 0, element by element
HOMOGENEOUS: Final = (nn.Identity, nn.ReLU, nn.LeakyReLU, nn.PReLU, PReLU, nn.Dropout)
#: the same, for each channel of a convolution
BY_CHANNEL: Final = (
    *(nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.Flatten),
    *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
    *(nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
)


@dataclass(frozen=True)
class PairReport:
    """Two layers of which one feeds the other.

    Args:
        first, second: Their paths.
        status: Whether they were equalised.
        use_before, use_after: How much of the range of both layers the channels between them use: the mean of the product of two shares,
            those of a channel's largest weight in the largest weight of its layer.
        reason: Why they were left, for people.
    """

    first: str
    second: str
    status: Literal["equalised", "left"]
    use_before: float
    use_after: float
    reason: str = ""


@dataclass(frozen=True)
class Equalization:
    """The report that :func:`equalize` leaves at ``model.equalization``; ``print`` shows it as a table.

    Args:
        pairs: One entry for every layer with weights that is followed by another.
        rounds: How often all pairs were gone through.
    """

    pairs: tuple[PairReport, ...]
    rounds: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data: JSON-able."""
        return asdict(self)

    def __str__(self) -> str:
        done = sum(pair.status == "equalised" for pair in self.pairs)
        head = f"{done} pairs of layers equalised in {self.rounds} rounds, {len(self.pairs) - done} left"
        rows = [
            (pair.first, pair.second, pair.status, f"{pair.use_before:.3g}", f"{pair.use_after:.3g}", pair.reason) for pair in self.pairs
        ]
        return "\n".join([head, *(table(("layer", "feeds", "status", "use", "now", "reason"), rows) if rows else [])])


def equalizing_factors(outgoing: Tensor, incoming: Tensor) -> Tensor:
    r"""What each channel between two layers is divided by, so that both layers have the same range in it.

    .. math:: s_i = \sqrt{r^{(1)}_i / r^{(2)}_i}, \qquad r^{(1)}_i / s_i = r^{(2)}_i s_i = \sqrt{r^{(1)}_i r^{(2)}_i}

    Args:
        outgoing: Largest magnitude of the first layer's weights for every channel.
        incoming: That of the second layer's.

    Returns:
        Positive; 1 for channels of which one range is 0. Of 16-bit types float32, which they may exceed.

    Source:
        M. Nagel et al., "Data-free quantization through weight equalization and bias correction", ICCV 2019, section 4.1.

    >>> equalizing_factors(torch.tensor([4.0, 1.0, 0.0]), torch.tensor([1.0, 4.0, 1.0]))
    tensor([2.0000, 0.5000, 1.0000])
    """
    used, wide = (outgoing > 0) & (incoming > 0), torch.promote_types(outgoing.dtype, torch.float32)
    first, second = (torch.where(used, one.to(wide), 1.0) for one in (outgoing, incoming))
    ratio = first / second  # which may be beyond the type when its root is not
    kept = ratio.isfinite() & (ratio >= torch.finfo(wide).tiny)
    return torch.where(kept, ratio.sqrt(), first.sqrt() / second.sqrt())


def equalize(model: Model, *, rounds: int = 50, tolerance: float = 1e-4, inplace: bool = False) -> Model:
    r"""A copy of a model whose neighbouring layers use the same range of weights in every channel between them; it computes the same.

    Channels whose weights are small leave most of the levels or conductances of a cell unused when a layer has one range. Between two
    layers with nothing but functions with :math:`f(s x) = s f(x)`, a channel can be made larger in one layer and smaller in the next:

    .. math:: W_2\, f(W_1 x + b_1) = (W_2 S)\, f(S^{-1} W_1 x + S^{-1} b_1)

    Args:
        model: Digital, or on hardware: its clean weights change. Neighbours must be certain, as for :func:`neurosim.fold`; fold first.
        rounds: How often to go through all pairs at most: equalising one changes the next.
        tolerance: Stop when no factor differs from 1 by more.
        inplace: Change ``model`` itself.

    Returns:
        The model, with the report at ``model.equalization``. Pairs with anything else between them, as GELU, are left, with the reason.

    Raises:
        ConfigError: ``rounds`` or ``tolerance`` is out of its domain.

    Source:
        M. Nagel et al., "Data-free quantization through weight equalization and bias correction", ICCV 2019, section 4.1.

    >>> model = nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 2))
    >>> print(equalize(model).equalization.pairs[0].reason)
    GELU is between them, and no factor passes through it
    """
    check_chip("equalize", model)
    rounds = whole("equalize: rounds", rounds, 1)
    tolerance = number("equalize: tolerance", tolerance, gt=0)
    model = model if inplace else copy.deepcopy(model)
    root = nn.ModuleDict({"model": model})
    uses = Uses(root)
    pairs: list[tuple[Place, Place]] = []
    left: list[PairReport] = []
    for chain in chains(root, reads=(*WEIGHTED, AnalogLayer)):
        at = [index for index, place in enumerate(chain) if weighted(place.module)]
        for one, other in pairwise(at):
            first, second = chain[one], chain[other]
            try:
                check_between(chain[one : other + 1], uses)
            except ConversionError as error:
                now = _use(first.module, second.module)
                left.append(PairReport(first.path, second.path, "left", now, now, str(error)))
            else:
                pairs.append((first, second))
    before = [_use(first.module, second.module) for first, second in pairs]
    done, change = 0, math.inf if pairs else 0.0
    with torch.no_grad():
        while done < rounds and change > tolerance:
            change = max(_equalize(first.module, second.module) for first, second in pairs)
            done += 1
    found = [
        PairReport(first.path, second.path, "equalised", then, _use(first.module, second.module))
        for (first, second), then in zip(pairs, before, strict=True)
    ]
    order = {path: at for at, (path, _) in enumerate(model.named_modules(remove_duplicate=False))}
    report: Any = model
    report.equalization = Equalization(tuple(sorted([*found, *left], key=lambda pair: order[pair.first])), done)
    return model


def weighted(module: nn.Module) -> bool:
    """Whether it is a product with weights that channels can be scaled in."""
    return type(module) in WEIGHTED or isinstance(module, AnalogLayer)


def check_between(chain: list[Place], uses: Uses) -> None:
    """Raise unless channels can be scaled between the first layer and the last.

    Raises:
        ConversionError: With the reason.
    """
    first, *between = (place.module for place in chain[:-1])
    after_convolution = not isinstance(first, nn.Linear)
    for module in between:
        name = type(module).__name__
        if isinstance(module, _BatchNorm):
            raise ConversionError(f"{name} is between them; neurosim.fold(model) first makes it part of the weights")
        if type(module) not in (*HOMOGENEOUS, *(BY_CHANNEL if after_convolution else (nn.Flatten,))):
            raise ConversionError(f"{name} is between them, and no factor passes through it")
        if hooked(module):
            raise ConversionError(f"the {name} between them has hooks")
    check_channels(chain, uses)


def check_channels(chain: list[Place], uses: Uses) -> None:
    """Raise unless both ends stand alone, own their weights, and the channels of one are inputs of the other.

    Raises:
        ConversionError: With the reason.
    """
    first, *between, second = (place.module for place in chain)
    after_convolution = not isinstance(first, nn.Linear)
    for layer in (first, second):
        name = type(layer).__name__
        if uses.shared(layer):
            raise ConversionError(f"the {name} is used in several places")
        if hooked(layer):
            raise ConversionError(f"the {name} has hooks")
        if "weight" not in layer._parameters:
            raise ConversionError(f"the weight of the {name} is computed from other parameters")
    channels, inputs = _outgoing(first).numel(), _incoming(second).numel()
    flat = [module for module in between if isinstance(module, nn.Flatten)]
    if after_convolution and isinstance(second, nn.Linear):
        fits = [(one.start_dim, one.end_dim) for one in flat] == [(1, -1)] and inputs % channels == 0
    else:
        fits = inputs == channels and after_convolution != isinstance(second, nn.Linear) and not (after_convolution and flat)
    if not fits:
        raise ConversionError(f"{channels} channels come out of the first, and {inputs} inputs of the second are not known to be these")


def _equalize(first: nn.Module, second: nn.Module) -> float:
    """One step; how far the largest factor is from 1."""
    outgoing, incoming = _outgoing(first), _incoming(second)
    s = equalizing_factors(outgoing.flatten(), incoming.reshape(outgoing.numel(), -1).amax(1))
    cells(first).div_(s.reshape(*outgoing.shape, 1, 1))
    bias = first._parameters["bias"]
    if bias is not None:
        bias.div_(s)
    groups = cells(second).shape[0]
    cells(second).mul_(s.repeat_interleave(incoming.numel() // s.numel()).reshape(groups, 1, -1, 1))
    return float((s - 1).abs().max())


def cells(layer: nn.Module, like_weight: Tensor | None = None) -> Tensor:
    """The weights, or what has their shape, as ``(groups, outputs, inputs, kernel)``: a view."""
    module: Any = layer  # one that weighted let through
    weight: Tensor = module.weight.detach() if like_weight is None else like_weight
    groups = 1 if isinstance(module, nn.Linear) else module.groups
    grouped = weight.view(groups, weight.shape[0] // groups, weight.shape[1], -1)
    return grouped.transpose(1, 2) if isinstance(module, TRANSPOSED) else grouped


def _outgoing(layer: nn.Module) -> Tensor:
    """The range of every output, ``(groups, outputs)``."""
    return cells(layer).abs().amax((2, 3))


def _incoming(layer: nn.Module) -> Tensor:
    """The range of every input, ``(groups · inputs,)``."""
    return cells(layer).abs().amax((1, 3)).flatten()


def _use(first: nn.Module, second: nn.Module) -> float:
    outgoing, incoming = _outgoing(first).flatten(), _incoming(second)
    if not outgoing.numel() or incoming.numel() % outgoing.numel():
        return 0.0
    parts = (r / r.amax().clamp(min=torch.finfo(r.dtype).tiny) for r in (outgoing, incoming.reshape(outgoing.numel(), -1).amax(1)))
    one, other = parts
    return float((one * other).mean())

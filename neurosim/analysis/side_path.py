"""A thin digital path beside an array, which gives back what the array's wrong weights take: LoRC, for a measured chip."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from neurosim.analysis.inputs import check_chip
from neurosim.analysis.weight_error import effective_weight
from neurosim.checks import whole
from neurosim.convert.report import table
from neurosim.convert.select import select_layers
from neurosim.errors import ConfigError
from neurosim.nn.analog import AnalogLayer
from neurosim.nn.wrappers import unwrapped
from neurosim.quantizers import low_rank_factors

Model = TypeVar("Model", bound=nn.Module)
_NAME = "side_path"


class SidePath(nn.Module):
    """Two thin matrices for each group of a layer, whose product is added to what its array computes.

    Args:
        left: U, ``(groups, outputs, rank)``.
        right: V, ``(groups, rank, inputs)``.
    """

    left: Tensor
    right: Tensor

    def __init__(self, left: Tensor, right: Tensor) -> None:
        super().__init__()
        self.register_buffer("left", left)
        self.register_buffer("right", right)

    def forward(self) -> Tensor:
        """The product, ``(groups, outputs, inputs)``."""
        return self.left @ self.right

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"rank={self.left.shape[-1]}"


@dataclass(frozen=True)
class SidePathReport:
    """One layer.

    Args:
        layer: Its path.
        status: Whether it got a side path.
        before: Root of the mean square of the error of its weights.
        after: The same with the side path.
        work: Multiplications of the side path, as a share of those of the layer.
        reason: Why it was left, for people.
    """

    layer: str
    status: Literal["added", "left"]
    before: float
    after: float
    work: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class SidePaths:
    """The report that :func:`add_side_paths` leaves at ``model.side_paths``; ``print`` shows it as a table.

    Args:
        rank: That was asked for.
        layers: One entry for every layer.
    """

    rank: int
    layers: tuple[SidePathReport, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data: JSON-able."""
        return asdict(self)

    def __str__(self) -> str:
        head = f"side paths of rank {self.rank} beside {sum(one.status == 'added' for one in self.layers)} of {len(self.layers)} layers"
        rows = [
            (one.layer or "(model)", one.status, f"{one.before:.3g}", f"{one.after:.3g}", f"{100 * one.work:.2g} %", one.reason)
            for one in self.layers
        ]
        return "\n".join([head, *table(("layer", "status", "weight error", "now", "work", "reason"), rows)])


def add_side_paths(model: Model, rank: int, *, layers: str | Sequence[str] | None = None, inplace: bool = False) -> Model:
    r"""A copy of a model on hardware with a digital path of low rank beside each array, for the error of this chip's weights.

    .. math:: y = \hat W x + U (V x), \qquad U V = \arg\min_{\operatorname{rank} r} \lVert W - \hat W - U V \rVert_F

    with :math:`\hat W` measured (:func:`neurosim.analysis.effective_weight`, which counts side paths in from then on, and so do repairs
    that come later). The squared error that is left is the sum of the squares of the singular values that are left out: much is gained
    where errors have a structure, as whole rows, columns or tiles with another gain; little where they are independent. Where a chain is
    ideal the path is not used. It is for one chip at one time, and in the ``state_dict`` of the model.

    Args:
        model: A converted model, at the chip and time for which it is to be corrected.
        rank: r ≥ 1 of each group of a layer; a layer whose smaller side is less gets that.
        layers: Globs over the paths of analog layers; None is all.
        inplace: Change ``model`` itself.

    Returns:
        The model, with the report at ``model.side_paths``.

    Raises:
        ConfigError: ``rank`` is out of its domain, the model has no layer on hardware, a glob names none, or a layer has a side path.
            ``model`` is then unchanged.

    Source:
        Z. Yao et al., "ZeroQuant-V2: exploring post-training quantization in LLMs from comprehensive study to low rank compensation",
        arXiv 2303.08302 (2023): LoRC, with a measured error in place of that of rounding.

    >>> import neurosim as ns
    >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
    <...>
    >>> chip = ns.to_analog(nn.Sequential(nn.Linear(6, 4)), "photonic_avnn", seed=0)
    >>> better = add_side_paths(chip, 4)
    >>> better.side_paths.layers[0].after < 1e-6 < better.side_paths.layers[0].before
    True
    """
    check_chip("add_side_paths", model)
    whole("add_side_paths: rank", rank, 1)
    named = select_layers(unwrapped(model), layers, "add_side_paths: layers")
    if taken := [path for path, layer in named.items() if _NAME in layer._modules]:
        raise ConfigError(f"add_side_paths: {taken[0] or '(model)'} has a side path; start from the model without it")
    paths: dict[str, SidePath] = {}
    reports: list[SidePathReport] = []
    for path, layer in named.items():
        if not isinstance(layer, AnalogLayer):
            reports.append(SidePathReport(path, "left", 0.0, 0.0, reason="it is no layer with one product"))
            continue
        wanted, held = layer.matrix(layer.weight.detach()), layer.matrix(effective_weight(layer).weight)
        before = _rms(wanted - held)
        if wanted.is_complex():
            reports.append(SidePathReport(path, "left", before, before, reason="its weights are complex"))
            continue
        _, outputs, inputs = wanted.shape
        most = min(rank, outputs, inputs)
        factors = [low_rank_factors(*pair, most) for pair in zip(wanted, held, strict=True)]
        paths[path] = SidePath(*(torch.stack(one) for one in zip(*factors, strict=True)))
        after = _rms(wanted - held - paths[path]())
        reports.append(SidePathReport(path, "added", before, after, most * (outputs + inputs) / (outputs * inputs)))
    target = model if inplace else copy.deepcopy(model)
    for path, side in paths.items():
        real = unwrapped(target).get_submodule(path)
        real.add_module(_NAME, side)
        real.register_forward_hook(_beside, with_kwargs=True)
    report: Any = target
    report.side_paths = SidePaths(rank, tuple(reports))
    return target


def _rms(error: Tensor) -> float:
    size = error.abs()
    return float(size.to(torch.promote_types(size.dtype, torch.float32)).square().mean().sqrt())


def _beside(layer: nn.Module, args: tuple[Any, ...], named: dict[str, Any], y: Tensor) -> Tensor | None:
    """Add what the side path computes, unless the layer is the digital one."""
    if not isinstance(layer, AnalogLayer) or layer.chain.bypassed:
        return None
    x, *how = args if args else (named["input"],)
    path: Any = layer._modules[_NAME]
    return y + layer.mvm(x, layer.native(path()).to(x.dtype), None, *how).to(y.dtype)

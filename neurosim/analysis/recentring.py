"""Inputs about 0 and in one range: offsets go into biases, scales into weights, before a model is mapped."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from neurosim.analysis.biases import add_to_bias
from neurosim.analysis.equalization import cells
from neurosim.analysis.ideal import watch_ideal
from neurosim.analysis.inputs import check_chip
from neurosim.checks import flag, one_of
from neurosim.convert.affine import TRANSPOSED, WEIGHTED
from neurosim.convert.calibration import Calibration
from neurosim.convert.fused_path import drop_fused_path
from neurosim.convert.report import table
from neurosim.convert.select import Selection, as_list, check_globs, matches
from neurosim.errors import ConfigError
from neurosim.nn.recentred import Recentred
from neurosim.nn.wrappers import unwrapped
from neurosim.quantizers import shift_limits
from neurosim.random import Stream

Model = TypeVar("Model", bound=nn.Module)
Scaling = Literal["range", "power_of_two", "none"]
_GROUPS: Final = 8  #: of ranges that are powers of two of one another


@dataclass(frozen=True)
class RecentredReport:
    """One layer.

    Args:
        layer: Its path.
        status: Whether its inputs arrive otherwise now.
        before: Largest magnitude of its inputs.
        after: The same now.
        balance: Mean, over channels that change, of the largest magnitude now, as a share of the largest; 1: all use the whole range.
        reason: Why it was left, or not centred, for people.
    """

    layer: str
    status: Literal["recentred", "left"]
    before: float = 0.0
    after: float = 0.0
    balance: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class Recentring:
    """The report that :func:`recentre` leaves at ``model.recentring``; ``print`` shows it as a table.

    Args:
        layers: One entry for every layer.
    """

    layers: tuple[RecentredReport, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data: JSON-able."""
        return asdict(self)

    def __str__(self) -> str:
        head = f"inputs of {sum(one.status == 'recentred' for one in self.layers)} of {len(self.layers)} layers recentred"
        rows = [
            (one.layer or "(model)", one.status, f"±{one.before:.3g}", f"±{one.after:.3g}", f"{one.balance:.2g}", one.reason)
            for one in self.layers
        ]
        return "\n".join([head, *table(("layer", "status", "inputs", "now", "balance", "note"), rows)])


def recentre(
    model: Model,
    loader: Calibration,
    *,
    shift: bool = True,
    scale: Scaling = "none",
    layers: Selection = None,
    stream: Stream | None = None,
    inplace: bool = False,
) -> Model:
    r"""A copy of a model whose layers get inputs about 0 and, if asked for, in one range for all channels; it computes the same.

    .. math:: W x + b = (W S)\,S^{-1} (x - m) + (b + W m), \qquad m_c = \tfrac12 (\min x_c + \max x_c)

    A converter of either sign wastes half of its levels on what comes from a ReLU; centred, half the range holds it. Channels of small
    range use few levels; divided by s they use all, and their weights become smaller instead. With ``power_of_two`` a gain is a change of
    the exponent, exact in floating-point formats: the tensor's range times :math:`2^{-k_c}`, with the whole numbers moved into the weights.

    Biases grow by W m: on hardware whose cells hold them they need the range for it, or are digital (``bias: null``).

    Args:
        model: Digital, or on hardware: its clean weights change. Fold and equalise first: neighbours are no neighbours afterwards.
        loader: Inputs like those that the model will see: a tensor, or batches that begin with one.
        shift: Whether to centre. Layers that pad with zeros, and transposed convolutions, are not: their borders would need m.
        scale: s: ``none``; ``range``: the largest magnitude of the channel over that of the layer; ``power_of_two``: the power of two at
            or above it, 2⁻⁷ at least.
        layers: Globs over the paths of layers, or types; None is all.
        stream: For models that take one: batch n is run with draw n of it.
        inplace: Change ``model`` itself.

    Returns:
        The model, with a :class:`neurosim.nn.Recentred` in the place of each layer whose inputs change, and the report at
        ``model.recentring``.

    Raises:
        ConfigError: An argument is out of its domain, a glob names nothing, the loader has no data, or the model is itself a layer and is
            to be changed in place.
        DataError: The model does not take the inputs. ``model`` is unchanged after both.

    Source:
        J. Wang et al., "OutlierTune: efficient channel-wise quantization for large language models", arXiv 2406.18832 (2024): scales of
        activations in weights, and symmetrization; S. Liu et al., "LLM-FP4: 4-bit floating-point quantized transformers", EMNLP 2023:
        exponents of channels moved into weights.

    >>> model = nn.Sequential(nn.Linear(2, 2))
    >>> x = torch.tensor([[0.0, 0.0], [4.0, 1.0]])
    >>> found = recentre(model, x, scale="range")
    >>> found[0].offset, found[0].scale
    (tensor([2.0000, 0.5000]), tensor([1.0000, 0.2500]))
    >>> bool(torch.allclose(found(x), model(x), atol=1e-6))
    True
    """
    check_chip("recentre", model, stream)
    flag("recentre: shift", shift)
    one_of("recentre: scale", scale, ("range", "power_of_two", "none"))
    bare = unwrapped(model)
    named = {path: module for path, module in bare.named_modules() if isinstance(module, WEIGHTED)}
    done = [path for path, module in bare.named_modules() if isinstance(module, Recentred)]
    check_globs("recentre: layers", as_list(layers), named, "layer")
    chosen = [path for path, module in named.items() if layers is None or matches(path, module, layers)]
    if not chosen:
        raise ConfigError("recentre: the model must have a linear layer or a convolution, has none that is chosen")
    if taken := [path for path in chosen if path.rpartition(".")[0] in done]:
        raise ConfigError(f"recentre: {taken[0]} is recentred already")
    if inplace and "" in chosen:
        raise ConfigError("recentre: a model that is itself a layer cannot be changed in place; use what is returned")
    ends = _ends(bare, chosen, loader, stream)
    target = model if inplace else copy.deepcopy(model)
    root = nn.ModuleDict({"model": unwrapped(target)})
    tied = Counter(id(value) for module in root.modules() for value in module._parameters.values())
    made: dict[int, nn.Module] = {}
    reports = []
    for path in chosen:
        layer = unwrapped(target).get_submodule(path)
        if path not in ends:
            reports.append(RecentredReport(path, "left", reason="no input reached it as a module that is called"))
        elif "weight" not in layer._parameters or _is_complex(layer) or tied[id(layer.weight)] > 1:
            reports.append(RecentredReport(path, "left", reason="its weight is complex, shared, or computed from other parameters"))
        else:
            wrapped, report = _recentred(path, layer, *ends[path], shift, scale)
            reports.append(report)
            if wrapped is not None:
                made[id(layer)] = wrapped
    _place(root, made)
    result: Any = target if unwrapped(target) is not target else root["model"]
    result.recentring = Recentring(tuple(reports))
    changed: Model = result
    return changed


@torch.no_grad()
def _recentred(
    path: str, layer: nn.Module, low: Tensor, high: Tensor, shift: bool, scale: Scaling
) -> tuple[Recentred | None, RecentredReport]:
    """A layer that is given the weights for other inputs, in front of which they are made; None where they stay as they are."""
    reason = _obstacle(layer) if shift else ""
    held = cells(layer)  # (groups, outputs, inputs, kernel)
    offset = (low + high) / 2 if shift and not reason else torch.zeros_like(low)
    limits = torch.maximum((low - offset).abs(), (high - offset).abs())
    most = limits.amax()
    s = torch.ones_like(limits)
    if scale != "none" and bool(most > 0):
        wanted = limits if scale == "range" else shift_limits(limits, _GROUPS)
        s = torch.where(limits > 0, wanted / most, 1.0)
    offset, s = offset.to(held), s.to(held)
    by_input = (one.reshape(held.shape[0], held.shape[2]) for one in (offset, s))
    moved, factors = by_input
    if bool(offset.any()):
        add_to_bias(layer, torch.einsum("goik,gi->go", held, moved).flatten())
    held.mul_(factors.reshape(held.shape[0], 1, held.shape[2], 1))
    now = limits / s.to(limits)
    balance = float((now[limits > 0] / now.amax()).mean()) if bool(most > 0) else 1.0
    before = float(torch.maximum(low.abs(), high.abs()).amax())
    if not bool(offset.any()) and bool((s == 1).all()):
        return None, RecentredReport(path, "left", before, float(now.amax()), balance, reason or "its inputs are so already")
    report = RecentredReport(path, "recentred", before, float(now.amax()), balance, reason)
    return Recentred(layer, offset, s, len(getattr(layer, "kernel_size", ()))).train(layer.training), report


def _obstacle(layer: nn.Module) -> str:
    """Why a constant in front of a layer is not one behind it; empty where it is."""
    if isinstance(layer, TRANSPOSED):
        return "not centred: windows overlap in some places more than in others"
    if isinstance(layer, _ConvNd) and layer.padding_mode == "zeros" and layer.padding not in ("valid", (0,) * len(layer.kernel_size)):
        return "not centred: it pads with zeros"
    return ""


def _is_complex(layer: nn.Module) -> bool:
    return any(value.is_complex() for value in layer.parameters(recurse=False))


def _place(root: nn.Module, made: dict[int, nn.Module]) -> None:
    """Put modules in the places of others, wherever these stand."""
    places = [(parent, name, child) for parent in root.modules() for name, child in parent._modules.items() if id(child) in made]
    for parent, name, child in places:
        parent._modules[name] = made[id(child)]
    drop_fused_path(root, made.values())


class _Ends:
    """Watches layers, and keeps the ends of what each channel of their inputs was."""

    def __init__(self, paths: dict[int, str]) -> None:
        self.paths = paths
        self.found: dict[str, tuple[Tensor, Tensor]] = {}

    def wants_membrane(self, module: nn.Module) -> bool:
        return False

    def enter(self, module: nn.Module, x: Any) -> None:
        path = self.paths[id(module)]
        if not isinstance(x, Tensor) or x.is_complex():
            return
        channels = x.detach().movedim(-1 - len(getattr(module, "kernel_size", ())), 0).flatten(1).double()
        low, high = channels.amin(1), channels.amax(1)
        if path in self.found:
            low, high = torch.minimum(low, self.found[path][0]), torch.maximum(high, self.found[path][1])
        self.found[path] = low, high

    def leave(self, module: nn.Module, result: Any, membrane: Tensor | None) -> None:
        pass


def _ends(model: nn.Module, chosen: list[str], loader: Calibration, stream: Stream | None) -> dict[str, tuple[Tensor, Tensor]]:
    """Lower and upper end of every input channel of these layers, in the digital model."""
    return watch_ideal("recentre", model, chosen, _Ends, loader, stream).found

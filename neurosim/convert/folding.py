"""Folding: norms that computed the same for every sample become part of weights and thresholds."""

from __future__ import annotations

import copy
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from neurosim.checks import flag, number
from neurosim.convert.affine import WEIGHTED, affine_of, centers, check_axis, fold_after, fold_before
from neurosim.convert.folding_report import Folding, NormReport
from neurosim.convert.given import check_model
from neurosim.convert.parametrized import check_constant, check_copies, computed, make_plain
from neurosim.convert.places import Forwards, Place, Uses, chains, hooked, neighbour
from neurosim.ei import check
from neurosim.errors import ConfigError, ConversionError
from neurosim.nn.analog import HardwareLayer
from neurosim.nn.composed import ComposedLayer
from neurosim.nn.mpbn import MPBN
from neurosim.norms import Norm, Scalar
from neurosim.random import Stream

_PER_SAMPLE: Final = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
_NORMS: Final = (Norm, Scalar, _BatchNorm, MPBN, *_PER_SAMPLE)


def fold(
    model: nn.Module, batch: Tensor | None = None, *, tolerance: float | None = None, stream: Stream | None = None, inplace: bool = False
) -> nn.Module:
    r"""A copy of a model for inference, without the norms that its weights and thresholds can take over.

    ============================================================ ==============================================================
    norm                                                         becomes
    ============================================================ ==============================================================
    batch norm of torch or over time, after a layer with weights part of its weights and bias
    the same, before a layer with weights and after none         part of that one's
    instance norm of torch that tracks statistics                as a batch norm, except beside a linear layer
    MPBN                                                         thresholds and signs of its neuron, with the same spikes
    BNTT, TEBN                                                   as a batch norm, if all steps have the same scale and shift
    any other whose ``fold`` gives a scale and a shift           the same; of an online norm, its clamp stays
    any that :func:`freeze_statistics` has frozen                the same, its centring as well
    a parametrization of weights, torch's or ours                the weights that it computes
    ============================================================ ==============================================================

    What feeds a norm must be certain: neighbours in ``nn.Sequential``, ``SpikingSequential``, ``SpikingGraph`` and ``TimeFold``, however
    they are nested and wherever they lie in the model, with nothing between them; and modules that a ``forward`` of one's own calls once
    each, one on what the other gave, where ``torch.fx`` can read it and it takes the input only. (A norm with channels on axis 1 beside a
    ``Linear`` is taken to normalise its features, as it does for inputs with two axes; with a batch to look at, it is left otherwise.)
    Nothing is certain in a module of which a forward further out uses a part by itself. A forward that cannot be read is taken to use what
    its module holds as it is; the report names it. Everything else is left as it is, with the reason in the report. So is a norm between
    no weights and a neuron: its shift would move the potential at which the neuron rests, and with it the one it starts from.

    Weights are rounded once, so outputs of digital layers change by a few units in the last place, and a neuron whose membrane comes that
    close to its threshold may fire a step sooner or later. A batch shows how much that is.

    Args:
        model: Any module; norms are folded as they are in evaluation.
        batch: What to call both models with, in evaluation, to compare their outputs.
        tolerance: The largest deviation to accept; needs a batch.
        stream: For a model with noise: the one that both are run with.
        inplace: Fold ``model`` itself.

    Returns:
        The model, with the report at ``model.folding``. Folded norms are ``nn.Identity`` now, or what they do beyond scale and shift, so
        that all other names stay.

    Raises:
        ConfigError: An argument is of another kind, there is a tolerance without a batch, or the model is an MPBN and to be folded in
            place.
        ConversionError: The deviation is above the tolerance, excitatory-inhibitory layers have weights below 0, or a weight is computed
            by torch's old ``weight_norm`` or ``spectral_norm``, so that the model cannot be copied. ``model`` is then unchanged.

    Source:
        B. Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only inference", CVPR 2018, section
        3.2 (weights); Y. Guo et al., "Membrane potential batch normalization for spiking neural networks", ICCV 2023 (thresholds).

    >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    >>> print(fold(model).folding)
    1 norms folded, 0 left; not checked on a batch
      norm  type         status  into  reason
      1     BatchNorm2d  folded  0     into the weights of the Conv2d before it
    """
    check_model("fold", model, stream)
    flag("fold: inplace", inplace)
    if batch is not None and not isinstance(batch, Tensor):
        raise ConfigError(f"fold: batch: must be a tensor, got {type(batch).__name__}")
    if tolerance is not None:
        if batch is None:
            raise ConfigError("fold: a tolerance needs a batch to compare on, got none")
        tolerance = number("fold: tolerance", tolerance, ge=0)
    if inplace and isinstance(model, MPBN):
        raise ConfigError("fold: a model that is itself an MPBN cannot be replaced in place; use what fold returns")
    check(model, where="fold", error=ConversionError)
    check_copies("fold", model)
    dims = _dims(model, batch, stream)
    folded, norms, unread = _folded(copy.deepcopy(model), dims)
    deviation = differing = None
    if batch is not None:
        deviation, differing = _compare(model, folded, batch, stream)
        if tolerance is not None and not deviation <= tolerance:
            raise ConversionError(f"fold: outputs must differ by at most {tolerance:g}, got {deviation:g}; the model is unchanged")
    if inplace:
        folded, norms, unread = _folded(model, dims)
    report: Any = folded
    report.folding = Folding(tuple(norms), deviation, differing, unread)
    return folded


def _dims(model: nn.Module, batch: Tensor | None, stream: Stream | None) -> dict[str, int]:
    """How many axes the inputs of every norm have, by its path, as far as the batch shows it."""
    found: dict[str, int] = {}
    if batch is None:
        return found
    looked = copy.deepcopy(model).eval()

    def look(path: str) -> Any:
        def hook(norm: nn.Module, args: tuple[Any, ...]) -> None:
            found[path] = args[0].dim() if args and isinstance(args[0], Tensor) else 0

        return hook

    for path, module in looked.named_modules():
        if isinstance(module, _NORMS) and not isinstance(module, MPBN):
            module.register_forward_pre_hook(look(path))
    with torch.no_grad():
        looked(batch, **({} if stream is None else {"stream": stream}))
    return found


def _folded(model: nn.Module, dims: dict[str, int]) -> tuple[nn.Module, list[NormReport], tuple[str, ...]]:
    """Fold everything that can be; ``model`` is changed. Third, the modules around that whose forward is not known."""
    root = nn.ModuleDict({"model": model})
    uses, forwards = Uses(root), Forwards(root)
    order = {path: at for at, (path, _) in enumerate(model.named_modules(remove_duplicate=False))}
    reports = {id(module): _plain(path, module) for path, module in model.named_modules() if computed(module)}
    neurons: dict[int, nn.Module] = {}
    for chain in chains(root, closed=_NORMS, reads=_NORMS, forwards=forwards):
        for at, place in enumerate(chain):
            norm = place.module
            if isinstance(norm, _NORMS) and id(norm) not in reports:
                reports[id(norm)] = _fold_one(chain, at, uses, neurons, dims)
            if id(norm) in neurons:
                place.parent._modules[place.name] = neurons[id(norm)]
    inside = [path.rpartition(".")[0] for path in (f"model.{one.path}" for one in reports.values() if one.into not in ("", one.path))]
    unread = tuple(
        f"{path.partition('.')[2] or '(model)'} ({type(module).__name__})"
        for path, module in forwards.unread.items()
        if any(one.startswith(f"{path}.") for one in inside)
    )
    return root["model"], sorted(reports.values(), key=lambda report: order[report.path]), unread


def _plain(path: str, module: nn.Module) -> NormReport:
    parts = [part for several in computed(module).values() for part in several]
    kind = ", ".join(dict.fromkeys(type(part).__name__ for part in parts))
    try:
        if isinstance(module, HardwareLayer | ComposedLayer):
            raise ConversionError("its layer is on hardware; make the model digital first")
        check_constant(module)
        make_plain(module)
    except ConversionError as error:
        return NormReport(path, kind, "left", "", str(error))
    return NormReport(path, kind, "folded", path, f"what it computes is the weight of its {type(module).__name__} now")


def _fold_one(chain: list[Place], at: int, uses: Uses, neurons: dict[int, nn.Module], dims: dict[str, int]) -> NormReport:
    place = chain[at]
    norm = place.module
    kind = type(norm).__name__
    try:
        if isinstance(norm, MPBN):
            neurons[id(norm)] = norm.fold().train(norm.training)
            return NormReport(place.path, kind, "folded", place.path, "into the thresholds of its neuron")
        affine = affine_of(norm)
        rest = norm.rest() if isinstance(norm, Norm) else nn.Identity()
        if uses.count(norm) > 1 or hooked(norm):
            raise ConversionError("it is used in several places" if uses.count(norm) > 1 else "it has hooks")
        reasons = []
        for steps, fold_into, where in ((-1, fold_after, "before"), (1, fold_before, "after")):
            other = neighbour(chain, at, steps)
            if other is None:
                reasons.append(f"nothing certain comes {where} it")
                continue
            if steps > 0 and not isinstance(rest, nn.Identity):
                reasons.append(f"{rest} comes between it and what follows")
                continue
            layer: Any = other.module
            name = type(layer).__name__
            try:
                _check_layer(layer, uses, where)
                check_axis(norm, layer, dims.get(place.path))
                fold_into(layer, affine, centers(norm))
            except ConversionError as error:
                reasons.append(str(error))
                continue
            place.parent._modules[place.name] = rest.train(norm.training)
            left = "" if isinstance(rest, nn.Identity) else f"; {rest} is left of it"
            return NormReport(place.path, kind, "folded", other.path, f"into the weights of the {name} {where} it{left}")
        raise ConversionError("; ".join(reasons))
    except ConversionError as error:
        return NormReport(place.path, kind, "left", "", str(error))


def _check_layer(layer: nn.Module, uses: Uses, where: str) -> None:
    if type(layer) not in WEIGHTED:
        raise ConversionError(f"{type(layer).__name__}, which comes {where} it, is no layer whose weights take a scale and a shift")
    if uses.shared(layer):
        raise ConversionError(f"the {type(layer).__name__} {where} it is used in several places")
    if hooked(layer):
        raise ConversionError(f"the {type(layer).__name__} {where} it has hooks")


def _compare(before: nn.Module, after: nn.Module, batch: Tensor, stream: Stream | None) -> tuple[float, float]:
    """The largest difference of outputs in evaluation, and the share that differs."""
    extra = {} if stream is None else {"stream": stream}
    with torch.no_grad():
        one, other = (copy.deepcopy(model).eval()(batch, **extra) for model in (before, after))
    if not isinstance(one, Tensor):
        raise ConfigError(f"fold: the check needs a model that gives a tensor, got {type(one).__name__}")
    apart = torch.where(one == other, 0.0, (one - other).abs().double())
    return float(apart.max()) if apart.numel() else 0.0, float((apart != 0).double().mean()) if apart.numel() else 0.0

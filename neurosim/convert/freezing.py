"""Norms of samples whose statistics are frozen one after the other, until nothing is left of them that does not fold."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from tqdm import tqdm

from neurosim.checks import flag, number, whole
from neurosim.convert.fused_path import drop_fused_path
from neurosim.convert.given import Batch, as_batches, check_model, shown
from neurosim.convert.places import hooked
from neurosim.convert.select import check_globs
from neurosim.errors import ConfigError, ConversionError
from neurosim.nn.mpbn import MPBN
from neurosim.norms import FreezingNorm, GroupNorm, InstanceNorm, LayerNorm, MeasuredNorm, RMSNorm
from neurosim.norms.registry import register
from neurosim.random import Stream

Model = TypeVar("Model", bound=nn.Module)
Start = int | tuple[int, int] | list[int]
Schedule = Start | Mapping[str, Start]  #: batches before the first norm is frozen, and between one and the next; by globs

_LAYER = (nn.LayerNorm, nn.RMSNorm)
_INSTANCE = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


@register(
    "freeze_statistics",
    "B30",
    kind="procedure",
    formula="y = γ P x / σ̄ + β, σ̄ the average of σ(x), one norm after the other",
    stats="running",
    fold="F0",
    usage="ns.freeze_statistics(model, schedule) on a model that has norms",
)
def freeze_statistics(
    model: Model,
    schedule: Schedule = 0,
    loader: Tensor | Iterable[Batch] | None = None,
    *,
    momentum: float = 0.1,
    stream: Stream | None = None,
    inplace: bool = False,
) -> Model:
    r"""A copy of a model whose norms of samples freeze during training: each divides by an average once its batches are over.

    .. math:: \frac{P x}{\sigma(x)} \quad\longrightarrow\quad \frac{P x}{\bar\sigma}

    The model is trained on while one norm after the other freezes, and gets used to each. What is left is affine, and :func:`neurosim.fold`
    takes it into weights. The schedule is counted by the norms themselves, in calls in training mode: no loop needs to know of it, and a
    checkpoint goes on where it was made.

    ======================================= ===========================================================================================
    schedule                                freezes
    ======================================= ===========================================================================================
    ``100``                                 all norms after 100 batches
    ``(100, 20)``                           the first norm after 100 batches, the second after 120, …, in the order of the model
    ``{"*.ln_2": (20, 2), "ln_f": 92}``     those that a glob names by one of these; a norm goes by the first glob that names it,
                                            and one that none names stays as it is
    ======================================= ===========================================================================================

    All norms of samples of this package can be frozen but EvoNorms, which are curves, and those of torch, which become ours with the same
    parameters, or with copies of 32 bits of narrower ones. Classes derived from those of torch
    stay as they are. Centring over features stays until it is folded; a mean over space is frozen like the spread.

    Args:
        model: With norms that take statistics of every sample.
        schedule: See the table.
        loader: Batches to take the first averages from, in evaluation: inputs, or lists that begin with them; a tensor is one batch.
            Without, the averages are those of training, and no norm can be frozen from the start.
        momentum: How far a batch of training moves the averages, in (0, 1]; 1: the last batch alone counts.
        stream: For models with noise: batch n of the loader is run with draw n of it.
        inplace: Change ``model`` itself.

    Returns:
        The model, with :class:`~neurosim.norms.FreezingNorm` around each of these norms, whose parameters are then at ``….norm.weight``
        and ``….norm.bias``.

    Raises:
        ConfigError: An argument is of another kind, there is no such norm, a glob names none, the schedule or the loader
            is not as above, or an average is not finite.
        ConversionError: A norm has hooks, or is the model itself and to be changed in place; the model is then unchanged.

    Source:
        L. Baroni et al., "Transformers don't need LayerNorm at inference time: scaling LayerNorm removal to GPT-2 XL" (2025), and the
        authors' code, whose schedules give a start and a gap for each kind of norm; averages of first positions alone are not kept here.

    >>> model = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.ReLU())
    >>> frozen = freeze_statistics(model, 0, torch.rand(32, 4))
    >>> import neurosim as ns
    >>> print(ns.fold(frozen.eval()).folding)
    1 norms folded, 0 left; not checked on a batch
      norm  type          status  into  reason
      1     FreezingNorm  folded  0     into the weights of the Linear before it
    """
    flag("freeze_statistics: inplace", inplace)
    check_model("freeze_statistics", model, stream)
    batches = None if loader is None else as_batches("freeze_statistics", loader)
    if number("freeze_statistics: momentum", momentum, gt=0) > 1:
        raise ConfigError(f"freeze_statistics: momentum: must be more than 0 and at most 1, got {momentum!r}")
    if inplace and _measured(model) is not None:
        raise ConversionError("freeze_statistics: a model that is itself a norm cannot be replaced in place; use what is returned")
    target = model if inplace else copy.deepcopy(model)
    root = nn.ModuleDict({"model": target})
    found = _norms(root)
    if not found:
        raise ConfigError("freeze_statistics: the model has no norm that takes statistics of every sample and can be frozen")
    steps = _steps(schedule, list(found))
    if batches is None and (early := [path or "(model)" for path, after in steps.items() if after == 0]):
        raise ConfigError(f"freeze_statistics: {early[0]} is to be frozen from the start, which needs a loader to take averages from")
    if watched := [path or "(model)" for path in steps if hooked(found[path])]:
        raise ConversionError(f"freeze_statistics: {watched[0]} has hooks; the model is unchanged")
    made: dict[int, FreezingNorm] = {}
    for path, after in steps.items():
        ours = _measured(found[path])
        if ours is not None and id(found[path]) not in made:
            made[id(found[path])] = FreezingNorm(ours, after, momentum).train(found[path].training)
    seats = {path: made[id(found[path])] for path in steps}
    if batches is not None:
        _calibrate(target, {id(found[path]): norm for path, norm in seats.items()}, batches, stream)
    for path, norm in seats.items():
        parent, _, last = f"model.{path}".rstrip(".").rpartition(".")
        root.get_submodule(parent)._modules[last] = norm
    drop_fused_path(root, made.values())
    return cast(Model, root["model"])  # the model, or the norm that it consists of


def _norms(root: nn.ModuleDict) -> dict[str, nn.Module]:
    """Every norm that can be frozen, by its path in the model, wherever it stands."""
    found: dict[str, nn.Module] = {}
    closed: list[str] = []
    for path, module in root.named_modules(remove_duplicate=False):
        if any(path.startswith(f"{outer}.") for outer in closed):
            continue
        if isinstance(module, FreezingNorm | MPBN):
            closed.append(path)
        elif _measured(module) is not None:
            found[path.partition(".")[2]] = module
    return found


def _measured(norm: nn.Module) -> MeasuredNorm | None:
    """A norm as one of ours whose statistics can be told from what it does with them; its parameters are the same, of 32 bits or more."""
    if isinstance(norm, MeasuredNorm):
        return norm if norm.measures else None
    if type(norm) not in (*_LAYER, nn.GroupNorm, *_INSTANCE):  # one of another's class may compute something else
        return None
    made: MeasuredNorm
    if isinstance(norm, nn.LayerNorm | nn.RMSNorm):
        shape = tuple(norm.normalized_shape)
        last: dict[str, Any] = {"channel_dim": -1} if len(shape) == 1 else {}
        features = shape[0] if len(shape) == 1 else shape
        if isinstance(norm, nn.LayerNorm):
            made = LayerNorm(features, norm.eps, **last)
        else:
            wide = next((value.dtype for value in norm.parameters() if value.dtype == torch.float64), torch.float32)
            made = RMSNorm(features, torch.finfo(wide).eps if norm.eps is None else norm.eps, **last)
    elif isinstance(norm, nn.GroupNorm):
        made = GroupNorm(norm.num_channels, norm.num_groups, norm.eps)
    elif isinstance(norm, _INSTANCE) and not norm.track_running_stats:
        made = InstanceNorm(norm.num_features, norm.eps)
    else:
        return None
    for name in ("weight", "bias"):
        value = getattr(norm, name, None)
        if value is not None and value.dtype.itemsize < 4:
            value = nn.Parameter(value.detach().float(), requires_grad=value.requires_grad)
        setattr(made, name, value)
    return made


def _steps(schedule: Schedule, paths: list[str]) -> dict[str, int]:
    """After how many batches each norm is frozen."""
    given = dict(schedule) if isinstance(schedule, Mapping) else {"*": schedule}
    if not given or not all(isinstance(glob, str) for glob in given):
        raise ConfigError(f"freeze_statistics: schedule: must have globs over the paths of norms as keys, got {schedule!r:.60}")
    check_globs("freeze_statistics: schedule", given, paths, "norm")
    counted = dict.fromkeys(given, 0)
    steps: dict[str, int] = {}
    ends = {glob: _start_and_gap(glob, start) for glob, start in given.items()}
    for path in paths:
        glob = next((glob for glob in given if fnmatchcase(path, glob)), None)
        if glob is not None:
            start, gap = ends[glob]
            steps[path] = start + gap * counted[glob]
            counted[glob] += 1
    return steps


def _start_and_gap(glob: str, start: Start) -> tuple[int, int]:
    pair = list(start) if isinstance(start, tuple | list) else [start, 0]
    if len(pair) != 2:
        raise ConfigError(f"freeze_statistics: schedule: {glob!r} must have a start, or a start and a gap, got {start!r:.60}")
    first, gap = (whole(f"freeze_statistics: schedule: {glob!r}, batches", one, 0) for one in pair)
    return first, gap


@torch.no_grad()
def _calibrate(model: nn.Module, norms: dict[int, FreezingNorm], loader: Iterable[Batch], stream: Stream | None) -> None:
    """Averages of all samples of a loader, at the norms that still stand in the model."""
    sums: dict[int, list[Tensor]] = {}
    seen: dict[int, int] = dict.fromkeys(norms, 0)

    def watch(norm: nn.Module, args: tuple[Any, ...]) -> None:
        count = len(args[0])
        new = [one.double() * count for one in norms[id(norm)].average_of(args[0])]
        old = sums.get(id(norm))
        sums[id(norm)] = new if old is None else [a + b for a, b in zip(old, new, strict=True)]
        seen[id(norm)] += count

    modes = {module: module.training for module in model.modules()}
    handles = [module.register_forward_pre_hook(watch) for module in dict.fromkeys(model.modules()) if id(module) in norms]
    bar = tqdm(loader, desc="freeze_statistics", unit="batch", delay=2, dynamic_ncols=True)
    count = 0
    try:
        model.eval()
        for inputs, drawn in shown("freeze_statistics", model, bar, stream):
            model(inputs, **drawn)
            count += 1
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes.items():
            module.training = training
    if not all(seen.values()):
        raise ConfigError("freeze_statistics: a norm that is to be frozen was never reached by the batches of the loader")
    for key, norm in norms.items():
        norm.set_averages([one / seen[key] for one in sums[key]], count)

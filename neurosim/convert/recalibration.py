"""New statistics for the norms of a model whose devices are not those it was trained with."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sized
from itertools import zip_longest
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm import tqdm

from neurosim.checks import flag, whole
from neurosim.errors import ConfigError
from neurosim.nn.mpbn import MPBN
from neurosim.norms import TimeNorm
from neurosim.norms.moments import ChannelMoments, moments
from neurosim.norms.registry import register
from neurosim.random import Stream

Model = TypeVar("Model", bound=nn.Module)
Batch = Tensor | tuple[Any, ...] | list[Any]  #: inputs, or inputs and what belongs to them


@register(
    "recalibrate",
    "B8",
    kind="procedure",
    formula="µ and σ² of calibration data on the devices",
    stats="running",
    fold="F0",
    usage="ns.recalibrate(model, loader) on a model that has batch norms",
)
def recalibrate(
    model: Model, loader: Tensor | Iterable[Batch], *, passes: int = 2, stream: Stream | None = None, inplace: bool = False
) -> Model:
    r"""A copy of a model whose running statistics are those of the given data on the given devices.

    Neurons of a real chip differ from those of training in gain, leak and offset. What a norm sees is scaled and shifted by that; its
    statistics, taken again on the chip, scale and shift it back. Folded by :func:`neurosim.fold`, they are thresholds: calibration of every
    neuron (or channel) without a gradient and without labels. What statistics cannot see, such as the offset of a comparator that comes
    after the norm, stays.

    The first pass normalises by the statistics of each batch, so that every layer sees inputs of about the right scale at once, however
    deep it lies. Each further pass evaluates with what the one before found, which is what evaluation will do, and takes the statistics
    again. All values of a pass count alike.

    Args:
        model: With batch norms, those over time, or MPBN, not yet folded; without, there is nothing left to calibrate.
        loader: Batches of inputs; of a tuple or list the first entry. It is gone through ``passes`` times. A tensor is one batch.
        passes: > 0.
        stream: For models with noise: batch n is run with draw n of it.
        inplace: Change the statistics of ``model`` itself.

    Returns:
        The model with the new statistics, and everything else as it was. If anything fails, ``model`` is unchanged.

    Raises:
        ConfigError: There is no norm with running statistics or no data, what reaches a norm is not finite, or the loader cannot be gone
            through again.

    Source:
        Y. He et al., "Data-free quantization with accurate activation clipping and adaptive batch normalization" (2022): adaptive batch
        normalization, here on real data.

    >>> model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    >>> data = [torch.rand(8, 4) for _ in range(5)]
    >>> calibrated = recalibrate(model, data)
    >>> calibrated.eval()(torch.cat(data)).std(0).round(decimals=2)
    tensor([1., 1., 1.], grad_fn=<RoundBackward1>)
    """
    _check_passes(passes)
    flag("recalibrate: inplace", inplace)
    if isinstance(loader, Tensor):
        loader = [loader]
    if passes > 1 and iter(loader) is loader:
        raise ConfigError(f"recalibrate: the loader is gone through {passes} times, so it must be a list or a loader, not an iterator")
    measured = copy.deepcopy(model)
    norms = _norms(measured)
    if not norms:
        raise ConfigError(
            "recalibrate: the model has no norm with running statistics; if it was folded, recalibrate it first and fold then"
        )
    bar = tqdm(desc="recalibrate", unit="batch", total=_batches(loader, passes), delay=2, dynamic_ncols=True)
    with bar, torch.no_grad():
        for at in range(passes):
            measured.eval()
            if at == 0:
                for module in measured.modules():
                    module.training = isinstance(module, TimeNorm | _BatchNorm | MPBN)
            seen = _seen(measured, norms, _counted(loader, bar), stream)
            for norm, found in zip(norms, seen, strict=True):
                if not all(bool((one.mean.isfinite() & one.squares.isfinite()).all()) for one in found):
                    raise ConfigError(f"recalibrate: what reaches {_named(measured, norm)} must be finite, got infinite values or NaN")
                _set(norm, found)
    target = model if inplace else copy.deepcopy(model)
    for mine, new in zip(_norms(target), norms, strict=True):
        for kept, value in zip(mine.buffers(recurse=False), new.buffers(recurse=False), strict=True):
            kept.copy_(value)
    return target


def _check_passes(passes: object) -> None:
    passes = whole("recalibrate: passes", passes, 1)


def _norms(model: nn.Module) -> list[TimeNorm | _BatchNorm]:
    found: list[TimeNorm | _BatchNorm] = []
    for module in model.modules():
        if isinstance(module, TimeNorm) or (isinstance(module, _BatchNorm) and module.running_mean is not None):
            found.append(module)
    return found


def _seen(
    model: nn.Module, norms: list[TimeNorm | _BatchNorm], loader: Iterable[Batch], stream: Stream | None
) -> list[list[ChannelMoments]]:
    """What each norm saw of all batches."""
    seen: list[list[ChannelMoments]] = [[] for _ in norms]

    def watch(at: int) -> Any:
        def gather(norm: nn.Module, args: tuple[Any, ...]) -> None:
            new = norm.moments_of(*args) if isinstance(norm, TimeNorm) else [moments(args[0], [1])]
            pairs = zip_longest(seen[at], new)
            seen[at] = [a if b is None else b if a is None else a.merge(b) for a, b in pairs]

        return gather

    place = next((value.device for value in model.parameters()), torch.device("cpu"))
    handles = [norm.register_forward_pre_hook(watch(at)) for at, norm in enumerate(norms)]
    try:
        count = 0
        for count, batch in enumerate(loader, 1):
            inputs = batch[0] if isinstance(batch, tuple | list) else batch
            if not isinstance(inputs, Tensor):
                raise ConfigError(f"recalibrate: batches must be tensors, or begin with one, got {type(inputs).__name__}")
            model(inputs.to(place), **({} if stream is None else {"stream": stream._replace(draw=count - 1)}))
    finally:
        for handle in handles:
            handle.remove()
    if not count:
        raise ConfigError("recalibrate: the loader holds no batches")
    return seen


def _named(model: nn.Module, norm: nn.Module) -> str:
    path = next(path for path, module in model.named_modules() if module is norm)
    return f"{path or 'the norm'} ({type(norm).__name__})"


def _set(norm: TimeNorm | _BatchNorm, seen: list[ChannelMoments]) -> None:
    if isinstance(norm, TimeNorm):
        norm.set_statistics(seen)
    elif seen and seen[0].n:
        running: Any = norm
        running.running_mean.copy_(seen[0].mean)
        running.running_var.copy_(seen[0].variance)


def _counted(loader: Iterable[Batch], bar: Any) -> Iterator[Batch]:
    for batch in loader:
        yield batch
        bar.update()


def _batches(loader: Iterable[Batch], passes: int) -> int | None:
    return passes * len(loader) if isinstance(loader, Sized) else None

"""New statistics for the norms of a model whose devices are not those it was trained with."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sized
from itertools import zip_longest
from typing import Any, Final, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm import tqdm

from neurosim.checks import flag, whole
from neurosim.convert.chip_stack import ChipStack
from neurosim.convert.given import Batch, as_batches, check_model, shown
from neurosim.errors import ConfigError
from neurosim.nn.mpbn import MPBN
from neurosim.nn.wrappers import unwrapped
from neurosim.norms import TimeNorm
from neurosim.norms.calibrated import Calibrated, calibrated_norms, moments_at, set_statistics, too_few
from neurosim.norms.moments import ChannelMoments
from neurosim.norms.registry import register
from neurosim.norms.time_norm import TooFewValues
from neurosim.random import Stream

Model = TypeVar("Model", bound=nn.Module)
_BY_BATCH: Final = (TimeNorm, _BatchNorm)  #: which in training normalise by the batch, and by nothing else


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
    deep it lies; a batch with a single value for one of them, as a last sample alone, by what those before it gave. Each further pass
    evaluates with what the one before found, which is what evaluation will do, and takes the statistics again. All values of a pass count
    alike.

    ============================================ ===================================================================================
    norm                                         statistics, over all data
    ============================================ ===================================================================================
    batch norm of torch, over time, in MPBN      mean and unbiased variance
    instance norm of torch that tracks           mean, and mean of the unbiased variances of the samples
    L1 batch norm                                mean, and mean magnitude of the distances from the mean of the pass before; in the
                                                 first pass from that of the batch
    online norm                                  mean and biased variance
    PowerNorm, unified norm                      mean square, of samples as they are scaled before it
    EvoNorm B0 to B2                             unbiased variance
    ============================================ ===================================================================================

    A :class:`~neurosim.norms.FreezingNorm` keeps its averages; :func:`neurosim.freeze_statistics` takes others.

    Args:
        model: With such norms, not yet folded; without, there is nothing left to calibrate.
        loader: Batches of inputs; of a tuple or list the first entry. It is gone through ``passes`` times. A tensor is one batch.
        passes: > 0.
        stream: For models with noise: batch n is run with draw n of it.
        inplace: Change the statistics of ``model`` itself.

    Returns:
        The model with the new statistics, and everything else as it was. If anything fails, ``model`` is unchanged.

    Raises:
        ConfigError: An argument is of another kind, there is no norm with running statistics or no data, what reaches a norm is not finite
            or a single value, or the loader cannot be gone through again.

    Source:
        Y. He et al., "Data-free quantization with accurate activation clipping and adaptive batch normalization" (2022): adaptive batch
        normalization, here on real data.

    >>> model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    >>> data = [torch.rand(8, 4) for _ in range(5)]
    >>> calibrated = recalibrate(model, data)
    >>> calibrated.eval()(torch.cat(data)).std(0).round(decimals=2)
    tensor([1., 1., 1.], grad_fn=<RoundBackward1>)
    """
    check_model("recalibrate", model, stream)
    if isinstance(unwrapped(model), ChipStack):
        raise ConfigError("recalibrate: the model must be one chip, got a stack of several: recalibrate each of stack.chips")
    passes = whole("recalibrate: passes", passes, 1)
    flag("recalibrate: inplace", inplace)
    batches = as_batches("recalibrate", loader)
    if passes > 1 and iter(batches) is batches:
        raise ConfigError(f"recalibrate: the loader is gone through {passes} times, so it must be a list or a loader, not an iterator")
    measured = copy.deepcopy(model)
    norms = calibrated_norms(measured)
    if not norms:
        raise ConfigError(
            "recalibrate: the model has no norm with running statistics; if it was folded, recalibrate it first and fold then"
        )
    bar = tqdm(desc="recalibrate", unit="batch", total=_batches(batches, passes), delay=2, dynamic_ncols=True)
    seen: list[list[ChannelMoments]] = []
    with bar, torch.no_grad():
        for at in range(passes):
            seen = _seen(measured, norms, _counted(batches, bar), stream, first=at == 0)
            for norm, found in zip(norms, seen, strict=True):
                _check(measured, norm, found)
                set_statistics(norm, found)
        target = model if inplace else copy.deepcopy(model)
        for norm, found in zip(calibrated_norms(target), seen, strict=True):
            set_statistics(norm, found)
    return target


def _seen(
    model: nn.Module, norms: list[Calibrated], loader: Iterable[Batch], stream: Stream | None, *, first: bool
) -> list[list[ChannelMoments]]:
    """What each norm saw of all batches; in the first pass each batch is normalised by its own statistics."""
    seen: list[list[ChannelMoments]] = [[] for _ in norms]
    own = first

    def watch(at: int) -> Any:
        def gather(norm: Any, args: tuple[Any, ...]) -> None:
            new = moments_at(norm, *args, own=own)
            if own and too_few(norm, new):
                raise TooFewValues("recalibrate: a batch has a single value for a statistic")
            if own and not isinstance(norm, _BY_BATCH):
                set_statistics(norm, new)
            pairs = zip_longest(seen[at], new)
            seen[at] = [a if b is None else b if a is None else a.merge(b) for a, b in pairs]

        return gather

    handles = [norm.register_forward_pre_hook(watch(at)) for at, norm in enumerate(norms)]
    try:
        for inputs, drawn in shown("recalibrate", model, loader, stream):
            before, own = list(seen), first
            try:
                _switch(model, own)
                model(inputs, **drawn)
            except TooFewValues:  # such a batch is normalised by what those before it gave
                seen[:], own = before, False
                for norm, found in zip(norms, before, strict=True):
                    if all(one.n != 1 for one in found):
                        set_statistics(norm, found)
                _switch(model, own)
                model(inputs, **drawn)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _switch(model: nn.Module, own: bool) -> None:
    """Evaluation, but of the norms that go by the batch in training, if they are to do so."""
    for module in model.modules():
        module.training = own and isinstance(module, (*_BY_BATCH, MPBN))


def _check(model: nn.Module, norm: Calibrated, found: list[ChannelMoments]) -> None:
    path = next(path for path, module in model.named_modules() if module is norm)
    where = f"recalibrate: what reaches {path or 'the norm'} ({type(norm).__name__})"
    if not all(bool((one.mean.isfinite() & one.squares.isfinite()).all()) for one in found):
        raise ConfigError(f"{where} must be finite, got infinite values or NaN")
    if too_few(norm, found):
        raise ConfigError(f"{where} must be more than one value for each statistic, got one; give more samples")


def _counted(loader: Iterable[Batch], bar: Any) -> Iterator[Batch]:
    for batch in loader:
        yield batch
        bar.update()


def _batches(loader: Iterable[Batch], passes: int) -> int | None:
    return passes * len(loader) if isinstance(loader, Sized) else None

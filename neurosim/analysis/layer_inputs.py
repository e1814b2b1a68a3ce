"""What enters the layers of a model while it is shown samples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from neurosim.analysis.sample import Sample, spread
from neurosim.convert.affine import WEIGHTED
from neurosim.convert.calibration import Calibration, Samples
from neurosim.nn.answer import answer
from neurosim.nn.modes import evaluation_mode
from neurosim.nn.wrappers import unwrapped

_KEPT: Final = 1 << 20  #: numbers of what enters a layer in one batch that are kept as samples


def channel_axis(layer: nn.Module) -> int:
    """Of its inputs and outputs."""
    return -1 - len(layer.kernel_size) if isinstance(layer, WEIGHTED) and not isinstance(layer, nn.Linear) else -1


class Seen(NamedTuple):
    """What entered a layer."""

    sample: Sample  #: of its numbers, less the offset
    offset: Tensor | None
    rows: list[Tensor]  #: ``(samples, channels, *space)``, if they are kept


def layer_inputs(model: nn.Module, names: list[str], given: Calibration, symmetrize: bool, keep: bool) -> dict[str, Seen]:
    """What enters layers, by their paths; those that the model does not run are not there.

    Args:
        model: Any module; it is run in evaluation.
        names: Paths of linear layers and convolutions.
        given: What it is shown.
        symmetrize: Whether numbers are taken less the middle of the range of each channel.
        keep: Whether samples are kept as a whole.
    """
    samples = Samples("quantize", given, next((value.device for value in model.parameters()), torch.device("cpu")))
    layers = {path: unwrapped(model).get_submodule(path) for path in names}
    ends: dict[str, tuple[Tensor, Tensor]] = {}

    def widen(path: str, layer: nn.Module, x: Tensor) -> None:
        if not x.numel():
            return
        axis = channel_axis(layer) % x.dim()
        others = [one for one in range(x.dim()) if one != axis]
        low, high = x.detach().amin(others, keepdim=True), x.detach().amax(others, keepdim=True)
        low, high = (one.reshape(one.shape[axis:]) for one in (low, high))
        if path in ends:
            low, high = torch.minimum(low, ends[path][0]), torch.maximum(high, ends[path][1])
        ends[path] = low, high

    def gather(path: str, layer: nn.Module, x: Tensor) -> None:
        one = found.setdefault(path, Seen(Sample(), (ends[path][0] + ends[path][1]) / 2 if path in ends else None, []))
        one.sample.add(x if one.offset is None else x - one.offset)
        if keep and x.numel():
            rows = x.detach().reshape(-1, *x.shape[channel_axis(layer) :])
            one.rows.append(spread(rows, max(1, _KEPT // rows[0].numel())).clone())

    found: dict[str, Seen] = {}
    if symmetrize:
        with _hooked(layers, widen):
            _run_all(model, samples)
    with _hooked(layers, gather):
        _run_all(model, samples)
    return found


@contextmanager
def _hooked(layers: dict[str, nn.Module], look: Any) -> Iterator[None]:
    def hook(path: str, layer: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        look(path, layer, args[0] if args else named["input"])

    handles = [layer.register_forward_pre_hook(partial(hook, path), with_kwargs=True) for path, layer in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def _run_all(model: nn.Module, samples: Samples) -> None:
    with evaluation_mode(model):
        for x in samples.inputs():
            answer("quantize", model, x)

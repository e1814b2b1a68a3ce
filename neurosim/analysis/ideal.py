"""Watching a model without the errors of its hardware."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import nn

from neurosim.analysis.observe import Watcher, watching
from neurosim.convert.calibration import Calibration, Samples
from neurosim.convert.control import noise
from neurosim.convert.select import analog_layers
from neurosim.nn.answer import answer
from neurosim.nn.modes import evaluation_mode
from neurosim.random import Stream

W = TypeVar("W", bound=Watcher)


def watch_ideal(
    where: str, model: nn.Module, paths: Iterable[str], make: Callable[[dict[int, str]], W], loader: Calibration, stream: Stream | None
) -> W:
    """Let a copy of a model, ideal where it is on hardware, compute in evaluation under a watcher.

    Args:
        where: Who asks, for messages.
        model: Left as it is.
        paths: Of the modules to watch.
        make: Makes the watcher from their paths, by the ids of the copy's modules.
        loader: Inputs: a tensor, or batches that begin with one.
        stream: For models that take one: batch n is run with draw n of it.

    Raises:
        DataError: The model does not take the inputs.
    """
    twin = copy.deepcopy(model)
    watched = {path: twin.get_submodule(path) for path in paths}
    watcher = make({id(module): path for path, module in watched.items()})
    samples = Samples(where, loader, next((value.device for value in twin.parameters()), torch.device("cpu")))
    with torch.no_grad(), evaluation_mode(twin), watching(watched.values(), watcher):
        for at, x in enumerate(samples.inputs()):
            how = {} if stream is None else {"stream": stream._replace(draw=at)}
            if analog_layers(twin):
                with noise("ideal", twin):
                    answer(where, twin, x, **how)
            else:
                answer(where, twin, x, **how)
    return watcher

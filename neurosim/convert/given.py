"""What procedures are given that show data to a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from neurosim.errors import ConfigError
from neurosim.random import Stream

Batch = Tensor | tuple[Any, ...] | list[Any]  #: inputs, or inputs and what belongs to them


def check_model(where: str, model: object, stream: object = None) -> None:
    """Refuse what is no module, and a stream that is none.

    Raises:
        ConfigError: With ``where``.
    """
    if not isinstance(model, nn.Module):
        raise ConfigError(f"{where}: model must be a torch.nn.Module, got {type(model).__name__}")
    if stream is not None and not isinstance(stream, Stream):
        raise ConfigError(f"{where}: stream must be a neurosim.random.Stream, got {type(stream).__name__}")


def as_batches(where: str, loader: object) -> Iterable[Batch]:
    """A loader; a tensor is one batch.

    Raises:
        ConfigError: It is no loader.
    """
    if isinstance(loader, Tensor):
        return [loader]
    if not isinstance(loader, Iterable) or isinstance(loader, str):
        raise ConfigError(f"{where}: loader: must be a tensor, or batches, got {type(loader).__name__}")
    return loader


def shown(where: str, model: nn.Module, loader: Iterable[Batch], stream: Stream | None) -> Iterator[tuple[Tensor, dict[str, Any]]]:
    """What to call a model with for every batch: its inputs, where the model is, and draw n of the stream for batch n.

    Raises:
        ConfigError: There is no batch, or one does not begin with a tensor.
    """
    place = next((value.device for value in model.parameters()), torch.device("cpu"))
    count = 0
    for count, batch in enumerate(loader, 1):
        inputs: object = next(iter(batch), None) if isinstance(batch, tuple | list) else batch
        if not isinstance(inputs, Tensor):
            raise ConfigError(f"{where}: batches must be tensors, or begin with one, got {type(inputs).__name__}")
        yield inputs.to(place), {} if stream is None else {"stream": stream._replace(draw=count - 1)}
    if not count:
        raise ConfigError(f"{where}: the loader holds no batches")

"""What a model is shown: one batch, or several."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, nn

from neurosim.convert.chip_stack import ChipStack
from neurosim.convert.given import check_model
from neurosim.errors import ConfigError
from neurosim.nn.wrappers import unwrapped


def inputs_of(where: str, data: Any) -> Iterator[Tensor]:
    """The inputs of every batch: the batch itself, or the first entry of a tuple.

    Args:
        where: What messages call the reader.
        data: One batch, a tensor, or several.

    Raises:
        ConfigError: It is neither.
    """
    if not isinstance(data, Tensor) and (not isinstance(data, Iterable) or isinstance(data, str)):
        raise ConfigError(f"{where}: data must be a tensor, or batches of tensors, got {type(data).__name__}")
    for batch in [data] if isinstance(data, Tensor) else data:
        inputs = batch[0] if isinstance(batch, tuple | list) and batch else batch
        if not isinstance(inputs, Tensor):
            raise ConfigError(f"{where}: data must be a tensor, or batches of tensors, got {type(inputs).__name__}")
        yield inputs


def check_chip(where: str, model: object, stream: object = None) -> None:
    """Refuse a stack of chips as well, whose layers share their weights and do not run one by one.

    Raises:
        ConfigError: With ``where``.
    """
    check_model(where, model, stream)
    if isinstance(model, nn.Module) and isinstance(stack := unwrapped(model), ChipStack):
        raise ConfigError(f"{where}: the model must be one chip, got a stack of {len(stack)}: give the model before neurosim.chips")

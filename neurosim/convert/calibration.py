"""Data that a conversion looks at: inputs like those of the training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from neurosim.errors import ConfigError

Calibration = Tensor | Iterable[Any]  #: one tensor of inputs, or batches: inputs, or pairs of inputs and labels


class Samples:
    """Calibration data, read as often as it takes.

    Args:
        where: What messages call the reader.
        given: Inputs as one tensor, or batches, of which the first item is the input and the second, if any, the labels; None is no data.
        device: Where they are needed.
        optional: Whether there may be none.

    Raises:
        ConfigError: It is neither, or an iterator, which can be read only once, or missing.
    """

    def __init__(self, where: str, given: object, device: torch.device, *, optional: bool = False) -> None:
        self._where, self._device = where, device
        if given is None and not optional:
            raise ConfigError(f"{self._where}: data are missing: calibration must be a tensor or batches, got None")
        if given is not None and not isinstance(given, Tensor) and (not isinstance(given, Iterable) or isinstance(given, str)):
            raise ConfigError(f"{self._where}: calibration must be a tensor or batches, got {type(given).__name__}")
        if isinstance(given, Iterator):
            raise ConfigError(f"{self._where}: calibration is read several times, got an iterator, which is empty after one; give list(it)")
        self._given: Iterable[Any] | None = given

    def __bool__(self) -> bool:
        return self._given is not None

    def batches(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Inputs, and labels where there are any.

        Raises:
            ConfigError: A batch is something else, or there are none.
        """
        count = 0
        given = self._given if self._given is not None else ()
        for batch in torch.split(given, 256) if isinstance(given, Tensor) else given:
            pair = batch if isinstance(batch, tuple | list) else (batch,)
            if not pair or not isinstance(pair[0], Tensor) or not pair[0].is_floating_point():
                raise ConfigError(f"{self._where}: calibration must hold floating-point inputs, or pairs (inputs, labels)")
            if not bool(pair[0].isfinite().all()):
                raise ConfigError(f"{self._where}: calibration must be finite, got NaN or infinite inputs")
            if not len(pair[0]):
                continue
            labels = pair[1].to(self._device) if len(pair) > 1 and isinstance(pair[1], Tensor) else None
            count += len(pair[0])
            yield pair[0].to(self._device), labels
        if self._given is not None and not count:
            raise ConfigError(f"{self._where}: calibration must hold at least one sample, got none")

    def inputs(self) -> Iterator[Tensor]:
        """The inputs alone."""
        return (x for x, _ in self.batches())

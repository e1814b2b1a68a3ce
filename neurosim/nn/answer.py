"""What a model answers to a batch, or why it does not."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from neurosim.errors import DataError, NeurosimError


def answer(where: str, model: nn.Module, *inputs: Tensor, **options: Any) -> Any:
    """What a model gives; the inputs are not changed, even if the model works in place.

    Raises:
        DataError: The model does not take the batch.
    """
    try:
        return model(*(x.clone() for x in inputs), **options)
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
        if isinstance(error, NeurosimError):
            raise
        text = " ".join(str(error).split())
        shapes = ", ".join(str(tuple(x.shape)) for x in inputs)
        raise DataError(f"{where}: the model must take a batch of shape {shapes}, got {type(error).__name__}: {text:.300}") from error

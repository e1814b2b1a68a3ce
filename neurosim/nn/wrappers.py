"""What stands around a model to compile it or to run it in parallel."""

from __future__ import annotations

from torch import nn


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside of ``torch.compile``, ``DataParallel`` and ``DistributedDataParallel``, however they are nested.

    >>> inner = nn.Linear(2, 2)
    >>> unwrapped(nn.DataParallel(inner)) is inner, unwrapped(inner) is inner
    (True, True)
    """
    while isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel) or hasattr(model, "_orig_mod"):
        model = getattr(model, "_orig_mod" if hasattr(model, "_orig_mod") else "module")
    return model

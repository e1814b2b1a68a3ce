"""What stands around a model to compile it or to run it in parallel."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside of ``torch.compile``, ``DataParallel`` and ``DistributedDataParallel``, however they are nested.

    >>> inner = nn.Linear(2, 2)
    >>> unwrapped(nn.DataParallel(inner)) is inner, unwrapped(inner) is inner
    (True, True)
    """
    while (inner := _inner(model)) is not None:
        model = getattr(model, inner)
    return model


def named_unwrapped(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """What ``model.named_modules()`` gives, under the paths that the modules have without wrappers, which are left out wherever they are.

    >>> parallel = nn.Sequential(nn.DataParallel(nn.Linear(2, 2)), nn.ReLU())
    >>> [path for path, _ in parallel.named_modules()]
    ['', '0', '0.module', '1']
    >>> [path for path, _ in named_unwrapped(parallel)]
    ['', '0', '1']
    """
    known: dict[str, tuple[str, nn.Module]] = {}
    for path, module in model.named_modules():
        around, _, name = path.rpartition(".")
        plain = name
        if path:
            before, parent = known[around]
            plain = before if name == _inner(parent) else f"{before}.{name}".lstrip(".")
        known[path] = plain, module
        if _inner(module) is None:
            yield plain, module


def _inner(module: nn.Module) -> str | None:
    """The name under which a wrapper holds its module; None for what is no wrapper."""
    if hasattr(module, "_orig_mod"):
        return "_orig_mod"
    return "module" if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel) else None

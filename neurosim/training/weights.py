"""Weights as safetensors: a file for other programs too, that says what it belongs to and notices damage."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from neurosim.atomicfile import write_bytes
from neurosim.errors import CheckpointError, nearest
from neurosim.training.checkpoint import digest

_SHA: Final = "sha256"
_SHOWN: Final = 6  #: reasons listed before "and n more"


def save_weights(path: str | os.PathLike[str], model: nn.Module, facts: Mapping[str, str]) -> None:
    """Write the ``state_dict`` of ``model`` as safetensors, atomically.

    Tied weights are written once per name, so the file loads into a model that does not tie them too.

    Args:
        path: The file to make or replace.
        model: Any module.
        facts: What else the file shall say of itself, as text; a digest of the tensors is added under ``sha256``.

    Raises:
        CheckpointError: The ``state_dict`` holds something that is no tensor.
        OSError: The file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise CheckpointError(f"{path}: a weights file holds tensors only, {name!r} is {type(value).__name__}")
        tensors[name] = value.detach().cpu().contiguous().clone()
    write_bytes(path, save(tensors, metadata={"format": "pt", **facts, _SHA: _fingerprint(tensors)}))


def read_weights(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file, on the CPU, and what it says of itself.

    A file of another program has no digest; it is read as it is.

    Raises:
        CheckpointError: The file is missing, no safetensors file, or does not match its digest.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            facts = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (the file is no mapping)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no such weights file") from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: must be a safetensors file, cannot be read ({error})") from error
    if _SHA in facts and facts[_SHA] != _fingerprint(tensors):
        raise CheckpointError(f"{path}: the weights do not match their digest; the file is damaged or was changed")
    return tensors, facts


def load_weights(model: nn.Module, path: str | os.PathLike[str]) -> dict[str, str]:
    """Put the weights of a file into ``model``; every weight must be there, of its shape, and none may be left over.

    Args:
        model: Takes the weights in place; it is not to be used when this raises.
        path: A safetensors file.

    Returns:
        What the file says of itself.

    Raises:
        CheckpointError: The file cannot be read, or does not fit the model; all reasons are listed.
    """
    tensors, facts = read_weights(path)
    try:
        model.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        reasons = mismatches(model.state_dict(), tensors) or [" ".join(str(error).split())]
        more = [f"and {len(reasons) - _SHOWN} more"] if len(reasons) > _SHOWN else []
        raise CheckpointError("\n  ".join([f"{path}: the weights do not fit the model:", *reasons[:_SHOWN], *more])) from None
    return facts


def _fingerprint(tensors: Mapping[str, Tensor]) -> str:
    return digest({name: tensors[name] for name in sorted(tensors)})


def mismatches(wanted: Mapping[str, object], given: Mapping[str, Tensor]) -> list[str]:
    """Why a strict load fails: names that are missing or left over, shapes that differ; one line each."""
    missing = [name for name in wanted if name not in given]
    left_over = [name for name in given if name not in wanted]
    reasons = [f"{name}: is in the model, is not in the file" for name in missing]
    reasons += [f"{name}: is in the file, is not in the model{nearest(name, missing)}" for name in left_over]
    for name, value in wanted.items():
        if name in given and isinstance(value, Tensor) and value.shape != given[name].shape:
            reasons.append(f"{name}: must have shape {tuple(value.shape)}, got {tuple(given[name].shape)}")
    return reasons


def all_finite(model: nn.Module) -> bool:
    """Whether no parameter and no buffer of ``model`` holds NaN or infinity."""
    values = [*model.parameters(), *model.buffers()]
    return all(bool(torch.isfinite(value).all()) for value in values if value.is_floating_point())

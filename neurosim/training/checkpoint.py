"""Checkpoints: everything a run needs to go on as if nothing had happened, in files that are whole or not there.

A file is an ordinary ``torch.save`` dictionary of tensors, numbers and text, so ``torch.load(path, weights_only=True)`` reads it without
running code. It carries a digest of its own content: a flipped bit is noticed, which the container alone does not do.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from neurosim.atomicfile import replacing
from neurosim.errors import CheckpointError

FORMAT: Final = 1
_NAME: Final = re.compile(r"step-(\d{8,})\.pt")
_log = logging.getLogger(__name__)


class DamagedCheckpointError(CheckpointError):
    """The file itself is broken: cut short, changed, or no archive. Reading it again will not help, the checkpoint before it may."""


def digest(value: object) -> str:
    """SHA-256 of a tree of mappings, sequences, tensors, numbers and text, as hexadecimal digits.

    Keys, their order, types, shapes and every bit of every tensor count; the device of a tensor does not.

    >>> digest({"a": 1}) == digest({"a": 1}), digest({"a": 1}) == digest({"a": 1.0})
    (True, False)
    """
    state = hashlib.sha256()
    _feed(state, value)
    return state.hexdigest()


def _feed(state: hashlib._Hash, value: object) -> None:
    if isinstance(value, Tensor):
        state.update(f"tensor {value.dtype} {tuple(value.shape)};".encode())
        state.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    elif isinstance(value, Mapping):
        state.update(f"mapping {len(value)};".encode())
        for key, item in value.items():
            _feed(state, key)
            _feed(state, item)
    elif isinstance(value, list | tuple):
        state.update(f"sequence {len(value)};".encode())
        for item in value:
            _feed(state, item)
    else:
        text = repr(value).encode()
        state.update(f"{type(value).__name__} {len(text)};".encode())
        state.update(text)


def save_checkpoint(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Write ``content`` atomically, with its digest.

    Args:
        path: The file to make or replace.
        content: Tensors, numbers, text and containers of them; keys other than ``format`` and ``sha256``.

    Raises:
        OSError: The file cannot be written; an older one of that name is untouched.
    """
    with replacing(path) as temporary:
        torch.save({**content, "format": FORMAT, "sha256": digest(content)}, temporary)


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what :func:`save_checkpoint` wrote, tensors on the CPU.

    Raises:
        DamagedCheckpointError: The file is cut short or changed.
        CheckpointError: The file is missing, of another format version, or not a checkpoint of this package.
        OSError: It cannot be read now, which says nothing about its content.
        MemoryError: It does not fit into the memory that is free.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no such checkpoint") from None
    except Exception as error:  # whatever else a damaged archive makes the reader raise, the file cannot be used
        reason = (str(error).splitlines() or [""])[0]
        if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):  # the latter is a RuntimeError of torch
            raise MemoryError(f"{path}: {reason}") from error
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # which is a seek to where a file cut short has nothing
            raise
        raise DamagedCheckpointError(f"{path}: must be a checkpoint, cannot be read ({type(error).__name__}: {reason[:120]})") from error
    if not isinstance(content, dict) or "sha256" not in content or "format" not in content:
        raise CheckpointError(f"{path}: must be a checkpoint of neurosim, is something else")
    version, recorded = content.pop("format"), content.pop("sha256")
    if version != FORMAT:
        raise CheckpointError(f"{path}: must have checkpoint format {FORMAT}, got {version!r}; it was written by another version")
    if digest(content) != recorded:
        raise DamagedCheckpointError(f"{path}: the content does not match its digest; the file is damaged")
    return content


class Checkpoints:
    """The checkpoints of one run, ``step-00000120.pt`` and so on; the last few are kept.

    Args:
        folder: Where they lie; made when needed.
        keep: How many to keep, ≥ 1.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self.keep = keep

    def paths(self) -> list[Path]:
        """The files there are, oldest first."""
        found = [(int(match[1]), path) for path in self.folder.glob("step-*.pt") if (match := _NAME.fullmatch(path.name))]
        return [path for _, path in sorted(found)]

    def save(self, step: int, content: Mapping[str, Any]) -> Path:
        """Write the checkpoint of that step, then remove those that are too many.

        Raises:
            OSError: The file cannot be written; all older ones are still there.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"step-{step:08d}.pt"
        save_checkpoint(path, content)
        for old in self.paths()[: -self.keep]:
            with contextlib.suppress(FileNotFoundError):
                old.unlink()
        return path

    def newest(self) -> dict[str, Any] | None:
        """The newest content that can be used, or ``None`` when there is no checkpoint at all.

        A damaged file is put aside under the name ``….damaged`` once an older one has been read, and a warning line says so. While none
        can be read, nothing is renamed, so that the next call raises as well.

        Raises:
            CheckpointError: There are checkpoints and all of them are damaged, or one is of another format version.
            OSError: One cannot be read now; a later try may succeed.
        """
        damaged: list[tuple[Path, DamagedCheckpointError]] = []
        for path in reversed(self.paths()):
            try:
                content = load_checkpoint(path)
            except DamagedCheckpointError as error:
                damaged.append((path, error))
                continue
            for broken, reason in damaged:
                broken.replace(broken.with_name(broken.name + ".damaged"))
                _log.warning("%s; using the one before", reason)
            return content
        count = len(damaged) + len(list(self.folder.glob("step-*.pt.damaged")))
        if count:
            why = f" ({damaged[0][1]})" if damaged else ""
            raise CheckpointError(f"{self.folder}: all {count} checkpoints are damaged; nothing to resume from{why}")
        return None


def rng_state(device: torch.device) -> dict[str, Any]:
    """The state of torch's global generators that a model on ``device`` draws from, for a checkpoint."""
    cuda = torch.cuda.get_rng_state_all() if device.type == "cuda" else []
    return {"cpu": torch.get_rng_state(), "cuda": list(cuda)}


def restore_rng_state(state: Mapping[str, Any]) -> None:
    """Put back what :func:`rng_state` gave; generators of GPUs that are not here are left out."""
    torch.set_rng_state(state["cpu"])
    if state["cuda"] and torch.cuda.is_available():
        for index, one in enumerate(state["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(one, index)

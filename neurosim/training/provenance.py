"""With what a result was made, so that it can be made again."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neurosim import __version__
from neurosim.ops.native import implementation


def environment() -> dict[str, Any]:
    """Versions, machine and packages, as JSON-able values.

    Keys: ``created_utc``, ``neurosim``, ``git_commit`` (``None`` outside a checkout), ``python``, ``torch``, ``numpy``, ``platform``,
    ``processor``, ``cuda`` (name of the GPU or ``None``), ``threads``, ``ops`` (``kernels`` or ``reference``),
    ``packages`` (lines as of ``pip freeze``).
    """
    return {
        "created_utc": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "neurosim": __version__,
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "ops": implementation(),
        "packages": packages(),
    }


def packages() -> list[str]:
    """What is installed, ``name==version``, sorted; each once."""
    found = {(item.metadata["Name"] or "").lower(): item.version for item in importlib.metadata.distributions()}
    return [f"{name}=={version}" for name, version in sorted(found.items()) if name]


def git_commit(root: Path | None = None) -> str | None:
    """The commit of the checkout this package runs from, ``-dirty`` appended when files were changed; ``None`` elsewhere.

    Args:
        root: The folder that holds ``.git``; by default the one above this package.
    """
    folder = Path(__file__).resolve().parents[2] if root is None else root
    if not (folder / ".git").exists():
        return None  # an installed copy may lie in the checkout of another project: its commit says nothing
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None

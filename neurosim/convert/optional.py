"""Libraries that are installed on demand."""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version

from neurosim.errors import ConfigError


def require(module: str, where: str) -> str:
    """Import an optional library and say its version.

    Args:
        module: Its name for ``import``.
        where: What needs it, for messages.

    Raises:
        ConfigError: It is not installed.
    """
    name = module.partition(".")[0]
    try:
        importlib.import_module(module)
        return version(name)
    except (ImportError, PackageNotFoundError) as error:
        got = f"{type(error).__name__}: {error}"
        raise ConfigError(f"{where}: {name} must be installed, pip install 'neurosim-torch[interop]', got {got}") from error

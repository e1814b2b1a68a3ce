"""The user's own models, data sets and stages: a Python file that registers them, named on the command line and nowhere else."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Final

from neurosim.errors import ConfigError

_PREFIX: Final = "neurosim_plugin_"


def load_plugin(path: str | os.PathLike[str]) -> ModuleType:
    """Run a Python file, so that it registers what it has; a file that was run in this process before is not run again.

    The module's name depends on the path alone. What the file defines can therefore be pickled, and unpickled in another process that has
    loaded the same file.

    Args:
        path: A ``.py`` file. It can import installed packages, not its neighbours.

    Raises:
        ConfigError: There is no such file, it is not valid Python, or it fails: ``file:line: what happened``.
    """
    file = Path(path)
    name = _PREFIX + re.sub(r"\W", "_", file.stem) + "_" + hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:12]
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file.resolve()) if file.suffix == ".py" and file.is_file() else None
    if spec is None or spec.loader is None:
        raise ConfigError(f"--plugin {path}: must be an existing Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ConfigError(f"{_place(error, file)}: {_reason(error)}") from error
    except BaseException:
        del sys.modules[name]
        raise
    return module


def loaded_plugins() -> tuple[Path, ...]:
    """The files of the plugins of this process, in the order they were loaded; another process loads them to have the same names."""
    files = (getattr(module, "__file__", None) for name, module in list(sys.modules.items()) if name.startswith(_PREFIX))
    return tuple(Path(file) for file in files if file is not None)


def _place(error: BaseException, file: Path) -> str:
    """Where in the plugin the error is, or where it was called from."""
    if isinstance(error, SyntaxError) and error.filename == str(file.resolve()):
        return f"{file}:{error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file.resolve())]
    return f"{file}:{lines[-1]}" if lines else str(file)


def _reason(error: BaseException) -> str:
    text = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())
    if isinstance(error, ConfigError):
        return text
    if isinstance(error, SyntaxError):
        return f"must be valid Python: {text}"
    return f"the plugin failed with {type(error).__name__}{f': {text}' if text else ''}"

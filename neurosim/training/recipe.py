"""Finding and loading a recipe: a program with ``main(config, run)``."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from neurosim.assets import asset, list_assets
from neurosim.config import RunConfig
from neurosim.errors import ConfigError, nearest
from neurosim.training.folder import RunFolder

Main = Callable[[RunConfig, RunFolder], Mapping[str, Any]]


class Recipe(NamedTuple):
    """A loaded recipe."""

    name: str  #: of a shipped one, or the path of the user's own
    shipped: bool
    sha256: str  #: of its text
    main: Main  #: runs it; gives the metrics of the run


def recipes() -> list[str]:
    """Names of the shipped recipes."""
    return sorted(Path(name).stem for name in list_assets("training") if name.endswith(".py"))


def recipe_file(name: str) -> Path:
    """Where the shipped recipe of that name lies.

    Raises:
        ConfigError: There is none.
    """
    known = recipes()
    if name not in known:
        raise ConfigError(f"recipe: no recipe is named {name!r}{nearest(name, known)}")
    return Path(asset(f"training/{name}.py"))


def load_recipe(name: str, file: str | os.PathLike[str] | None = None) -> Recipe:
    """The shipped recipe ``name``, or the program in ``file``, which is the user's own and is run as it is.

    Raises:
        ConfigError: There is no such recipe or file, or it has no ``main``.
    """
    path = recipe_file(name) if file is None else Path(file)
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"recipe: {path}: must be a Python file, cannot be read ({error.strerror})") from None
    main = getattr(_execute(path), "main", None)
    if not callable(main):
        raise ConfigError(f"recipe: {path}: must define main(config, run), does not")
    return Recipe(name if file is None else str(path), file is None, hashlib.sha256(text).hexdigest(), main)


def _execute(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"neurosim_recipe_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"recipe: {path}: must be a Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickle look classes up there
    spec.loader.exec_module(module)
    return module

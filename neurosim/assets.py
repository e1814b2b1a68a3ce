"""The files that come with the package: device profiles, recipes, configs, small data sets.

In a checkout they are folders beside ``neurosim/``; in an installed wheel they are ``neurosim/_assets/<folder>/``.
An asset is named by its path with slashes, folder first: ``hardware/photonic_avnn/profile.yaml``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from neurosim.errors import ConfigError, nearest

FOLDERS: Final = ("configs", "datasets", "hardware", "training")


def asset(name: str) -> Path:
    """The path of a shipped file or folder.

    Args:
        name: Such as ``hardware/photonic_avnn/profile.yaml``.

    Raises:
        ConfigError: There is none of that name, or the name leads out of the assets.

    >>> asset("hardware/photonic_avnn/profile.yaml").name
    'profile.yaml'
    >>> asset("hardwar/photonic_avnn/profile.yaml")
    Traceback (most recent call last):
    neurosim.errors.ConfigError: assets: no folder is named 'hardwar'; did you mean 'hardware'?
    """
    folder, parts = _split(name)
    found = folder.joinpath(*parts)
    if not found.exists():
        raise ConfigError(f"assets: there is no {name!r}{nearest(name, list_assets(folder.name))}")
    if not found.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(f"assets: a name must not lead out of its folder, got {name!r}")
    return found


def list_assets(folder: str, pattern: str = "**/*") -> list[str]:
    """The names of the shipped files in a folder, sorted.

    Args:
        folder: Such as ``configs`` or ``hardware/photonic_avnn``.
        pattern: A glob below it, such as ``*/profile.yaml``; hidden files and caches are left out.

    Raises:
        ConfigError: There is no such folder.
    """
    top, parts = _split(folder)
    start = top.joinpath(*parts)
    if not start.is_dir():
        raise ConfigError(f"assets: no folder is named {folder!r}")
    found = (file.relative_to(top) for file in start.glob(pattern) if file.is_file())
    return sorted(f"{top.name}/{file.as_posix()}" for file in found if not any(part.startswith((".", "__")) for part in file.parts))


def packaged_config(reference: str) -> Path:
    """The shipped config that ``pkg:analogvnn/digits_mlp.yaml`` means.

    Raises:
        ConfigError: There is none.
    """
    name = f"configs/{reference.removeprefix('pkg:')}"
    _, parts = _split(name)
    names = list_assets("configs", "**/*.yaml")
    if "/".join(("configs", *parts)) not in names:
        hint = nearest(reference, [f"pkg:{one.removeprefix('configs/')}" for one in names])
        raise ConfigError(f"there is no packaged config {reference!r}{hint}")
    return asset(name)


def _split(name: str) -> tuple[Path, list[str]]:
    folder, *parts = name.split("/")
    if folder not in FOLDERS:
        raise ConfigError(f"assets: no folder is named {folder!r}{nearest(folder, FOLDERS)}")
    if any(part in ("", ".", "..") or "\\" in part or ":" in part or "\0" in part for part in parts):
        raise ConfigError(f"assets: a name must not lead out of its folder, got {name!r}")
    return _root() / folder, parts


def _root() -> Path:
    package = Path(__file__).resolve().parent
    bundled = package / "_assets"
    return bundled if bundled.is_dir() else package.parent

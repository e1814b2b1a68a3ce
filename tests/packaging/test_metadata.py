"""What the project says of itself: packages, dependencies, tested versions."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
DEPENDENCIES: list[str] = PROJECT["project"]["dependencies"]
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
ASSETS = ("configs", "datasets", "hardware", "training")


def _name(requirement: str) -> str:
    """``"ruamel.yaml>=0.18"`` is ``"ruamel-yaml"``."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!~;]", requirement, maxsplit=1)[0]).lower()


def _pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {_name(line): line for line in lines if line and not line.startswith("#")}


def test_every_package_is_listed_and_every_listed_one_exists() -> None:
    there = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "neurosim").rglob("__init__.py")}
    listed = PROJECT["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted([*there, *(f"neurosim._assets.{name}" for name in ASSETS)])


def test_every_asset_folder_is_mapped_into_the_package() -> None:
    mapping = PROJECT["tool"]["setuptools"]["package-dir"]
    assert mapping == {f"neurosim._assets.{name}": name for name in ASSETS}
    assert all((ROOT / name).is_dir() for name in ASSETS)


def test_a_build_needs_setuptools_and_nothing_else() -> None:
    assert [_name(requirement) for requirement in PROJECT["build-system"]["requires"]] == ["setuptools"]


def test_every_library_that_is_imported_is_declared() -> None:
    """Of core and of the extras; a module of the standard library, or one that comes with a declared library, needs no line."""
    declared = {_name(requirement) for requirement in [*DEPENDENCIES, *(one for extra in EXTRAS.values() for one in extra)]}
    owners = importlib.metadata.packages_distributions()
    strangers = set()
    for path in (ROOT / "neurosim").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [item.name for item in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            for top in {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - {"neurosim"}:
                distributions = {_name(owner) for owner in owners.get(top, [top])}
                if not distributions & declared and top != "pydantic_core":  # pydantic's own compiled half, pinned by it
                    strangers.add(f"{path.relative_to(ROOT)} imports {top}")
    assert not strangers


@pytest.mark.parametrize("extra", ["core", "interop", "test"])
def test_everything_that_make_installs_is_pinned_to_the_version_that_was_tested(extra: str) -> None:
    needed = DEPENDENCIES if extra == "core" else EXTRAS[extra]
    assert needed
    assert not {_name(requirement) for requirement in needed} - set(_pins())


def test_every_pin_is_one_exact_public_version() -> None:
    wrong = [line for line in _pins().values() if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", line)]
    assert not wrong, "no ranges, no local versions such as +cpu, no addresses"


def test_torch_and_torchvision_are_pinned_as_a_pair_that_belongs_together() -> None:
    from neurosim.doctor import torchvision_problem

    assert torchvision_problem(_pins()["torch"].partition("==")[2], _pins()["torchvision"].partition("==")[2]) is None


def test_the_tested_torch_satisfies_the_declared_one() -> None:
    lowest = next(requirement for requirement in DEPENDENCIES if _name(requirement) == "torch").partition(">=")[2]
    tested = _pins()["torch"].partition("==")[2]
    assert [int(part) for part in tested.split(".")[:2]] >= [int(part) for part in lowest.split(".")]

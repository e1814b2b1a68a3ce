"""``import neurosim as ns``: names that are loaded at first use, and nothing before."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from pathlib import Path

import pytest

import neurosim as ns

SOURCE = Path(ns.__file__).read_text(encoding="utf-8")


def _as_people_read_them() -> dict[str, tuple[str, str]]:
    """Public name to (module, name in it), from the imports that type checkers and editors see."""
    block = next(node for node in ast.parse(SOURCE).body if isinstance(node, ast.If) and isinstance(node.test, ast.Name))
    found = {}
    for line in block.body:
        assert isinstance(line, ast.ImportFrom)
        assert line.module is not None
        for name in line.names:
            assert name.asname == name.name, f"{name.name} must be re-exported explicitly, as {name.name}"
            found[name.name] = (line.module, name.name)
    return found


def _as_python_runs_them() -> dict[str, tuple[str, str]]:
    modules = {name: ("neurosim", name) for name in ns._MODULES}
    return modules | {name: (module, name) for module, names in ns._NAMES.items() for name in names}


def test_the_table_that_runs_equals_the_imports_that_people_read() -> None:
    assert _as_python_runs_them() == _as_people_read_them()


def test_no_name_is_in_the_table_twice() -> None:
    names = [*ns._MODULES, *(name for names in ns._NAMES.values() for name in names)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", sorted(_as_people_read_them()))
def test_every_public_name_is_what_its_module_holds(name: str) -> None:
    module, inner = _as_people_read_them()[name]
    expected = importlib.import_module(f"neurosim.{name}") if module == "neurosim" else getattr(importlib.import_module(module), inner)
    assert getattr(ns, name) is expected


def test_no_public_name_hides_a_module_of_the_package() -> None:
    modules = {module.name for module in pkgutil.iter_modules(ns.__path__)}
    assert not modules & set(ns._HOME)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(AttributeError, match="no public name 'sensitivty'; did you mean 'sensitivity'"):
        ns.sensitivty  # type: ignore[attr-defined]  # noqa: B018  # the misspelling is the point


def test_dir_lists_every_public_name_before_it_is_used() -> None:
    assert set(ns.__all__) <= set(dir(ns))


def test_every_public_name_says_what_it_is() -> None:
    undocumented = [name for name in ns.__all__ if not name.startswith("__") and not getattr(getattr(ns, name), "__doc__", None)]
    assert not undocumented

"""Where data is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from neurosim.datasets import data_folder, find_data
from neurosim.errors import DataError


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder; the working folder is beside it."""
    (tmp_path / "here").mkdir()
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("NEUROSIM_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def test_a_relative_path_may_lie_in_the_data_folder(data: Path) -> None:
    (data / "mnist").mkdir()
    assert find_data("mnist", "a folder") == data / "mnist"


def test_the_working_folder_comes_first(data: Path) -> None:
    (data / "mnist").mkdir()
    Path("mnist").mkdir()
    assert find_data("mnist", "a folder") == Path("mnist")


def test_the_message_names_both_places(data: Path) -> None:
    with pytest.raises(DataError, match=f"mnist: must be a folder.*{Path.cwd()}.*{data}"):
        find_data("mnist", "a folder")


def test_an_absolute_path_is_looked_for_nowhere_else(data: Path) -> None:
    with pytest.raises(DataError, match="must be a folder, does not exist"):
        find_data(data / "none", "a folder")


def test_a_tilde_is_the_home_folder(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(data))
    monkeypatch.setenv("USERPROFILE", str(data))
    (data / "mine").touch()
    assert find_data("~/mine", "a file") == data / "mine"


def test_without_the_variable_data_go_to_the_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEUROSIM_DATA", raising=False)
    assert data_folder().name.lower() == "neurosim"
    assert data_folder().is_absolute()

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import neurosim.assets
from neurosim.assets import FOLDERS, asset, list_assets, packaged_config
from neurosim.errors import ConfigError


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The assets of a made-up installation: what lies in ``neurosim/_assets`` beside the module."""
    package = tmp_path / "site-packages" / "neurosim"
    for name in (
        "configs/study/digits.yaml",
        "configs/base.yaml",
        "hardware/pcm/profile.yaml",
        "hardware/pcm/.hidden",
        "hardware/README.md",
    ):
        file = package / "_assets" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    monkeypatch.setattr(neurosim.assets, "__file__", str(package / "assets.py"))
    return package / "_assets"


def test_a_wheel_finds_its_assets_inside_the_package(installed: Path) -> None:
    assert asset("hardware/pcm/profile.yaml") == installed / "hardware/pcm/profile.yaml"
    assert asset("hardware/pcm") == installed / "hardware/pcm"


def test_a_wheel_does_not_take_a_folder_of_the_same_name_beside_the_package(installed: Path) -> None:
    (installed.parent.parent / "training").mkdir()
    (installed.parent.parent / "training" / "theirs.py").touch()
    with pytest.raises(ConfigError, match="no folder is named 'training'"):
        list_assets("training")


def test_a_checkout_finds_its_assets_beside_the_package() -> None:
    root = Path(neurosim.assets.__file__).parent.parent
    assert asset("hardware") == root / "hardware"


def test_assets_are_listed_by_folder_and_pattern(installed: Path) -> None:
    assert list_assets("hardware") == ["hardware/README.md", "hardware/pcm/profile.yaml"]
    assert list_assets("hardware", "*/profile.yaml") == ["hardware/pcm/profile.yaml"]
    assert list_assets("configs/study") == ["configs/study/digits.yaml"]
    assert all(asset(name).is_file() for name in list_assets("configs"))


def test_an_unknown_name_suggests_the_nearest(installed: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        asset("hardware/pcn/profile.yaml")
    assert str(caught.value) == "assets: there is no 'hardware/pcn/profile.yaml'; did you mean 'hardware/pcm/profile.yaml'?"


def test_an_unknown_folder_suggests_the_nearest(installed: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        asset("config/base.yaml")
    assert str(caught.value) == "assets: no folder is named 'config'; did you mean 'configs'?"
    with pytest.raises(ConfigError, match="no folder is named 'hardware/none'"):
        list_assets("hardware/none")


@pytest.mark.parametrize(
    "name",
    [
        "configs/../../secret.txt",
        "configs//etc/passwd",
        "configs/./base.yaml",
        "configs/..",
        "configs/a\\..\\b",
        "configs/c:x",
        "configs/a\0b",
    ],
)
def test_a_name_does_not_lead_out_of_the_assets(installed: Path, name: str) -> None:
    (installed.parent / "secret.txt").touch()
    with pytest.raises(ConfigError, match="must not lead out of its folder"):
        asset(name)
    with pytest.raises(ConfigError):
        packaged_config("pkg:" + name.removeprefix("configs/"))


def test_a_link_does_not_lead_out_of_the_assets(installed: Path) -> None:
    (installed.parent / "secret.yaml").touch()
    (installed / "configs" / "link.yaml").symlink_to(installed.parent / "secret.yaml")
    with pytest.raises(ConfigError, match="must not lead out of its folder"):
        packaged_config("pkg:link.yaml")


def test_a_packaged_config_is_named_from_the_configs_folder(installed: Path) -> None:
    assert packaged_config("pkg:study/digits.yaml") == installed / "configs/study/digits.yaml"


def test_an_unknown_packaged_config_suggests_the_nearest(installed: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        packaged_config("pkg:study/digit.yaml")
    assert str(caught.value) == "there is no packaged config 'pkg:study/digit.yaml'; did you mean 'pkg:study/digits.yaml'?"


def test_every_folder_of_assets_is_found_from_another_place(tmp_path: Path) -> None:
    """The names do not depend on the present folder."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); from neurosim.assets import asset; print(asset('hardware').is_dir())"
    root = str(Path(neurosim.assets.__file__).parent.parent)
    done = subprocess.run([sys.executable, "-c", code, root], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_a_copied_installation_works_where_it_lies(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = tmp_path / "elsewhere"
    shutil.move(installed.parent, moved)
    monkeypatch.setattr(neurosim.assets, "__file__", str(moved / "assets.py"))
    assert sorted(FOLDERS) == list(FOLDERS)
    assert asset("configs/base.yaml") == moved / "_assets/configs/base.yaml"

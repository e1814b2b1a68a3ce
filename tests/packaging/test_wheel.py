"""The wheel, installed alone in a clean environment far from the checkout, does all three tasks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ASSETS = ("configs", "datasets", "hardware", "training")
CONFIG = "pkg:analogvnn/digits_mlp.yaml"

Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, so that nothing is left in the checkout and nothing left there gets in."""
    source = tmp_path_factory.mktemp("wheel") / "source"
    for name in ("neurosim", *ASSETS):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "_native*"))
    for file in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source / file)
    # what a checkout in use has lying about, and a wheel must not have
    (source / "training" / "__pycache__").mkdir()
    (source / "training" / "__pycache__" / "classify.cpython-311.pyc").write_bytes(b"")
    (source / "hardware" / ".DS_Store").write_bytes(b"")
    (source / "tests").mkdir()
    (source / "tests" / "test_nothing.py").write_text("")
    return source


def _build(source: Path, place: Path, **environment: str) -> Path:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [*build, "--wheel-dir", str(place), str(source)], capture_output=True, text=True, check=False, env=os.environ | environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = place.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def wheel(source: Path) -> Path:
    return _build(source, source.parent)


@pytest.fixture(scope="module")
def call(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Call:
    """Runs a program of a new environment that has the wheel, in an empty folder.

    The libraries the wheel needs are lent by the environment of the tests, as a plain folder on the path: its ``.pth`` files, and with them
    the checkout, are not read.
    """
    home = tmp_path_factory.mktemp("elsewhere")
    venv.create(home / "env", with_pip=False)
    programs = home / "env" / ("Scripts" if os.name == "nt" else "bin")
    python = programs / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True, check=True
    )
    lent = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (Path(site.stdout.strip()) / "lent.pth").write_text("\n".join(sorted(lent)) + "\n")
    folder = home / "empty"
    folder.mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}

    def run(*command: str, cwd: Path = folder) -> subprocess.CompletedProcess[str]:
        program, *arguments = command
        return subprocess.run([programs / program, *arguments], capture_output=True, text=True, cwd=cwd, env=environment, check=False)

    return run


def _contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def _is_kernels(name: str) -> bool:
    return name.startswith("neurosim/_native")


def test_the_wheel_holds_the_package_the_assets_and_the_licence_and_nothing_else(wheel: Path) -> None:
    package = {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "neurosim").rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }
    assets = {
        f"neurosim/_assets/{path.relative_to(ROOT).as_posix()}"
        for name in ASSETS
        for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }
    found = _contents(wheel)
    about = {name for name in found if ".dist-info/" in name}
    kernels = {name for name in found if _is_kernels(name)}
    assert assets
    assert len(kernels) == 1
    assert found - about - kernels == {name for name in package if not _is_kernels(name)} | assets
    assert any(name.endswith("/licenses/LICENSE") for name in about)


def test_the_wheel_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size < 3_000_000


def test_without_a_compiler_the_wheel_is_built_all_the_same_and_has_no_kernels(source: Path, tmp_path: Path) -> None:
    copy = tmp_path / "source"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("build", "*.egg-info"))
    found = _contents(_build(copy, tmp_path, CC="no-compiler", CXX="no-compiler"))
    assert "neurosim/csrc/common.h" in found
    assert not [name for name in found if _is_kernels(name)]


@pytest.mark.parametrize("other", [True, False])
def test_options_of_gcc_are_given_to_gcc_alone(other: bool, source: Path, tmp_path: Path) -> None:
    macros = "#define __GNUC__ 4\n" + "#define __clang__ 1\n" * other
    compiler = tmp_path / "compiler"  # says what it is, writes down how it is called, and compiles nothing
    compiler.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        f"open({str(tmp_path / 'calls')!r}, 'a').write(' '.join(sys.argv) + '\\n')\n"
        f"print({macros!r}) if '-dM' in sys.argv else sys.exit(1)\n"
    )
    compiler.chmod(0o755)
    copy = tmp_path / "source"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("build", "*.egg-info"))
    found = _contents(_build(copy, tmp_path, CC=str(compiler), CXX=f"{compiler} --launched"))
    assert not [name for name in found if _is_kernels(name)]
    compiled = [line for line in (tmp_path / "calls").read_text().splitlines() if " -c " in line]
    assert any("cpu_" in line for line in compiled)
    assert all(("-fvect-cost-model" in line or "-fno-unswitch-loops" in line) != other for line in compiled if "cpu_" in line)


def test_the_package_that_is_used_is_the_one_of_the_wheel(call: Call) -> None:
    done = call("python", "-c", "import neurosim; from neurosim import assets; print(neurosim.__file__); print(assets.asset('configs'))")
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        assert "site-packages" in line
        assert not Path(line).is_relative_to(ROOT)


def test_a_plain_wheel_has_kernels_that_are_found_and_used(call: Call) -> None:
    program = (
        "import os; os.environ['NEUROSIM_NATIVE'] = 'require'\n"
        "import torch, neurosim.random\n"
        "print(neurosim.random.stream(1, 'a').normal((4,), like=torch.empty(0)))\n"
    )
    done = call("python", "-c", program)
    assert done.returncode == 0, done.stderr


def test_a_plain_wheel_converts_a_model(call: Call) -> None:
    program = (
        "import torch, neurosim as ns\n"
        "model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))\n"
        "analog = ns.to_analog(model, 'photonic_avnn', seed=17)\n"
        "with ns.noise('ideal', analog):\n"
        "    assert torch.equal(analog(torch.ones(2, 64)), model(torch.ones(2, 64)))\n"
        "print(analog.conversion)\n"
    )
    done = call("python", "-c", program)
    assert done.returncode == 0, done.stderr
    assert "2 layers converted" in done.stdout


@pytest.fixture(scope="module")
def trained(call: Call) -> Path:
    """The folder of a run of one epoch."""
    done = call("neurosim", "train", CONFIG, "--set", "train.epochs=1", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert 0 <= answer["metrics"]["test_accuracy"] <= 1
    return Path(answer["run"])


def test_a_plain_wheel_trains_a_packaged_config_in_an_empty_folder(trained: Path) -> None:
    assert not trained.is_absolute(), "runs go to the working folder"


def test_a_plain_wheel_makes_a_sensitivity_report(call: Call, trained: Path) -> None:
    small = ["sensitivity.chips=2", "sensitivity.samples=64", "sensitivity.axes={leakage: {'*.noise.leakage': [0.0]}}"]
    changes = [part for change in small for part in ("--set", change)]
    done = call("neurosim", "sensitivity", str(trained), "--out", "report", "--json", *changes)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["verdict"]["word"] in ("PASS", "FAIL", "NOT PROVEN")
    page = call("python", "-c", "print(open('report/report.html', encoding='utf-8').read())").stdout
    assert answer["verdict"]["word"] in page
    assert "<svg" in page


def test_the_command_of_a_plain_wheel_examines_its_own_installation(call: Call) -> None:
    done = call("neurosim", "doctor", "--json")
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert done.returncode == 0, done.stdout
    assert checks["profiles"]["state"] == "ok"

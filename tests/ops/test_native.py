"""The library of CPU kernels: found, switched, called."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from neurosim.errors import ConfigError, RunError
from neurosim.ops import native


def test_the_library_was_built_and_shares_the_threads_of_torch() -> None:
    found = native.library()
    assert found.handle is not None, found.reason
    assert found.threads
    assert found.instruction_set in native.INSTRUCTION_SETS


@pytest.mark.parametrize(("value", "wanted"), [("auto", True), ("", True), ("require", True), ("off", False)])
def test_the_variable_decides_at_every_call(value: str, wanted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROSIM_NATIVE", value)
    assert native.wanted() is wanted


def test_an_unknown_value_is_refused_with_the_nearest_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROSIM_NATIVE", "requires")
    with pytest.raises(ConfigError, match="NEUROSIM_NATIVE: must be one of auto, off, require, got 'requires'; did you mean 'require'"):
        native.wanted()


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(native, "_PACKAGE", tmp_path)
    monkeypatch.setattr(native, "library", native.library.__wrapped__)


@pytest.mark.usefixtures("no_library")
def test_without_a_library_auto_uses_the_reference_and_require_says_why_it_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROSIM_NATIVE", "auto")
    assert native.wanted() is False
    monkeypatch.setenv("NEUROSIM_NATIVE", "require")
    with pytest.raises(RunError, match="needed, but it was not built"):
        native.wanted()


@pytest.mark.usefixtures("no_library")
def test_a_library_that_cannot_be_loaded_is_a_reason_and_no_crash(tmp_path: Path) -> None:
    (tmp_path / f"_native{EXTENSION_SUFFIXES[0]}").write_bytes(b"no library")
    found = native.library()
    assert found.handle is None
    assert "could not be loaded" in found.reason


def test_an_entry_point_that_refuses_is_an_error_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_function", lambda name: lambda block: 3)
    with pytest.raises(RunError, match=r"kernel example: it refused its arguments \(code 3\)"):
        native.entry("example", "Pqd")(0, 1, 2.0)
    monkeypatch.setattr(native, "_function", lambda name: lambda block: 1)
    with pytest.raises(RunError, match=r"kernel example: there is no memory left"):
        native.entry("example", "Pqd")(0, 1, 2.0)


def test_a_library_of_older_sources_is_told_apart() -> None:
    with pytest.raises(RunError, match=r"kernel no_such: .* was built from other sources and lacks it"):
        native.entry("no_such", "q")(1)


def test_fields_are_packed_without_gaps_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks: list[bytes] = []

    def take(block: bytes) -> int:
        blocks.append(block)
        return 0

    monkeypatch.setattr(native, "_function", lambda name: take)
    native.entry("example", "PqQd")(1, -2, 3, 0.5)
    words = (ctypes.c_uint64 * 4).from_buffer_copy(blocks[0])
    assert len(blocks[0]) == 32
    assert list(words) == [1, 2**64 - 2, 3, 0x3FE0000000000000]


def test_only_one_openmp_runtime_is_loaded_after_a_kernel_has_run() -> None:
    """Two pools would fight for the cores."""
    program = (
        "import torch, neurosim.random\n"
        "torch.set_num_threads(2)\n"
        "neurosim.random.stream(0, 'x').normal((1 << 18,), like=torch.empty(0))\n"
        "(torch.ones(1 << 20) * 2).sum()\n"
        "maps = open('/proc/self/maps').read().split()\n"
        "print(len({name for name in maps if 'libgomp' in name or 'libomp' in name or 'libiomp' in name}))\n"
    )
    if not Path("/proc/self/maps").exists():
        pytest.skip("loaded libraries are listed in /proc on Linux only")
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=os.environ | {"NEUROSIM_NATIVE": "require"}
    )
    assert done.stdout.strip() == "1", done.stderr


def test_importing_the_ops_loads_no_library() -> None:
    program = "import neurosim.ops.native as native\nprint(native.library.cache_info().currsize)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are listed in /proc on Linux only")
def test_a_kernel_of_few_tasks_leaves_the_threads_of_torch_alive() -> None:
    """OpenMP ends the threads that a smaller team does not need, and torch would start new ones at every op."""
    program = (
        "import os, torch, neurosim.random\n"
        "torch.set_num_threads(6)\n"
        "(torch.ones(1 << 20) * 2).sum()\n"
        "before = set(os.listdir('/proc/self/task'))\n"
        "for size in (6000, 9000, 20000):\n"
        "    neurosim.random.stream(0, 'x').normal((size,), like=torch.empty(0))\n"
        "print(sorted(before - set(os.listdir('/proc/self/task'))))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=os.environ | {"NEUROSIM_NATIVE": "require"}
    )
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_a_library_built_from_other_sources_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "sources", lambda: 1)
    found = native.library.__wrapped__()
    assert found.handle is None
    assert "was built from other sources: install the package again" in found.reason

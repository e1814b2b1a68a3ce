"""Compiled CUDA kernels on the disk: what names them, and what happens to those that are damaged. No GPU is needed."""

from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path

import pytest

from neurosim.errors import RunError
from neurosim.ops import cuda_cache
from neurosim.ops.cuda_cache import Kernel, cache_folder, machine_code, source_text
from tests.ops.cuda_tools import needs_nvrtc

SOURCE = """
#include "outer.h"
#include "inner.h"
struct Args { float *y; long long n; };
extern "C" __global__ void scale(const __grid_constant__ Args args) {
    const long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i < args.n)
        args.y[i] = inner(args.y[i]) * FACTOR;
}
"""
KERNEL = Kernel("scale.cu", "scale", (("FACTOR", "2.0f"),))


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of three small sources in place of the package's, and an empty cache."""
    folder = tmp_path / "csrc"
    folder.mkdir()
    (folder / "inner.h").write_text("#pragma once\n__device__ inline float inner(float x) { return x + 1.0f; }\n")
    (folder / "outer.h").write_text('#pragma once\n#include "inner.h"\n')
    (folder / "scale.cu").write_text(SOURCE)
    monkeypatch.setattr(source_text, "__defaults__", (folder,))
    monkeypatch.setenv("NEUROSIM_CACHE", str(tmp_path / "cache"))
    return folder


def entries() -> list[Path]:
    folder = cache_folder()
    assert folder is not None
    return sorted(folder.glob("*.cubin"))


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[Kernel]:
    """Grows by one with every call of the compiler."""
    calls: list[Kernel] = []
    original = cuda_cache.compiled

    def counted(text: str, kernel: Kernel, architecture: str) -> bytes:
        calls.append(kernel)
        return original(text, kernel, architecture)

    monkeypatch.setattr(cuda_cache, "compiled", counted)
    return calls


def test_headers_are_put_in_place_once(sources: Path) -> None:
    text = source_text("scale.cu")
    assert text.count("float inner(float x)") == 1
    assert "#include" not in text
    assert "#pragma once" not in text


def test_lines_keep_their_numbers(sources: Path) -> None:
    """A message of the compiler names the file and line that a person has to look at."""
    at, name = 0, ""
    found: dict[tuple[str, int], str] = {}
    for line in source_text("scale.cu").splitlines():
        if line.startswith("#line"):
            _, first, quoted = line.split()
            at, name = int(first), quoted.strip('"')
            continue
        found[name, at] = line
        at += 1
    for file in ("scale.cu", "inner.h"):
        for number, line in enumerate((sources / file).read_text().splitlines(), 1):
            if line.strip() and not line.startswith("#"):
                assert found[file, number] == line


@needs_nvrtc
def test_the_second_time_nothing_is_compiled(sources: Path, compilations: list[Kernel]) -> None:
    first = machine_code(KERNEL, "sm_80")
    assert machine_code(KERNEL, "sm_80") == first
    assert len(compilations) == 1
    assert len(entries()) == 1


@needs_nvrtc
def test_code_is_that_of_the_architecture(sources: Path) -> None:
    assert machine_code(KERNEL, "sm_80") != machine_code(KERNEL, "sm_90")
    assert len(entries()) == 2


@needs_nvrtc
@pytest.mark.parametrize("file", ["scale.cu", "outer.h", "inner.h"])
def test_a_change_of_any_source_compiles_anew(sources: Path, compilations: list[Kernel], file: str) -> None:
    machine_code(KERNEL, "sm_80")
    (sources / file).write_text((sources / file).read_text() + "// changed\n")
    machine_code(KERNEL, "sm_80")
    assert len(compilations) == 2


@needs_nvrtc
def test_other_definitions_are_another_kernel(sources: Path) -> None:
    machine_code(KERNEL, "sm_80")
    machine_code(KERNEL._replace(definitions=(("FACTOR", "3.0f"),)), "sm_80")
    assert len(entries()) == 2


@needs_nvrtc
@pytest.mark.parametrize("damage", ["truncated", "empty", "one bit", "another's"])
def test_a_damaged_entry_is_compiled_anew(sources: Path, compilations: list[Kernel], damage: str) -> None:
    good = machine_code(KERNEL, "sm_80")
    (path,) = entries()
    data = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "one bit":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    else:
        machine_code(KERNEL, "sm_90")
        (other,) = set(entries()) - {path}
        path.write_bytes(other.read_bytes())
    compilations.clear()
    assert machine_code(KERNEL, "sm_80") == good
    assert len(compilations) == 1
    assert path.read_bytes() == data


@needs_nvrtc
def test_without_a_folder_to_write_to_it_is_compiled_every_time(
    sources: Path, compilations: list[Kernel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NEUROSIM_CACHE", str(tmp_path / "file"))
    assert machine_code(KERNEL, "sm_80") == machine_code(KERNEL, "sm_80")
    assert len(compilations) == 2


def _compile_in_a_process(folder: str, queue: multiprocessing.Queue[bytes]) -> None:
    source_text.__defaults__ = (Path(folder),)
    queue.put(machine_code(KERNEL, "sm_80"))


@needs_nvrtc
def test_several_processes_at_once_agree(sources: Path) -> None:
    context = multiprocessing.get_context("spawn")
    queue: multiprocessing.Queue[bytes] = context.Queue()
    workers = [context.Process(target=_compile_in_a_process, args=(str(sources), queue)) for _ in range(3)]
    for worker in workers:
        worker.start()
    found = {queue.get(timeout=120) for _ in workers}
    for worker in workers:
        worker.join()
    assert found == {machine_code(KERNEL, "sm_80")}
    folder = cache_folder()
    assert folder is not None
    assert [path.suffix for path in folder.iterdir()] == [".cubin"]


@needs_nvrtc
def test_what_does_not_compile_says_where(sources: Path) -> None:
    (sources / "inner.h").write_text("#pragma once\n\n__device__ inline float inner(float x) { return y; }\n")
    with pytest.raises(RunError, match=r'scale: it must compile for sm_80, got from NVRTC: (?s:.*)inner\.h\(3\): error: identifier "y"'):
        machine_code(KERNEL, "sm_80")
    assert not entries()


@needs_nvrtc
def test_an_architecture_that_nvrtc_does_not_know_is_an_error(sources: Path) -> None:
    with pytest.raises(RunError, match="it must compile for sm_12345"):
        machine_code(KERNEL, "sm_12345")


@pytest.mark.parametrize(
    ("platform", "variables", "folder"),
    [
        ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/neurosim/cuda"),
        ("linux", {"HOME": "/h"}, "/h/.cache/neurosim/cuda"),
        ("darwin", {"HOME": "/h"}, "/h/Library/Caches/neurosim/cuda"),
        ("win32", {"LOCALAPPDATA": "/l"}, "/l/neurosim/cuda"),
        ("linux", {"NEUROSIM_CACHE": "/c", "XDG_CACHE_HOME": "/x"}, "/c/cuda"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="paths are written as elsewhere")
def test_kernels_are_kept_in_the_users_cache_folder(
    platform: str, variables: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NEUROSIM_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    found = cache_folder()
    assert found is not None
    assert found.as_posix() == folder


def test_a_user_without_a_home_keeps_no_kernels_and_has_them_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("NEUROSIM_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "expanduser", homeless)
    monkeypatch.setattr("neurosim.ops.cuda_cache.compiled", lambda text, kernel, architecture: b"code")
    assert cache_folder() is None
    assert machine_code(Kernel("philox.cu", "philox"), "sm_90") == b"code"

"""What tests of the CUDA kernels share: which compilers there are, and an emulation that needs no GPU.

The emulation compiles the same ``.cu`` file with a C++ compiler, all its threads in turn, and lets the ops start kernels there, with
tensors in the memory of the CPU: everything is exercised but CUDA itself, the preparation of the arguments and the indexing included.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from neurosim.ops import cuda, native, neuron_cuda, neuron_kernel, quantize_cuda, quantize_op
from neurosim.ops.cuda_cache import SOURCES, Kernel

CPU = torch.device("cpu")
COMPILER = shutil.which("g++") or shutil.which("clang++")
NVCC = shutil.which("nvcc")
HERE = Path(__file__).parent
_FLAGS = ("-std=c++17", "-O1", "-ffp-contract=off", "-fno-math-errno", "-fPIC", "-fsanitize=alignment,bounds,shift")
_TRAPS = ("-fsanitize-undefined-trap-on-error",)  # a vector that is not aligned would be an error on a GPU


def _nvrtc_is_there() -> bool:
    try:
        from cuda.bindings import nvrtc
        from cuda.core import Program  # noqa: F401  # whether it can be imported is the question

        nvrtc.nvrtcVersion()
    except (ImportError, RuntimeError):
        return False
    return True


needs_nvrtc = pytest.mark.skipif(not _nvrtc_is_there(), reason="needs cuda-core and NVRTC, which are not made for this platform")
needs_nvcc = pytest.mark.skipif(NVCC is None, reason="needs nvcc, which is not on the PATH")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="needs a C++ compiler")


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="neurosim_cuda_on_cpu_")


@cache
def _shim() -> Path:
    """The header that stands for CUDA, in a form that the compiler reads quickly."""
    header = Path(_folder().name) / "cuda_on_cpu.h"
    shutil.copy(HERE / header.name, header)
    if COMPILER is not None and Path(COMPILER).name == "g++":
        command = [COMPILER, *_FLAGS, *_TRAPS, "-x", "c++-header", str(header), "-o", f"{header}.gch"]
        subprocess.run(command, capture_output=True, check=True)
    return header


@cache
def emulated(kernel: Kernel) -> ctypes.CDLL:
    """The kernel as a library for the CPU: ``arguments()`` is the size of its struct, ``run(args, grid, block)`` runs it."""
    if COMPILER is None:
        raise RuntimeError("there is no C++ compiler")
    stem = Path(_folder().name) / f"k{abs(hash(kernel)):x}"
    program = f'#include "{_shim()}"\n#include "{SOURCES / kernel.file}"\nNS_RUN_ON_CPU({kernel.entry})\n'
    stem.with_suffix(".cpp").write_text(program)
    macros = [f"-D{name}={value}" for name, value in (("NEUROSIM_SET", "emulated"), *kernel.definitions)]
    target = stem.with_suffix(".so")
    command = [COMPILER, *_FLAGS, *_TRAPS, "-shared", *macros, f"-I{SOURCES}", str(stem.with_suffix(".cpp")), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    library = ctypes.CDLL(str(target))
    library.arguments.restype = ctypes.c_int64
    library.run.argtypes = (ctypes.c_char_p, ctypes.c_uint, ctypes.c_uint)
    return library


def launch(kernel: Kernel, grid: int, block: int, args: bytes, device: torch.device) -> None:
    """In place of :func:`neurosim.ops.cuda.launch`."""
    library = emulated(kernel)
    if len(args) != library.arguments():
        raise AssertionError(f"{kernel.entry}: its struct has {library.arguments()} bytes, {len(args)} were packed")
    if grid:
        library.run(args, grid, block)


def on_emulation(monkeypatch: pytest.MonkeyPatch) -> list[Kernel]:
    """From now on ops on CPU tensors take the way of CUDA tensors; what they start is listed."""
    started: list[Kernel] = []

    def noted(kernel: Kernel, grid: int, block: int, args: bytes, device: torch.device) -> None:
        started.append(kernel)
        launch(kernel, grid, block, args, device)

    pretend(monkeypatch, noted)
    return started


def pretend(monkeypatch: pytest.MonkeyPatch, launch: Callable[..., None]) -> None:
    """Ops on CPU tensors take the way of CUDA tensors, with this in place of :func:`neurosim.ops.cuda.launch`."""
    monkeypatch.setattr(cuda, "available", lambda device: True)
    monkeypatch.setattr(cuda, "launch", launch)
    monkeypatch.setattr(native, "wanted", lambda: True)
    monkeypatch.setattr(neuron_kernel, "_FORWARD", neuron_cuda.forward(CPU))
    monkeypatch.setattr(neuron_kernel, "_BACKWARD", neuron_cuda.backward(CPU))
    monkeypatch.setattr(quantize_op, "_forward_kernel", lambda *fields: quantize_cuda.forward(CPU, fields))
    monkeypatch.setattr(quantize_op, "_without_operands", _without_operands)
    monkeypatch.setattr(quantize_op, "_mask_kernel", _mask)


def _without_operands(counters: int, plan: int) -> Callable[..., None]:
    """Puts zeros where the packing of the CPU's kernel leaves a gap."""

    def start(*fields: Any) -> None:
        x, rest = fields[0], list(fields[1:])
        sizes = counters + 3
        given = [x, *[0] * 8, *rest[:counters], *[0] * (9 - counters), *rest[counters:sizes], *[0] * 7]
        quantize_cuda.forward(CPU, [*given, *rest[sizes : sizes + plan], *[0] * (18 - plan), *rest[sizes + plan :]])

    return start


def _mask(grad: int, mask: int, out: int, count: int, size: int, threads: int) -> None:
    number, bits = (torch.int64, torch.int32, torch.int16)[(8, 4, 2).index(size)], (ctypes.c_char * (count * size))
    found = [torch.frombuffer(bits.from_address(place), dtype=number) for place in (grad, out)]
    found[1].copy_(found[0] * torch.frombuffer((ctypes.c_char * count).from_address(mask), dtype=torch.uint8))


def nvcc(kernel: Kernel, architecture: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Compile the kernel with nvcc, with the options that NVRTC gets; a warning is an error."""
    macros = [f"-D{name}={value}" for name, value in kernel.definitions]
    target = Path(_folder().name) / f"k{abs(hash(kernel)):x}.{architecture}.cubin"
    command = [str(NVCC), "-cubin", f"-arch={architecture}", "-std=c++17", "--fmad=false", "-Werror", "all-warnings"]
    command += [*options, *macros, str(SOURCES / kernel.file), "-o", str(target)]
    return subprocess.run(command, capture_output=True, text=True, check=False)

"""Whether CUDA kernels are used, and how they are started: with a driver that only takes notes."""

from __future__ import annotations

import contextlib
import ctypes
import re
import types
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from neurosim.errors import RunError
from neurosim.ops import cuda
from neurosim.ops.cuda import Status
from neurosim.ops.cuda_cache import Kernel

GPU = torch.device("cuda", 0)
KERNEL = Kernel("any.cu", "any")


@pytest.mark.parametrize("mode", ["auto", "off", "require"])
def test_tensors_on_the_cpu_never_use_them(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROSIM_NATIVE", mode)
    assert not cuda.available(torch.device("cpu"))


@pytest.mark.parametrize(
    ("mode", "usable", "used"), [("auto", True, True), ("auto", False, False), ("off", True, False), ("require", True, True)]
)
def test_the_mode_and_the_gpu_decide(mode: str, usable: bool, used: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROSIM_NATIVE", mode)
    monkeypatch.setattr(cuda, "_examined", lambda index: Status(usable, "so it is"))
    assert cuda.available(GPU) is used


def test_what_is_required_and_not_there_is_an_error_that_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROSIM_NATIVE", "require")
    monkeypatch.setattr(cuda, "_examined", lambda index: Status(False, "the moon is full"))
    with pytest.raises(RunError, match="NEUROSIM_NATIVE=require: CUDA kernels are needed on cuda:0, but the moon is full"):
        cuda.available(GPU)


def test_a_torch_without_cuda_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    assert cuda.status() == Status(False, "this torch has no CUDA")


def test_a_machine_without_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert cuda.status() == Status(False, "no GPU is visible")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """torch believes in one GPU; what was found out about it is forgotten afterwards."""
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "Imaginary 1")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (9, 0))
    monkeypatch.setattr(torch.cuda, "device", lambda index: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda index: types.SimpleNamespace(cuda_stream=77))
    cuda._examined.cache_clear()
    yield
    cuda._examined.cache_clear()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            ModuleNotFoundError("No module named 'cuda'"),
            r"cuda-core is missing \(No module named 'cuda'\): pip install 'neurosim-torch\[cuda13\]'",
        ),
        (
            RunError("CUDA kernel: got from NVRTC: line one\nline two"),
            "kernels for Imaginary 1 cannot be made: CUDA kernel: got from NVRTC: line one$",
        ),
    ],
)
def test_what_keeps_kernels_from_being_made_is_told(error: Exception, reason: str, gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(kernel: Kernel, index: int) -> Any:
        raise error

    monkeypatch.setattr(cuda, "_loaded", fail)
    found = cuda.status()
    assert not found.usable
    assert re.search(reason, found.reason)


class Notes:
    """Stands in the place of ``cuda.bindings.driver``."""

    CUresult = types.SimpleNamespace(CUDA_SUCCESS=0, CUDA_ERROR_INVALID_CONTEXT=201)

    def __init__(self, *codes: Any) -> None:
        self.codes, self.calls, self.read = list(codes), list[tuple[int, ...]](), list[bytes]()

    def cuLaunchKernel(self, *call: int) -> tuple[Any]:
        self.calls.append(call)
        pointer = ctypes.c_void_p.from_address(call[9]).value
        self.read.append(ctypes.string_at(pointer or 0, 16))
        return (self.codes.pop(0),)


def started(monkeypatch: pytest.MonkeyPatch, *codes: Any, grid: int = 5) -> Notes:
    notes = Notes(*codes)
    monkeypatch.setattr(cuda, "_loaded", lambda kernel, index: cuda._Loaded(None, 1234, notes))
    cuda.launch(KERNEL, grid, 128, b"0123456789abcdef", GPU)
    return notes


@pytest.mark.usefixtures("gpu")
def test_a_kernel_starts_on_the_current_stream_with_its_struct(monkeypatch: pytest.MonkeyPatch) -> None:
    notes = started(monkeypatch, 0)
    ((function, *sizes, stream, _, extra),) = notes.calls
    assert (function, stream, extra) == (1234, 77, 0)
    assert sizes == [5, 1, 1, 128, 1, 1, 0]
    assert notes.read == [b"0123456789abcdef"]


@pytest.mark.usefixtures("gpu")
def test_an_empty_grid_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not started(monkeypatch, grid=0).calls


@pytest.mark.usefixtures("gpu")
def test_a_thread_that_has_not_seen_the_device_is_given_its_context(monkeypatch: pytest.MonkeyPatch) -> None:
    made_current: list[int] = []
    monkeypatch.setattr(cuda, "_make_current", made_current.append)
    assert len(started(monkeypatch, 201, 0).calls) == 2
    assert made_current == [0]


@pytest.mark.usefixtures("gpu")
def test_what_the_driver_refuses_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match="CUDA kernel any: it must start with 5 blocks of 128 threads, got CUDA_ERROR_LAUNCH_FAILED"):
        started(monkeypatch, types.SimpleNamespace(name="CUDA_ERROR_LAUNCH_FAILED"))

"""Kernels on an NVIDIA GPU: whether they can be used, and how they are started.

The sources travel with the package and are compiled for the GPU at hand when they are first needed (:mod:`neurosim.ops.cuda_cache`), by
NVRTC through NVIDIA's ``cuda-core``: ``pip install 'neurosim-torch[cuda13]'`` (or ``cuda12``, whichever torch is built for). No compiler is
needed on the machine. A kernel runs on torch's current stream and is over for Python as soon as it is queued, so it can be captured in a
CUDA graph. The environment variable ``NEUROSIM_NATIVE`` decides as it does for the CPU (:mod:`neurosim.ops.native`).
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any, Final, NamedTuple

import torch

from neurosim.errors import RunError
from neurosim.ops import native
from neurosim.ops.cuda_cache import Kernel, cache_folder, machine_code

STORED: Final = {torch.float32: "float", torch.float64: "double", torch.float16: "Float16", torch.bfloat16: "BFloat16"}  #: in csrc/vector.h
DTYPES: Final = tuple(STORED)  #: by their codes in csrc/storage.h
PROBE: Final = Kernel("philox.cu", "random_fill", (("NS_STORED", "float"), ("NS_NOISE", "5")))


class Status(NamedTuple):
    """Whether kernels run on a GPU, and why or why not."""

    usable: bool
    reason: str  #: one clause for people


def status(device: torch.device | None = None) -> Status:
    """Whether kernels can be compiled for and loaded on a GPU, whatever ``NEUROSIM_NATIVE`` says.

    Args:
        device: Which one; by default the current one.
    """
    if torch.version.cuda is None:
        return Status(False, "this torch has no CUDA")
    if not torch.cuda.is_available():
        return Status(False, "no GPU is visible")
    return _examined(_index(device))


def available(device: torch.device) -> bool:
    """Whether an op on tensors of that device is to use CUDA kernels now.

    Raises:
        RunError: It is a GPU, kernels are required, and they cannot be used.
    """
    if device.type != "cuda":
        return False
    chosen = native.mode()
    if chosen == "off":
        return False
    found = _examined(_index(device))
    if chosen == "require" and not found.usable:
        raise RunError(f"{native.VARIABLE}=require: CUDA kernels are needed on {device}, but {found.reason}")
    return found.usable


def launch(kernel: Kernel, grid: int, block: int, args: bytes, device: torch.device) -> None:
    """Queue a kernel on torch's current stream of the device; nothing is waited for.

    Args:
        kernel: Which one; it is compiled and loaded when it is first used.
        grid: Number of blocks, ≥ 0; with 0 nothing happens.
        block: Threads in a block.
        args: Its one parameter, a struct, as bytes.
        device: Where its memory is.

    Raises:
        RunError: It does not compile, or CUDA refuses it.
    """
    if grid == 0:
        return
    index = _index(device)
    function = _loaded(kernel, index)
    struct = ctypes.create_string_buffer(args, len(args))
    parameters = (ctypes.c_void_p * 1)(ctypes.addressof(struct))
    with torch.cuda.device(index):
        stream = torch.cuda.current_stream(index).cuda_stream
        call = (function.handle, grid, 1, 1, block, 1, 1, 0, stream, ctypes.addressof(parameters), 0)
        (code,) = function.driver.cuLaunchKernel(*call)
        if code == function.driver.CUresult.CUDA_ERROR_INVALID_CONTEXT:  # a thread in which torch has not used the device yet
            _make_current(index)
            (code,) = function.driver.cuLaunchKernel(*call)
    if code != function.driver.CUresult.CUDA_SUCCESS:
        raise RunError(f"CUDA kernel {kernel.entry}: it must start with {grid} blocks of {block} threads, got {code.name}")


def _make_current(index: int) -> None:
    from cuda.core import Device

    Device(index).set_current()


@cache
def _examined(index: int) -> Status:
    name = torch.cuda.get_device_name(index)
    extra = f"cuda{(torch.version.cuda or '').partition('.')[0]}"
    try:
        _loaded(PROBE, index)
    except ImportError as error:
        return Status(False, f"NVIDIA's cuda-core is missing ({error}): pip install 'neurosim-torch[{extra}]'")
    except Exception as error:  # of the compiler, the driver or the packages around them: each has its own classes
        return Status(False, f"kernels for {name} cannot be made: {str(error).strip().partition(chr(10))[0]}")
    kept = f"kept in {folder}" if (folder := cache_folder()) else "by each process, since there is no home folder to keep them in"
    return Status(True, f"compiled for {name} ({_architecture(index)}), {kept}")


class _Loaded(NamedTuple):
    """A kernel on a device; it stays there as long as this is alive."""

    kernel: Any
    handle: int
    driver: Any  #: the module to start it with


@cache
def _loaded(kernel: Kernel, index: int) -> _Loaded:
    from cuda.bindings import driver
    from cuda.core import ObjectCode

    code = machine_code(kernel, _architecture(index))
    _, before = driver.cuThreadExchangeStreamCaptureMode(driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED)
    try:  # so that loading is allowed while a graph is captured
        loaded = ObjectCode.from_cubin(code).get_kernel(kernel.entry)
        return _Loaded(loaded, int(loaded.handle), driver)
    finally:
        driver.cuThreadExchangeStreamCaptureMode(before)


def _architecture(index: int) -> str:
    major, minor = torch.cuda.get_device_capability(index)
    return f"sm_{major}{minor}"


def _index(device: torch.device | None) -> int:
    return torch.cuda.current_device() if device is None or device.index is None else device.index

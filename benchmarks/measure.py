"""Times that can be compared, and peaks of memory: what the benchmarks share."""

from __future__ import annotations

import ctypes
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm


def interleaved(variants: Mapping[str, Callable[[], object]], *, seconds: float, rounds: int, title: str) -> dict[str, float]:
    """Median seconds of each variant.

    Every round runs each variant once, in turn, so that whatever else the machine does meets all of them. The first two rounds warm up.
    Rounds end when ``seconds`` are over, but there are at least five, and at most ``rounds``.
    """
    times: dict[str, list[float]] = {name: [] for name in variants}
    begin = time.perf_counter()
    for at in tqdm(range(rounds + 2), desc=title, leave=False, file=sys.stderr):
        if at >= 7 and time.perf_counter() - begin > seconds:
            break
        for name, run in variants.items():
            start = time.perf_counter()
            run()
            taken = time.perf_counter() - start
            if at >= 2:
                times[name].append(taken)
    return {name: statistics.median(found) for name, found in times.items()}


def recycle_memory() -> bool:
    """Let the C library give freed memory to the next tensor instead of the system; whether it can be told (the GNU one can).

    Otherwise it depends on the sizes at hand whether a tensor of some megabytes gets memory that the system has just filled with zeros, and
    that takes as long as computing it. Torch's own tensors are concerned as much as ours.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform.startswith("linux") else None
    trim_threshold, mmap_max, never = -1, -4, 2**31 - 1  # as malloc.h has them
    return mallopt is not None and bool(mallopt(trim_threshold, never)) and bool(mallopt(mmap_max, 0))


def memory(field: str) -> int:
    """Bytes of this process, as Linux counts them: ``VmRSS`` now, ``VmHWM`` at the highest since :func:`forget_peak`."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def forget_peak() -> None:
    """Let ``VmHWM`` start again from what is used now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def machine() -> dict[str, Any]:
    """What a reader needs to know about where numbers come from."""
    cpu = platform.processor() or platform.machine()
    names = Path("/proc/cpuinfo")
    if names.exists():
        cpu = next((line.partition(": ")[2] for line in names.read_text().splitlines() if line.startswith("model name")), cpu)
    return {
        "cpu": cpu,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.system(),
    }

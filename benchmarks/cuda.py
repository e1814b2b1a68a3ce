"""Neurons on a GPU: forward and backward as a share of the bandwidth of a copy, beside SpikingJelly's kernels.

    python benchmarks/cuda.py --out cuda.json

One process, interleaved, medians. A time is what the GPU needs between two events: before each one a large buffer is overwritten, which
empties the L2 cache and keeps the GPU busy while Python queues the work. Equal spikes are asserted first. SpikingJelly is measured if it
can be imported: version 2 with the implementation that it selects (Triton, in the package from PyPI), version 1 with CuPy and Triton.
Without a GPU it says so and exits with 2.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

from neurosim.atomicfile import write_text
from neurosim.ops import cuda
from neurosim.ops.lif import lif

STEPS = (4, 16, 32)
NEURONS = 4 << 20
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
PASSES = {"forward": 2, "backward": 3, "both": 5}  #: tensors as large as the input that have to be read or written
STATES = {"forward": 1, "backward": 0, "both": 1}  #: float32 states of one step that have to be written

Run = Callable[[Tensor], Tensor]
Result = TypeVar("Result")


class Times(NamedTuple):
    """Median milliseconds."""

    forward: float
    backward: float
    both: float


def ours(x: Tensor) -> Tensor:
    """τ = 2, soft reset, arctangent: the dynamics that both libraries have."""
    return lif(x, decay=0.5).spikes


def peers() -> dict[str, Run]:
    """SpikingJelly's multi-step LIF with the same dynamics, one entry per backend."""
    try:
        neuron = importlib.import_module("spikingjelly.activation_based.neuron")
        surrogate = importlib.import_module("spikingjelly.activation_based.surrogate")
        functional = importlib.import_module("spikingjelly.activation_based.functional")
    except ImportError as error:
        print(f"SpikingJelly is not measured: {error}")
        return {}

    def node() -> Any:
        atan = surrogate.ATan(alpha=2.0)
        return neuron.LIFNode(2.0, decay_input=False, v_reset=None, surrogate_function=atan, detach_reset=True, step_mode="m").cuda()

    def run_of(layer: Any) -> Run:
        def run(x: Tensor) -> Tensor:
            functional.reset_net(layer)
            spikes: Tensor = layer(x)
            return spikes

        return run

    version = importlib.metadata.version("spikingjelly")
    if not hasattr(neuron.LIFNode, "supported_backends"):
        chosen = functional.neuron_implementation("lif", torch.device("cuda"))["implementation"]
        return {f"SpikingJelly {version}, {chosen}": run_of(node())}
    found: dict[str, Run] = {}
    for backend in sorted({"cupy", "triton"} & set(node().supported_backends)):
        layer = node()
        layer.backend = backend
        found[f"SpikingJelly {version}, {backend}"] = run_of(layer)
    return found


class Clock:
    """Times on the GPU, undisturbed by what is in its cache and by how fast Python queues the work."""

    def __init__(self) -> None:
        self.ballast = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")

    def __call__(self, work: Callable[[], Result]) -> tuple[float, Result]:
        """Milliseconds, and what the work returns."""
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]  # torch does not annotate it
        for _ in range(2):
            self.ballast.zero_()
        start.record()
        result = work()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end), result


def copy_bandwidth(clock: Clock, rounds: int) -> float:
    """Bytes read and written per second by torch's copy of 1 GiB."""
    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    times = [clock(partial(target.copy_, source))[0] for _ in range(rounds + 3)][3:]
    return 2 * source.numel() / (statistics.median(times) * 1e-3)


def measure(clock: Clock, runs: dict[str, Run], steps: int, neurons: int, dtype: torch.dtype, rounds: int) -> dict[str, Times]:
    """Times of every run on one input, interleaved; one that fails is named and left out."""
    generator = torch.Generator("cuda").manual_seed(0)
    x = torch.rand(steps, neurons, device="cuda", dtype=torch.float32, generator=generator).to(dtype).requires_grad_()
    grad = torch.rand(steps, neurons, device="cuda", dtype=torch.float32, generator=generator).to(dtype)
    wanted = ours(x)
    times: dict[str, list[list[float]]] = {}
    for name, run in runs.items():
        try:
            differing = int((run(x) != wanted).sum())
        except Exception as error:  # a peer's, of any kind: the others are measured all the same
            print(f"{name} fails at T={steps}, {dtype}: {str(error).partition(chr(10))[0]}")
            continue
        if differing:
            print(f"{name} fires differently at T={steps}, {dtype} ({differing} of {wanted.numel()} spikes) and is not timed")
            continue
        times[name] = []
    for at in range(rounds + 5):
        for name in times:
            forward, spikes = clock(partial(runs[name], x))
            backward, _ = clock(partial(torch.autograd.grad, spikes, x, grad))
            if at >= 5:  # the first rounds compile and warm up
                times[name].append([forward, backward, forward + backward])
    return {name: Times(*(statistics.median(column) for column in zip(*rows, strict=True))) for name, rows in times.items()}


def environment() -> dict[str, Any]:
    """What the numbers depend on."""
    properties = torch.cuda.get_device_properties(0)
    versions = {}
    for name in ("torch", "cuda-core", "cuda-bindings", "nvidia-cuda-nvrtc", "triton", "cupy-cuda13x", "cupy-cuda12x", "spikingjelly"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "command": " ".join(sys.argv),
        "gpu": properties.name,
        "memory_bytes": properties.total_memory,
        "driver": driver(),
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "versions": versions,
        "kernels": cuda.status().reason,
    }


def driver() -> str:
    """Version of the NVIDIA driver."""
    try:
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.partition("\n")[0]
    except (OSError, subprocess.CalledProcessError) as error:
        return f"unknown ({error})"


def main() -> None:
    """Measure, print, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30, help="timed repetitions")
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS)
    parser.add_argument("--neurons", type=int, default=NEURONS)
    parser.add_argument("--out", type=Path, help="write everything measured to this JSON file")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print("benchmarks/cuda.py needs a CUDA device, and torch sees none")
        raise SystemExit(2)
    if not cuda.status().usable:
        print(f"benchmarks/cuda.py needs our CUDA kernels: {cuda.status().reason}")
        raise SystemExit(2)
    clock = Clock()
    found = environment()
    bandwidth = found["copy_bytes_per_second"] = copy_bandwidth(clock, args.rounds)
    print(f"{found['gpu']}, driver {found['driver']}, CUDA {found['cuda']}, {found['versions']}; a copy moves {bandwidth / 1e12:.3f} TB/s")
    runs = {"neurosim": ours, **peers()}
    found["lif"] = []
    for name, dtype in DTYPES.items():
        for steps in tqdm(args.steps, desc=name, unit="length"):
            times = measure(clock, runs, steps, args.neurons, dtype, args.rounds)
            for library, row in times.items():
                moved = {part: args.neurons * (PASSES[part] * steps * dtype.itemsize + STATES[part] * 4) for part in PASSES}
                share = {part: moved[part] / (getattr(row, part) * 1e-3) / bandwidth for part in PASSES}
                entry = {"library": library, "dtype": name, "steps": steps, "neurons": args.neurons, "ms": row._asdict(), "share": share}
                found["lif"].append(entry)
    print(table(found["lif"]))
    if args.out:
        write_text(args.out, json.dumps(found, indent=1))


def table(entries: list[dict[str, Any]]) -> str:
    """Times, and the share of the copy's bandwidth that they make."""
    lines = [f"{'':44s}  {'forward':>16s}  {'backward':>16s}  {'both':>16s}"]
    for entry in entries:
        cells = [f"{entry['ms'][part]:7.3f} ms {entry['share'][part]:5.0%}" for part in PASSES]
        lines.append(f"{entry['dtype']:9s} T={entry['steps']:<4d} {entry['library']:28s}  " + "  ".join(f"{cell:>16s}" for cell in cells))
    return "\n".join(lines)


if __name__ == "__main__":
    main()

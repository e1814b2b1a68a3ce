"""The fused neurons beside SpikingJelly, snnTorch, norse and plain torch: time and memory, as ratios in one process.

    python benchmarks/neurons.py            # everything, about half an hour
    python benchmarks/neurons.py --quick    # small sizes and few rounds: checks that everything runs

Forward and backward with the gradient of the input, float32, two threads, medians of interleaved rounds. Every pair that is timed is first
checked to compute the same: spikes and gradients, in float64 and float32. Rows named *accelerated layer* have the speed-up of
``neurosim.accelerate`` over the original layer as their ratio. Freed memory is used again, for all alike: with ``--fresh-memory`` large
tensors may get memory from the system each time, which first fills it with zeros. ``.venv/bin/python -m pip install -c constraints.txt -e
'.[interop,peers]'`` brings the other libraries; what is not there is left out, with a line that says so.

Peak memory is that of a process of its own, read from Linux (``VmHWM``, set back before the measurement), so that every allocation counts:
torch's, the kernels' and the C library's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from importlib.metadata import version
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import neuron_network
import torch
from measure import forget_peak, interleaved, machine, memory, recycle_memory
from neuron_peers import Contest, Run, check_equal, contests, cotangent, drive, forward_backward, ours_plain, plain_loop

from neurosim.atomicfile import write_text
from neurosim.ops import native

#: (T, B, N): least speed-up wanted over each peer
CONTESTS: dict[tuple[int, int, int], dict[str, float]] = {
    (500, 16, 512): {"SpikingJelly": 10, "snnTorch": 15, "norse": 40},
    (16, 64, 4096): {"SpikingJelly": 5, "snnTorch": 8, "compiled plain loop": 2},
}
#: in rows against these, ours is the library's own layer after ``neurosim.accelerate``: the ratio is the speed-up over the original
ACCELERATED = ("snnTorch", "norse")
STREAMED = ((16, 64, 4096), (4, 32, 65536))
SWEEP = [(t, n) for t, n in product((1, 4, 16, 100, 500), (64, 1024, 16384, 131072, 262144, 1048576)) if t * n <= 1 << 26]


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    quick: bool
    seconds: float  #: for one row of the table

    def times(self, variants: Mapping[str, Callable[[], object]], rounds: int, title: str, weight: int = 1) -> dict[str, float]:
        """Median seconds of each variant; slow ones get ``weight`` times as long."""
        return interleaved(variants, seconds=1 if self.quick else weight * self.seconds, rounds=5 if self.quick else rounds, title=title)


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    work: str
    against: str
    ours: float  #: seconds; bytes for memory
    theirs: float
    ratio: float
    wanted: str = ""  #: what the ratio has to be, where something is wanted
    holds: bool | None = None

    @classmethod
    def faster(cls, work: str, against: str, ours: float, theirs: float, least: float | None = None) -> Row:
        """How many times faster ours is."""
        ratio = theirs / ours
        return cls(work, against, ours, theirs, ratio, "" if least is None else f"≥ {least:g}", None if least is None else ratio >= least)

    @classmethod
    def share(cls, work: str, against: str, ours: float, theirs: float, most: float | None = None) -> Row:
        """How much of theirs ours takes."""
        ratio = ours / theirs
        return cls(work, against, ours, theirs, ratio, "" if most is None else f"≤ {most:g}", None if most is None else ratio <= most)


def compete(found: dict[str, Contest], effort: Effort) -> list[Row]:
    """A layer against every library."""
    rows = []
    for shape, wanted in CONTESTS.items():
        known = dict(found)
        if "compiled plain loop" in wanted:
            known |= compiled()
        size = (min(shape[0], 50), 4, 64) if effort.quick else shape
        for name, contest in known.items():
            otherwise = check_equal(name, contest, (size[0], 4, 64))
            x = drive(*size).requires_grad_()
            grad = cotangent(x)
            variants = {side: forward_backward(getattr(contest, side), x, grad) for side in ("ours", "peer")}
            times = effort.times(variants, 50, f"{name} {size}")
            note = f" ({otherwise:.1g} of the neurons decided by a tie)" if otherwise else ""
            what = "accelerated layer" if name.startswith(ACCELERATED) else "LIF"
            rows.append(Row.faster(f"{what} {size}{note}", name, times["ours"], times["peer"], wanted.get(name)))
    return rows


def compiled() -> dict[str, Contest]:
    """The plain loop under ``torch.compile``."""
    return {"compiled plain loop": Contest(torch.compile(plain_loop, dynamic=False), ours_plain, True)}


def sweep(effort: Effort) -> list[Row]:
    """Never slower than the plain loop."""
    rows = []
    for t, n in [(1, 64), (16, 1024)] if effort.quick else SWEEP:
        x = drive(t, n).requires_grad_()
        grad = cotangent(x)
        variants = {"ours": forward_backward(ours_plain, x, grad), "peer": forward_backward(plain_loop, x, grad)}
        times = effort.times(variants, 200, f"sweep {t}, {n}")
        rows.append(Row.faster(f"LIF ({t}, {n})", "plain loop", times["ours"], times["peer"], 1))
    return rows


def stream(effort: Effort) -> list[Row]:
    """Against moving five tensors through memory: x and spikes forward, x and both gradients backward."""
    rows = []
    for shape in STREAMED:
        size = (shape[0], 4, 512) if effort.quick else shape
        x = drive(*size).requires_grad_()
        grad, spikes, grad_x, plain = cotangent(x), torch.empty(size), torch.empty(size), x.detach()

        def move(plain: Any = plain, grad: Any = grad, spikes: Any = spikes, grad_x: Any = grad_x) -> None:
            torch.neg(plain, out=spikes)
            torch.add(plain, grad, out=grad_x)

        variants = {"ours": forward_backward(ours_plain, x, grad), "peer": move}
        times = effort.times(variants, 200, f"stream {size}")
        rows.append(Row.share(f"LIF {size}", "five tensors through memory", times["ours"], times["peer"], 3))
    return rows


def overhead(effort: Effort) -> list[Row]:
    """What a call costs when there is next to nothing to compute."""
    x = drive(1, 64).requires_grad_()
    grad = cotangent(x)
    runs = {"ours": ours_plain, "peer": plain_loop, "empty": empty_op()}
    times = effort.times({name: forward_backward(run, x, grad) for name, run in runs.items()}, 5000, "overhead")
    allowed = 90e-6
    return [
        Row.faster("LIF (1, 64)", "plain loop", times["ours"], times["peer"], 1),
        Row.share("LIF (1, 64)", "90 µs", times["ours"], allowed, 1),
        Row.share("LIF (1, 64)", "an op that computes nothing", times["ours"], times["empty"]),
    ]


def empty_op() -> Run:
    """An op as the documentation of torch declares one, whose forward and backward compute nothing: the least that one can cost."""
    schemas = {"forward": "(Tensor x) -> Tensor", "backward": "(Tensor grad, Tensor x) -> Tensor"}
    for name, schema in schemas.items():
        torch.library.define(f"neurosim_benchmark::{name}", schema)
        torch.library.impl(f"neurosim_benchmark::{name}", "CompositeExplicitAutograd", lambda x, *_: torch.empty_like(x))
    ops = torch.ops.neurosim_benchmark
    torch.library.register_autograd(
        "neurosim_benchmark::forward",
        lambda ctx, grad: ops.backward.default(grad, *ctx.saved_tensors),
        setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
    )
    run: Run = ops.forward.default
    return run


PEAKS = {"ours": ours_plain, "plain loop": plain_loop}


def peaks(effort: Effort) -> list[Row]:
    """Peak of a forward and backward, against input, output and their gradients."""
    if not Path("/proc/self/clear_refs").exists():
        print("peak memory is left out: only Linux tells it", file=sys.stderr)
        return []
    rows = []
    for shape in ((100, 16, 512), (16, 16, 1024)) if effort.quick else ((500, 16, 512), (64, 64, 4096)):
        for name in PEAKS:
            command = [sys.executable, __file__, "--peak", name, *map(str, shape)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            needed = 4 * 4 * torch.Size(shape).numel()
            wanted = 1.05 if name == "ours" and not effort.quick else None
            rows.append(Row.share(f"peak memory, {name} {shape}", "x, spikes and their gradients", int(done.stdout), needed, wanted))
    return rows


def print_peak(name: str, shape: list[int]) -> None:
    """In a process of its own: how much memory a forward and backward takes at most, the input and the gradient it starts from included."""
    torch.set_num_threads(2)
    run = PEAKS[name]
    small = drive(*(min(size, 4) for size in shape)).requires_grad_()
    run(small).backward(cotangent(small))  # type: ignore[no-untyped-call]  # torch does not type backward
    forget_peak()
    before = memory("VmRSS")
    x = torch.zeros(shape).requires_grad_()
    grad = torch.ones(shape)
    run(x).backward(grad)  # type: ignore[no-untyped-call]  # torch does not type backward
    print(memory("VmHWM") - before)


def train(libraries: set[str], effort: Effort) -> list[Row]:
    """A training step of the spiking VGG-8."""
    steps, batch = 4, 2 if effort.quick else 32
    kinds = ["ours", "ReLU"]
    if "SpikingJelly" in libraries:
        neuron_network.check_equal("ours", "SpikingJelly", torch.float64)
        kinds.append("SpikingJelly")
    if "snnTorch" in libraries:
        neuron_network.check_equal("snnTorch, accelerated", "snnTorch", torch.float32)  # its spikes have no other type
        kinds += ["snnTorch, accelerated", "snnTorch"]
    variants = {kind: neuron_network.train_step(kind, steps, batch) for kind in kinds}
    variants["neurons"] = neuron_network.neurons_alone("ours", steps, batch)
    times = effort.times(variants, 30, "VGG-8", weight=12)
    work = f"VGG-8 train step, T = {steps}, batch {batch}"
    rows = [Row.share(work, "the same with ReLU", times["ours"], times["ReLU"], 1.1)]
    if "SpikingJelly" in times:
        rows.append(Row.faster(work, "SpikingJelly", times["ours"], times["SpikingJelly"], 1))
    if "snnTorch" in times:
        rows.append(Row.faster(work, "snnTorch, accelerated beside original", times["snnTorch, accelerated"], times["snnTorch"], 1))
        rows.append(Row.faster(work, "snnTorch", times["ours"], times["snnTorch"], 1))
    rows.append(Row.share(f"neurons in the {work}", "the whole step", times["neurons"], times["ours"]))
    return rows


def table(rows: list[Row]) -> str:
    """Markdown."""
    lines = ["| work | against | ours | theirs | ratio | wanted | holds |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        ours, theirs = (f"{value / 1e6:.1f} MB" if "memory" in row.work else f"{value * 1e3:.3g} ms" for value in (row.ours, row.theirs))
        holds = {None: "", True: "yes", False: "**no**"}[row.holds]
        lines.append(f"| {row.work} | {row.against} | {ours} | {theirs} | {row.ratio:.3g} | {row.wanted} | {holds} |")
    return "\n".join(lines) + "\n"


def write_page(page: Path, about: dict[str, Any], rows: list[Row]) -> None:
    """Put the table where the page has its last one."""
    before, _, rest = page.read_text(encoding="utf-8").partition("<!-- neurons -->\n")
    _, _, after = rest.partition("<!-- end -->\n")
    where = f"{about['cpu']}, {about['threads']} threads; torch {about['torch']}, Python {about['python']}; " + ", ".join(
        f"{library} {version(library)}" for library in ("spikingjelly", "snntorch", "norse") if find_spec(library)
    )
    write_text(
        page,
        f"{before}<!-- neurons -->\n`python {about['command']}` on {where}; {date.today():%B %Y}:\n\n{table(rows)}\n<!-- end -->\n{after}",
    )


def main() -> None:
    """Check, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, few rounds; ratios mean little")
    parser.add_argument("--only", nargs="+", choices=["compete", "sweep", "stream", "overhead", "memory", "network"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--fresh-memory", action="store_true", help="leave it to the C library which tensors get memory from the system")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each row of the table")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/benchmarks/neurons"), help="files of this name with .json and .md are written"
    )
    parser.add_argument(
        "--page", type=Path, help="a Markdown page: the table is written between its lines <!-- neurons --> and <!-- end -->"
    )
    parser.add_argument("--peak", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak:
        print_peak(args.peak[0], [int(size) for size in args.peak[1:]])
        return
    warnings.filterwarnings("ignore")  # what other libraries say about their own code
    torch.set_num_threads(args.threads)
    found, missing = contests()
    for line in missing:
        print(line, file=sys.stderr)
    recycled = not args.fresh_memory and recycle_memory()
    about = machine() | {
        "freed memory": "used again" if recycled else "as the C library decides",
        "kernels": native.library().reason,
        "mode": native.mode(),
        "command": " ".join(sys.argv),
    }
    print("\n".join(f"{key}: {value}" for key, value in about.items()) + "\n")
    effort = Effort(args.quick, args.seconds)
    parts: dict[str, Callable[[], list[Row]]] = {
        "compete": lambda: compete(found, effort),
        "sweep": lambda: sweep(effort),
        "stream": lambda: stream(effort),
        "overhead": lambda: overhead(effort),
        "memory": lambda: peaks(effort),
        "network": lambda: train(set(found), effort),
    }
    rows: list[Row] = []
    for name, part in parts.items():
        if not args.only or name in args.only:
            made = [replace(row, wanted="", holds=None) for row in part()] if args.quick else part()
            rows += made
            print(table(made), flush=True)
            args.out.parent.mkdir(parents=True, exist_ok=True)
            write_text(args.out.with_suffix(".json"), json.dumps(about | {"rows": [asdict(row) for row in rows]}, indent=1))
            write_text(args.out.with_suffix(".md"), table(rows))
    if args.page:
        write_page(args.page, about, rows)
    failed = [row for row in rows if row.holds is False]
    print(f"{len(rows)} rows, {len(failed)} of them not as wanted; {args.out.with_suffix('.json')}, {args.out.with_suffix('.md')}")


if __name__ == "__main__":
    main()

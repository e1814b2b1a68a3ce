"""Every CUDA kernel compiles, with NVRTC and with nvcc, for two generations of GPUs; neither a GPU nor a driver is needed."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from neurosim.ops import neuron_cuda, philox, quantize_cuda
from neurosim.ops.cuba_lif import cuba_lif
from neurosim.ops.cuda_cache import SOURCES, Kernel, machine_code, source_text
from neurosim.ops.li import li
from neurosim.ops.lif import lif
from neurosim.ops.neuron_arguments import RESETS
from neurosim.ops.quantize import Error, LearnedLevels, Levels, Limits, convert
from neurosim.ops.quantize_plan import DISTRIBUTIONS, GROWTHS, ROUNDINGS
from neurosim.random import stream
from neurosim.surrogate import SURROGATES, surrogate
from tests.ops.cuda_tools import needs_nvcc, needs_nvrtc, nvcc, pretend

ARCHITECTURES = ("sm_80", "sm_90")  #: nothing in the sources differs between them; before sm_80 there is no instruction for bfloat16
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def _used() -> Iterator[None]:
    """Calls of the ops that between them use every variant of every line of the sources."""
    noise = stream(0, "noise")
    for dtype in DTYPES:
        x = torch.zeros(5, 8, dtype=dtype)
        noise.uniform((8,), like=x)
        noise.normal((8,), like=x)
        _backward(lif(x.requires_grad_(), decay=0.5).spikes)
        yield
    x = torch.zeros(5, 8).requires_grad_()
    _backward(lif(x, decay=0.5, input_noise=0.1, membrane_noise=0.1, stream=noise).spikes)
    yield
    each: dict[str, Any] = {name: torch.ones(8).requires_grad_() for name in ("decay", "threshold", "reset_by", "gain", "bias", "v_reset")}
    for reset in RESETS:
        _backward(lif(x, reset=reset, detach_reset=False, strict=True, record=True, **each).spikes)
        yield
    for name in SURROGATES:
        if SURROGATES[name].code is not None:
            _backward(lif(x, decay=0.5, surrogate=surrogate(name)).spikes)
            yield
    _backward(
        cuba_lif(x, syn_decay=torch.ones(8).requires_grad_(), w_in=torch.ones(()).requires_grad_(), detach_reset=False, **each).spikes
    )
    _backward(li(x, decay=0.5)[0])
    for steps in (16, 32, 100):
        _backward(lif(torch.zeros(steps, 8).requires_grad_(), decay=0.5).spikes)
        yield
    yield from _quantiser_used()


def _quantiser_used() -> Iterator[None]:
    bounds = [torch.full((8,), value).requires_grad_() for value in (-1.0, 1.0, 0.1)]
    fixed = Levels(4.0, 0.3, -1.0, 1.0, "half_even", "before", "ste", stream(0, "rounding"))
    for dtype in DTYPES:
        _backward(
            convert(torch.zeros(5, 8, dtype=dtype).requires_grad_(), levels=fixed._replace(origin=0.0, clip="after", grad="ste_masked"))
        )
        yield
    x = torch.zeros(5, 8).requires_grad_()
    names: Any
    for names in zip(ROUNDINGS, GROWTHS * 3, DISTRIBUTIONS * 3, strict=False):
        error = Error(names[2], names[1], bounds[2], stream(0, "noise"), "through")
        learned = LearnedLevels(5, bounds[0], bounds[1], names[0], "lsq", stream(0, "rounding"))
        _backward(convert(x, before=error, limits=Limits(bounds[0], bounds[1], "through"), levels=learned, after=error, channel=-1))
        yield
    given = Error("gaussian", "additive", bounds[2].detach().sum().requires_grad_(), torch.zeros(8), "through")
    _backward(convert(x, before=given, limits=Limits(-1.0, 1.0, "through"), levels=fixed._replace(grad="through")))
    yield


def _backward(out: torch.Tensor) -> None:
    torch.autograd.grad(out.sum(), [leaf for leaf in _leaves(out)])


def _leaves(out: torch.Tensor) -> list[torch.Tensor]:
    found = [function for function, _ in out.grad_fn.next_functions if function is not None] if out.grad_fn is not None else []
    return [function.variable for function in found if hasattr(function, "variable")]


def _kernels() -> list[Kernel]:
    """What those calls would start on a GPU."""
    started: dict[Kernel, None] = {}
    with pytest.MonkeyPatch.context() as patch:
        pretend(patch, lambda kernel, *rest: started.setdefault(kernel))
        patch.setattr(neuron_cuda, "ENOUGH", 1)
        for _ in _used():
            pass
    return list(started)


KERNELS = _kernels()
ONE_OF_EACH = list({kernel.entry: kernel for kernel in reversed(KERNELS)}.values())
ONE_OF_EACH_TYPE = list({(kernel.entry, dict(kernel.definitions).get("NS_STORED")): kernel for kernel in reversed(KERNELS)}.values())


def _name(kernel: Kernel) -> str:
    return f"{kernel.entry}-{'-'.join(value for _, value in kernel.definitions)}"


def test_the_list_has_every_source() -> None:
    assert {kernel.file for kernel in KERNELS} == {path.name for path in SOURCES.glob("*.cu")}
    assert len(KERNELS) > 30


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROSIM_CACHE", str(tmp_path))


def _functions(cubin: bytes) -> set[str]:
    """Names of the global functions in an ELF file: what the driver can find."""
    (table,) = struct.unpack_from("<Q", cubin, 40)
    size, count = struct.unpack_from("<HH", cubin, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", cubin, table + at * size) for at in range(count)]
    found = set()
    for _, kind, _, _, start, length, link, _, _, entry in sections:
        if kind != 2:  # a table of symbols
            continue
        names = sections[link][4]
        for at in range(start, start + length, entry):
            name, info = struct.unpack_from("<IB", cubin, at)
            if info & 15 == 2 and info >> 4 == 1:  # a function, global
                found.add(cubin[names + name : cubin.index(0, names + name)].decode())
    return found


@needs_nvrtc
@pytest.mark.parametrize("kernel", KERNELS, ids=_name)
def test_nvrtc_makes_machine_code_with_that_one_entry(kernel: Kernel) -> None:
    assert _functions(machine_code(kernel, ARCHITECTURES[-1])) == {kernel.entry}


@needs_nvrtc
@pytest.mark.parametrize("architecture", ["sm_75", *ARCHITECTURES[:-1]])
@pytest.mark.parametrize("kernel", ONE_OF_EACH_TYPE, ids=_name)
def test_and_for_older_gpus(kernel: Kernel, architecture: str) -> None:
    assert _functions(machine_code(kernel, architecture)) == {kernel.entry}


@needs_nvcc
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("kernel", ONE_OF_EACH, ids=_name)
def test_nvcc_compiles_without_a_warning(kernel: Kernel, architecture: str) -> None:
    done = nvcc(kernel, architecture)
    assert done.returncode == 0, done.stderr


@needs_nvcc
@pytest.mark.parametrize("learned", [(), ("decay", "threshold")], ids=["plain", "learned"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("steps", [4, 16, 32])
def test_the_course_of_a_neuron_stays_in_registers(steps: int, dtype: torch.dtype, learned: tuple[str, ...]) -> None:
    """On the way back, but for a tenth at most: spilled, it would go through memory once more."""
    started: list[Kernel] = []
    with pytest.MonkeyPatch.context() as patch:
        pretend(patch, lambda kernel, *rest: started.append(kernel))
        patch.setattr(neuron_cuda, "ENOUGH", 1)
        settings: dict[str, Any] = {"decay": 0.5} | {name: torch.ones(64).requires_grad_() for name in learned}
        _backward(lif(torch.zeros(steps, 64, dtype=dtype).requires_grad_(), **settings).spikes)
    done = nvcc(started[-1], "sm_90", "-Xptxas", "-v")
    spilled = re.search(r"(\d+) bytes spill stores", done.stderr)
    assert spilled is not None, done.stderr
    width = int(dict(started[-1].definitions)["NS_WIDTH"])
    assert int(spilled[1]) <= 0.1 * steps * width * 4


def _layout(name: str, text: str) -> str:
    """The fields of a struct in the sources, one letter each."""
    found = re.search(rf"struct {name} \{{(.*?)\}};", text, re.DOTALL)
    assert found
    letters = []
    for declaration in re.sub(r"//[^\n]*", "", found[1]).split(";"):
        if not (match := re.match(r"\s*(?:const )?(\w+)\s+(.*)", declaration, re.DOTALL)):
            continue
        for field in match[2].split(","):
            length = re.search(r"\[(\w+)\]", field)
            one = "P" if "*" in field else {"int64_t": "q", "double": "d"}.get(match[1]) or _layout(match[1], text)
            letters.append(one * (1 if length is None else _length(length[1], text)))
    return "".join(letters)


def _length(size: str, text: str) -> int:
    """A number, the value of a constant, or the place of a name in an enumeration."""
    if size.isdigit():
        return int(size)
    if found := re.search(rf"\b{size} = (\d+)", text):
        return int(found[1])
    names = next(names for names in re.findall(r"enum \w+ : int {(.*?)}", text, re.DOTALL) if re.search(rf"\b{size}\b", names))
    return [name.strip() for name in names.split(",")].index(size)


@pytest.mark.parametrize(
    ("file", "struct_name", "layout"),
    [
        ("philox.cu", "RandomFields", philox._FIELDS),
        ("neurons_forward.cu", "ForwardArgs", neuron_cuda.FORWARD),
        ("neurons_backward.cu", "BackwardOnCuda", neuron_cuda.BACKWARD + "P"),
        ("quantize_forward.cu", "ForwardFields", quantize_cuda.FORWARD),
        ("quantize_backward.cu", "BackwardOnCuda", quantize_cuda.BACKWARD + "P" * quantize_cuda.GRADIENTS),
    ],
)
def test_what_is_packed_is_what_the_struct_says(file: str, struct_name: str, layout: str) -> None:
    expanded = re.sub(r"(\d+)(\w)", lambda repeated: repeated[2] * int(repeated[1]), layout)
    assert _layout(struct_name, source_text(file)) == expanded

"""What tests of the neuron ops share: a definition of their own, written for autograd, and drawn settings for both implementations."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor

from neurosim.ops.cuba_lif import CubaLIFState, cuba_lif
from neurosim.ops.li import li
from neurosim.ops.lif import lif
from neurosim.ops.neuron_arguments import RESETS
from neurosim.surrogate import SURROGATES, Surrogate, surrogate

LIF = ("decay", "threshold", "reset_by", "gain", "bias", "v_reset", "sign")
CUBA_LIF = (*LIF, "syn_decay", "w_in")
DEFAULTS = {"decay": 0.8, "threshold": 1.0, "gain": 1.0, "bias": 0.0, "v_reset": 0.0, "sign": 1.0, "syn_decay": 0.7, "w_in": 1.0}


def normal(name: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    """The same numbers in every test run."""
    source = torch.Generator().manual_seed(sum(name.encode()))
    return torch.randn(shape, generator=source, dtype=torch.float64).to(dtype)


@contextmanager
def native(mode: str) -> Iterator[None]:
    """Inside, ``NEUROSIM_NATIVE`` has that value."""
    before = os.environ.get("NEUROSIM_NATIVE")
    os.environ["NEUROSIM_NATIVE"] = mode
    try:
        yield
    finally:
        if before is None:
            del os.environ["NEUROSIM_NATIVE"]
        else:
            os.environ["NEUROSIM_NATIVE"] = before


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, strict: bool, shape: Surrogate) -> Tensor:
        ctx.save_for_backward(z)
        ctx.shape = shape
        return (z > 0 if strict else z >= 0).to(z.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]  # as torch's documentation has it
        return grad * ctx.shape.gradient(ctx.saved_tensors[0]), None, None


def model(
    x: Tensor,
    states: tuple[Tensor, Tensor],
    p: Mapping[str, Tensor | float],
    synapse: bool,
    *,
    reset: str,
    strict: bool = False,
    detach_reset: bool = True,
    shape: Surrogate,
    noise: Callable[[int], Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Spikes, current, membrane and record, by the equations, with resets as products so that autograd sees through them."""
    p = {**DEFAULTS, **p}
    rho = p.get("reset_by", p["threshold"])
    i, v = states
    spikes, record = [], []

    def spike(v: Tensor) -> Tensor:
        return _Spike.apply(p["sign"] * (v - p["threshold"]), strict, shape)  # type: ignore[no-any-return,no-untyped-call]  # torch does not type it

    for t, x_t in enumerate(x.unbind(0)):
        i = p["syn_decay"] * i + p["w_in"] * x_t if synapse else x_t
        r = spike(v)
        r = r.detach() if detach_reset or reset == "soft_both" else r
        start = v
        if reset == "soft_next_decayed":
            start = v - rho * r
        elif reset == "hard_next":
            start = v + r * (p["v_reset"] - v)
        h = p["decay"] * start + p["gain"] * i + p["bias"]
        if reset in ("soft_next", "soft_both"):
            h = h - rho * r
        elif reset == "hard_next_erasing":
            h = h + r * (p["v_reset"] - h)
        h = h if noise is None else h + noise(t)
        s = spike(h)
        held = s.detach() if detach_reset else s
        v = h
        if reset == "soft":
            v = h - rho * held
        elif reset == "hard":
            v = h + held * (p["v_reset"] - h)
        elif reset == "soft_both":
            v = h - rho * (held - r)
        spikes.append(s)
        record.append(v)
    return torch.stack(spikes), i, v, torch.stack(record)


class Case(NamedTuple):
    """One run of a neuron op."""

    op: str  #: lif, cuba_lif or li
    shape: tuple[int, ...]
    dtype: torch.dtype
    tensors: dict[str, tuple[int, ...]]  #: shapes of the parameters that are tensors
    numbers: dict[str, float]  #: the other parameters that differ from their defaults
    settings: dict[str, Any]
    state: bool = True  #: whether it starts from a state
    layout: str = "contiguous"
    grads: str = "all"  #: which results a gradient comes from: all, spikes, record, state, or sum (of the spikes)
    learned: bool = True  #: whether the parameters need gradients


class Result(NamedTuple):
    outputs: dict[str, Tensor]
    grads: dict[str, Tensor | None]


def parameter(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A tensor around the default, of which signs are 1 and −1."""
    numbers = normal(name, shape, dtype)
    return torch.where(numbers < 0, -1.0, 1.0).to(dtype) if name == "sign" else DEFAULTS.get(name, 0.8) + 0.15 * numbers


def laid_out(x: Tensor, layout: str) -> Tensor:
    """The same numbers in another order in memory."""
    if layout == "channels last" and x.dim() > 2:
        return x.movedim(2, -1).contiguous().movedim(-1, 2)
    if layout == "reversed":
        return x.permute(*range(x.dim() - 1, -1, -1)).contiguous().permute(*range(x.dim() - 1, -1, -1))
    if layout == "strided":
        return torch.stack([x, x], -1)[..., 0]
    return x


def run(case: Case, mode: str) -> Result:
    """Results, and gradients of a weighting of them, by the reference (``off``) or the kernels (``require``)."""
    compute = torch.float64 if case.dtype == torch.float64 else torch.float32
    x = laid_out(0.5 + 0.6 * normal("x", case.shape, case.dtype), case.layout).requires_grad_()
    leaves = {"x": x}
    if case.state:
        states = ("i", "v") if case.op == "cuba_lif" else ("v",)
        leaves |= {name: normal(name, case.shape[1:], compute).requires_grad_() for name in states}
    parameters = {name: parameter(name, size, compute) for name, size in case.tensors.items()}
    for name, tensor in parameters.items():
        tensor.requires_grad_(case.learned and name != "sign")
    leaves |= {name: tensor for name, tensor in parameters.items() if tensor.requires_grad}
    arguments: dict[str, Any] = {**case.numbers, **parameters, **case.settings}
    with native(mode):
        outputs = _outputs(case, leaves, arguments)
        loss = torch.zeros((), dtype=torch.float64)
        for name, out in outputs.items():
            if case.grads in ("all", name) or (case.grads == "state" and name in ("i", "v")):
                loss = loss + (out * normal(f"grad {name}", tuple(out.shape), out.dtype)).double().sum()
            elif case.grads == "sum" and name == "spikes":
                loss = loss + out.sum().double()
        grads = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True) if loss.requires_grad else [None] * len(leaves)
    return Result({name: out.detach() for name, out in outputs.items()}, dict(zip(leaves, grads, strict=True)))


def _outputs(case: Case, leaves: dict[str, Tensor], arguments: dict[str, Any]) -> dict[str, Tensor]:
    if case.op == "li":
        after, last = li(leaves["x"], leaves.get("v"), **arguments)
        return {"record": after, "v": last}
    if case.op == "lif":
        out = lif(leaves["x"], leaves.get("v"), **arguments)
        found = {"spikes": out.spikes, "v": out.v}
        return found if out.record is None else {**found, "record": out.record}
    state = CubaLIFState(leaves["i"], leaves["v"]) if case.state else None
    cuba = cuba_lif(leaves["x"], state, **arguments)
    found = {"spikes": cuba.spikes, "i": cuba.state.i, "v": cuba.state.v}
    return found if cuba.record is None else {**found, "record": cuba.record}


@st.composite
def cases(draw: st.DrawFn, op: str, dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.float64)) -> Case:
    """Any run: shapes around vectors and cache lines, parameters as numbers or any tensor that broadcasts, every flag."""
    steps = draw(st.sampled_from((0, 1, 2, 5, 33, 70)))
    units = draw(st.sampled_from(((), (0,), (1,), (7,), (63,), (65,), (2, 3, 5), (2, 3, 4, 8), (3, 1, 130), (2, 2, 12, 12), (2, 515))))
    dtype = draw(st.sampled_from(dtypes))
    names = {"lif": LIF, "cuba_lif": CUBA_LIF, "li": ("decay", "gain", "bias")}[op]
    tensors, numbers = {}, {}
    for name in names:
        kind = draw(st.sampled_from(("default", "number", "one", "tensor")))
        if kind == "tensor":
            kept = [draw(st.booleans()) for _ in units]
            shape = tuple(size if keep else 1 for size, keep in zip(units, kept, strict=True))
            tensors[name] = shape[draw(st.integers(0, len(shape))) :] if not any(kept) else shape[kept.index(True) :]
        elif kind == "one":
            tensors[name] = ()
        elif kind == "number" or name in ("decay", "syn_decay"):
            numbers[name] = -1.0 if name == "sign" else DEFAULTS.get(name, 0.6) + draw(st.sampled_from((-0.25, 0.0, 0.125)))
    case = Case(op, (steps, *units), dtype, tensors, numbers, {}, draw(st.booleans()))
    layout = draw(st.sampled_from(("contiguous", "channels last", "reversed", "strided")))
    case = case._replace(layout=layout, learned=draw(st.booleans()))
    if op == "li":
        return case._replace(grads=draw(st.sampled_from(("all", "record", "v"))))
    name = draw(st.sampled_from([name for name in SURROGATES if SURROGATES[name].code is not None]))
    settings = {
        "reset": draw(st.sampled_from(RESETS)),
        "strict": draw(st.booleans()),
        "detach_reset": draw(st.booleans()),
        "surrogate": surrogate(name),
        "record": draw(st.booleans()),
    }
    grads = draw(st.sampled_from(("all", "spikes", "state", "sum", "record")))
    return case._replace(settings=settings, grads=grads)

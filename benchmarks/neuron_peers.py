"""One LIF layer as each library runs it, and ours under the same convention: what ``neurons.py`` times."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

import neurosim as ns
from neurosim.ops.lif import lif
from neurosim.surrogate import surrogate

Run = Callable[[Tensor], Tensor]


class Contest(NamedTuple):
    """A peer, and ours with its dynamics."""

    peer: Run  #: a sequence (T, batch, neurons) to its spikes
    ours: Run
    exact: bool  #: whether the peer orders its sums as ours does; if not, spikes agree but for ties


class Step(torch.autograd.Function):
    """The spike with the arctangent's gradient, as a user of torch writes it."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        ctx.save_for_backward(z)
        return (z >= 0).to(z.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        return grad / (1 + (torch.pi * z).square())


def plain_loop(x: Tensor) -> Tensor:
    """Soft reset that is not differentiated, decay 0.9: the honest loop, over ``unbind``."""
    v = torch.zeros_like(x[0])
    spikes = []
    for step in x.unbind(0):
        h = 0.9 * v + step
        s: Tensor = Step.apply(h - 1.0)  # type: ignore[no-untyped-call]  # torch does not type apply
        v = h - s.detach()
        spikes.append(s)
    return torch.stack(spikes)


def ours_plain(x: Tensor) -> Tensor:
    """The same on the op."""
    return lif(x, decay=0.9).spikes


def spikingjelly() -> Contest:
    """``LIFNode`` in multi-step mode with its defaults: τ = 2 steps, input decayed too, hard reset in the graph, sigmoid of slope 4."""
    from spikingjelly.activation_based import functional, neuron

    node = neuron.LIFNode(step_mode="m")

    def peer(x: Tensor) -> Tensor:
        functional.reset_net(node)
        spikes: Tensor = node(x)
        return spikes

    gradient = surrogate("logistic", alpha=4)

    def ours(x: Tensor) -> Tensor:
        return lif(x, decay=0.5, gain=0.5, reset="hard", detach_reset=False, surrogate=gradient).spikes

    return Contest(peer, ours, False)


def snntorch() -> Contest:
    """``Leaky`` with its defaults, called once a step over ``unbind``; ours is the same layer, accelerated."""
    import snntorch as snn

    layer = snn.Leaky(beta=0.9)
    fused = ns.accelerate(copy.deepcopy(layer))

    def peer(x: Tensor) -> Tensor:
        mem = layer.reset_mem()
        spikes = []
        for step in x.unbind(0):
            spike, mem = layer(step, mem)
            spikes.append(spike)
        return torch.stack(spikes)

    return Contest(peer, lambda x: fused.sequence(x)[0], True)


def snntorch_steps() -> Contest:
    """The same with ours called once a step too."""
    import snntorch as snn

    layer = snn.Leaky(beta=0.9)
    fused = ns.accelerate(copy.deepcopy(layer))

    def peer(x: Tensor, of: Any = layer) -> Tensor:
        mem = of.reset_mem()
        spikes = []
        for step in x.unbind(0):
            spike, mem = of(step, mem)
            spikes.append(spike)
        return torch.stack(spikes)

    return Contest(peer, lambda x: peer(x, fused), True)


def norse() -> Contest:
    """``LIF``, which takes a sequence, with its defaults but a threshold that this drive reaches; ours is the same layer, accelerated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it compiles functions with torch.jit at import, which torch calls deprecated
        import norse.torch as peer_library
    layer = peer_library.LIF(peer_library.LIFParameters(v_th=torch.tensor(0.3)))
    fused = ns.accelerate(copy.deepcopy(layer))
    return Contest(lambda x: layer(x)[0], lambda x: fused(x)[0], False)


CONTESTS: dict[str, Callable[[], Contest]] = {
    "SpikingJelly": spikingjelly,
    "snnTorch": snntorch,
    "snnTorch, step by step": snntorch_steps,
    "norse": norse,
    "plain loop": lambda: Contest(plain_loop, ours_plain, True),
}


def contests() -> tuple[dict[str, Contest], list[str]]:
    """Those whose library is there, and a line about each that is not."""
    found, missing = {}, []
    for name, make in CONTESTS.items():
        try:
            found[name] = make()
        except ImportError as error:
            missing.append(f"{name} is left out: {error}; python -m pip install -e '.[interop,peers]' brings it")
    return found, missing


def drive(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Random input under which a few in ten neurons fire."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype) + 0.3


def check_equal(name: str, contest: Contest, shape: tuple[int, ...]) -> float:
    """Refuse to time two computations that differ; returns the share of spikes that ties decided otherwise in float32.

    In float64 a tie within rounding does not come up: spikes must be the same, gradients of a random loss to 1e-5. In float32 as well for
    peers that order their sums as ours; for the others less than one spike in a thousand may fall on the other side.
    """
    share = 0.0
    for dtype in (torch.float64, torch.float32):
        results = []
        for run in (contest.peer, contest.ours):
            x = drive(*shape, dtype=dtype).requires_grad_()
            spikes = run(x)
            (grad,) = torch.autograd.grad(spikes, x, cotangent(spikes))
            results.append((spikes.detach(), grad))
        (spikes, grad), (our_spikes, our_grad) = results
        same = (spikes == our_spikes).all(0)  # neurons; after a tie a neuron goes its own way
        share = 1 - float(same.float().mean())
        if share > (0 if dtype == torch.float64 or contest.exact else 1e-3) or not spikes.any():
            raise SystemExit(f"{name}: {share:.2g} of the neurons fire otherwise in {dtype}: times would compare different work")
        scale = float(grad.abs().max())
        if not torch.allclose(grad[:, same], our_grad[:, same], rtol=1e-5, atol=1e-5 * scale):
            raise SystemExit(f"{name}: gradients differ in {dtype}: times would compare different work")
    return share


def cotangent(like: Tensor) -> Tensor:
    """A dense gradient to start backward from."""
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(1), dtype=like.dtype)


def forward_backward(run: Run, x: Tensor, grad: Tensor) -> Callable[[], None]:
    """One forward and backward with the gradient of the input."""

    def once() -> None:
        x.grad = None
        run(x).backward(grad)  # type: ignore[no-untyped-call]  # torch does not type backward

    return once

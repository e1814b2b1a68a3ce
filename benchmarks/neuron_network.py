"""A spiking VGG-8 on 32 × 32 images, with any neuron in it: what ``neurons.py`` trains."""

from __future__ import annotations

from collections.abc import Callable

import torch
from neuron_peers import Run
from torch import Tensor, nn

import neurosim as ns
from neurosim.ops.lif import lif

WIDTHS: tuple[int | None, ...] = (64, 64, None, 128, 128, None, 256, 256, None)  #: None is average pooling
CLASSES = 10


class Folded(nn.Module):
    """A neuron between layers that see time folded into the batch."""

    def __init__(self, run: Run, steps: int) -> None:
        super().__init__()
        self.run, self.steps = run, steps

    def forward(self, x: Tensor) -> Tensor:
        """``(time · batch, *units)`` to the same."""
        return self.run(x.unflatten(0, (self.steps, -1))).flatten(0, 1)


class Vgg8(nn.Module):
    """Convolutions 64, 64, P, 128, 128, P, 256, 256, P with batch normalisation, then 512 and 10; classes are means over time."""

    def __init__(self, activation: Callable[[], nn.Module], steps: int) -> None:
        super().__init__()
        self.steps = steps
        layers: list[nn.Module] = []
        channels = 3
        for width in WIDTHS:
            if width is None:
                layers.append(nn.AvgPool2d(2))
            else:
                layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), activation()]
                channels = width
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * 16, 512), activation(), nn.Linear(512, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        """``(time, batch, 3, 32, 32)`` to ``(batch, 10)``."""
        y: Tensor = self.layers(x.flatten(0, 1))
        return y.unflatten(0, (self.steps, -1)).mean(0)


def ours(x: Tensor) -> Tensor:
    """Decay 0.5, soft reset that is not differentiated, arctangent."""
    return lif(x, decay=0.5).spikes


def spikingjelly() -> Run:
    """``LIFNode`` with the dynamics of :func:`ours`, reset before every sequence."""
    from spikingjelly.activation_based import functional, neuron, surrogate

    node = neuron.LIFNode(2.0, False, v_reset=None, surrogate_function=surrogate.ATan(2.0), detach_reset=True, step_mode="m")

    def run(x: Tensor) -> Tensor:
        functional.reset_net(node)
        spikes: Tensor = node(x)
        return spikes

    return run


def snntorch() -> Run:
    """``Leaky`` over ``unbind``."""
    import snntorch as snn

    layer = snn.Leaky(beta=0.5)

    def run(x: Tensor) -> Tensor:
        mem = layer.reset_mem()
        spikes = []
        for step in x.unbind(0):
            spike, mem = layer(step, mem)
            spikes.append(spike)
        return torch.stack(spikes)

    return run


def snntorch_fused() -> Run:
    """The same layer, accelerated."""
    import snntorch as snn

    layer = ns.accelerate(snn.Leaky(beta=0.5))
    return lambda x: layer.sequence(x)[0]


def network(kind: str, steps: int) -> Vgg8:
    """A network with the same first weights whatever its neurons.

    Args:
        kind: A key of :data:`KINDS`.
        steps: Length of the sequences.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Vgg8(lambda: KINDS[kind](steps), steps)


def _folded(make: Callable[[], Run]) -> Callable[[int], nn.Module]:
    return lambda steps: Folded(make(), steps)


KINDS: dict[str, Callable[[int], nn.Module]] = {
    "ReLU": lambda steps: nn.ReLU(),
    "ours": _folded(lambda: ours),
    "SpikingJelly": _folded(spikingjelly),
    "snnTorch": _folded(snntorch),
    "snnTorch, accelerated": _folded(snntorch_fused),
}


def check_equal(a: str, b: str, dtype: torch.dtype) -> None:
    """Refuse to time two networks that differ: the same classes and gradients from the same weights.

    In float64 no tie within rounding comes up; neurons that are equal bit for bit can be compared in float32 too.
    """
    results = []
    for kind in (a, b):
        model = network(kind, 4).to(dtype)
        x = torch.randn(4, 2, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=dtype)
        y = model(x)
        results.append((y.detach(), torch.autograd.grad(y.square().sum(), list(model.parameters()))))
    (y, grads), (other, other_grads) = results
    for found, expected in zip((other, *other_grads), (y, *grads), strict=True):
        if not torch.allclose(found, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max())):
            raise SystemExit(f"VGG-8: {a} and {b} differ; times would compare different work")


def neurons_alone(kind: str, steps: int, batch: int) -> Callable[[], None]:
    """Forward and backward of the neurons of a training step, without the layers between them."""
    shapes: list[tuple[int, ...]] = []
    side = 32
    for width in WIDTHS:
        if width is None:
            side //= 2
        else:
            shapes.append((width, side, side))
    shapes.append((512,))
    layers = [KINDS[kind](steps) for _ in shapes]
    inputs = [torch.randn(steps * batch, *shape, generator=torch.Generator().manual_seed(0)).requires_grad_() for shape in shapes]
    grads = [torch.randn(x.shape, generator=torch.Generator().manual_seed(1)) for x in inputs]

    def run() -> None:
        for layer, x, grad in zip(layers, inputs, grads, strict=True):
            x.grad = None
            layer(x).backward(grad)  # type: ignore[no-untyped-call]  # torch does not type backward

    return run


def train_step(kind: str, steps: int, batch: int) -> Callable[[], None]:
    """Forward, loss, backward and SGD on random images."""
    model = network(kind, steps)
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3)
    x = torch.randn(steps, batch, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(batch) % CLASSES

    def step() -> None:
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), labels).backward()  # type: ignore[no-untyped-call]  # torch does not type backward
        optimiser.step()

    return step

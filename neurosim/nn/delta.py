r"""Activations that change seldom: a trainable quantiser, what its changes over time cost, and how many they are.

A layer that only sends what has changed since the last frame sends nothing where its activation kept its level. Levels are
:math:`n_t = \operatorname{round}(x_t / q)`, activations :math:`a_t = q\,n_t`: the larger the step q, the fewer events
:math:`n_t \ne n_{t-1}`. Training with the loss below finds the step that the task can bear; :func:`neurosim.nn.delta_inference` then
computes with the changes alone.

Source:
    A. Yousefzadeh, M. Sifalakis, "Training for temporal sparsity in deep neural networks, application in video processing",
    arXiv:2107.07305 (2021): the layer, its loss, and delta inference.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import ClassVar, Final, Literal, get_args

import torch
from torch import Tensor, nn

from neurosim.checks import one_of
from neurosim.errors import ConfigError
from neurosim.neurons.parameters import parameter_value
from neurosim.nn.arguments import number

StepGradient = Literal["lsq", "authors"]

_GRADIENTS: Final = get_args(StepGradient)


def delta_quantize(x: Tensor, step: float | Tensor, gradient: StepGradient = "lsq") -> Tensor:
    r"""The nearest multiple of the step, ties to the even one; its gradients are straight-through.

    .. math:: a = q \operatorname{round}(x/q), \quad \frac{\partial a}{\partial x} := 1, \quad
        \frac{\partial a}{\partial q} := \begin{cases} \operatorname{round}(x/q) - x/q & \text{lsq} \\
        -\operatorname{round}(x/q) & \text{authors} \end{cases}

    ``lsq`` is the derivative with rounding taken for the identity. ``authors`` is that of their program: it has the opposite sign of
    :math:`\partial a/\partial q` at fixed levels, so that a loss on the size of changes makes the step *larger* and events fewer.

    Args:
        x: Any shape.
        step: q, > 0; a number, or a tensor that broadcasts to x.
        gradient: Which derivative the step receives.

    Raises:
        ConfigError: No gradient has that name.

    Source:
        lsq: S. K. Esser et al., "Learned step size quantization", ICLR 2020, equation 3, without limits to the range and without the
        scaling of section 2.2. authors: the program of Yousefzadeh and Sifalakis (2021), function ``quantize``.

    >>> delta_quantize(torch.tensor([0.12, 0.26, -0.26]), 0.1)
    tensor([ 0.1000,  0.3000, -0.3000])
    """
    one_of("delta_quantize: gradient", gradient, _GRADIENTS)
    q = torch.as_tensor(step, dtype=x.dtype, device=x.device)
    fixed = q.detach()
    ratio = x / (q if gradient == "lsq" else fixed)
    levels = ratio + (ratio.round() - ratio).detach()  # exactly round(ratio): both the difference and the sum are representable
    return levels * (q if gradient == "lsq" else 2 * fixed - q)


def delta_cost(a: Tensor) -> Tensor:
    r"""Mean size of the changes from frame to frame; the first frame, which has none before it, does not count.

    .. math:: \frac{1}{(T - 1)\,N} \sum_{t=2}^{T} \lVert a_t - a_{t-1} \rVert_1

    Args:
        a: Activations, with N elements a frame.

    Shapes:
        a ``(time, *)``; result a scalar, 0 where there are fewer than two frames.
    """
    return (a[1:] - a[:-1]).abs().mean() if len(a) > 1 else a.sum() * 0


def delta_rate(a: Tensor) -> Tensor:
    """Share of the activations that changed from a frame to the next: events per neuron and frame, the first frame left out.

    Shapes:
        a ``(time, *)``; result a scalar in [0, 1], 0 where there are fewer than two frames.
    """
    return (a[1:] != a[:-1]).float().mean() if len(a) > 1 else a.new_zeros((), dtype=torch.float32)


class DeltaActivation(nn.Module):
    r"""Quantises activations to multiples of a step that can be learned; stands after the non-linearity, before the next linear layer.

    In training and in evaluation it gives :math:`q \operatorname{round}(x/q)`, for all frames at once.
    :func:`neurosim.nn.delta_inference` makes a network of the trained one that sends the changes only. The step is kept as its logarithm,
    ``log_step``: however it is learned, it stays positive.

    Args:
        step: q at first, > 0; a number is one step for the layer, a tensor broadcasts to the units: ``(C, 1, 1)`` is one per feature map.
        learn: Whether the step is learned.
        gradient: See :func:`delta_quantize`.
        rate: Weight of this layer in the sparsity loss, ≥ 0.
        fan_out: Operations that an event of this layer causes, ≥ 0: the layer's weight in the loss is ``rate * fan_out``.

    Shapes:
        x ``(time, batch, *units)``; result the same.

    Raises:
        ConfigError: A value is out of its domain.

    >>> DeltaActivation(step=0.5)(torch.tensor([[[0.2, 0.9]]])).tolist()
    [[[0.0, 1.0]]]
    """

    takes_time: ClassVar = True  #: chains hand it whole sequences, so that changes over time can be told
    log_step: Tensor

    def __init__(
        self,
        step: float | Tensor = 0.1,
        learn: bool = True,
        gradient: StepGradient = "lsq",
        rate: float = 0.0,
        fan_out: float = 1.0,
    ) -> None:
        super().__init__()
        one_of("DeltaActivation.gradient", gradient, _GRADIENTS)
        value = torch.as_tensor(parameter_value("DeltaActivation.step", step, "finite"))
        if bool((value <= 0).any()):
            raise ConfigError(f"DeltaActivation.step: must be more than 0, got {float(value.min()):g}")
        self.learn, self.gradient = bool(learn), gradient
        self.rate = number("DeltaActivation.rate", rate, "0 or more and finite")
        self.fan_out = number("DeltaActivation.fan_out", fan_out, "0 or more and finite")
        if self.learn:
            self.log_step = nn.Parameter(value.log())
        else:
            self.register_buffer("log_step", value.log())

    @property
    def step(self) -> Tensor:
        """The step q."""
        return self.log_step.exp()

    def forward(self, x: Tensor) -> Tensor:
        """The quantised activations."""
        return delta_quantize(x, self.step, self.gradient)

    def extra_repr(self) -> str:
        """For ``print``."""
        shown = f"step={float(self.step):.4g}" if self.log_step.dim() == 0 else f"step={tuple(self.log_step.shape)}"
        rate = f", rate={self.rate:g}, fan_out={self.fan_out:g}" if self.rate else ""
        return f"{shown}, learn={self.learn}, gradient={self.gradient!r}{rate}"


class WatchedDeltas:
    """What the :class:`DeltaActivation` layers of a model gave in the calls of a ``with`` block; made by :func:`watch_deltas`."""

    def __init__(self, layers: dict[str, DeltaActivation]) -> None:
        self._layers = layers
        self.activations: dict[str, list[Tensor]] = {name: [] for name in layers}  #: by path, one tensor a call

    def loss(self) -> Tensor:
        """The sparsity loss: rate × fan-out × :func:`delta_cost`, summed over the layers and the calls; a scalar with a graph.

        Raises:
            ConfigError: No layer was called.
        """
        terms = [
            layer.rate * layer.fan_out * delta_cost(a) for name, layer in self._layers.items() for a in self.activations[name] if layer.rate
        ]
        if terms:
            return torch.stack(terms).sum()
        seen = next((a for calls in self.activations.values() for a in calls), None)
        if seen is None:
            raise ConfigError("watch_deltas: no DeltaActivation was called; run the model inside the with block, before loss()")
        return seen.new_zeros(())

    def rates(self) -> dict[str, float]:
        """:func:`delta_rate` by layer, the mean over the calls; layers that were not called are left out."""
        return {name: float(torch.stack([delta_rate(a) for a in calls]).mean()) for name, calls in self.activations.items() if calls}


@contextlib.contextmanager
def watch_deltas(model: nn.Module) -> Iterator[WatchedDeltas]:
    """See what the :class:`DeltaActivation` layers of a model give, for the loss and for counting; afterwards the model is as it was.

    Args:
        model: Any module that runs its layers on whole sequences: a layer inside ``TimeFold`` would see time and batch as one axis.

    Raises:
        ConfigError: It has no such layer.

    >>> model = nn.Sequential(nn.Linear(3, 4), DeltaActivation(rate=0.1))
    >>> with watch_deltas(model) as seen:
    ...     outputs = model(torch.zeros(5, 2, 3))
    >>> seen.loss().item(), seen.rates()
    (0.0, {'1': 0.0})
    """
    layers = {name: module for name, module in model.named_modules() if isinstance(module, DeltaActivation)}
    if not layers:
        raise ConfigError("watch_deltas: the model must have a DeltaActivation, has none")
    seen = WatchedDeltas(layers)
    hooks = [layer.register_forward_hook(partial(_keep, seen.activations[name])) for name, layer in layers.items()]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _keep(calls: list[Tensor], module: nn.Module, given: object, a: Tensor) -> None:
    calls.append(a)

"""How far and how evenly what a layer gives moves when inputs are pushed: the smoothness of representations."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from neurosim.analysis.observe import watching
from neurosim.checks import number, one_of, whole
from neurosim.convert.control import noise
from neurosim.convert.given import check_model
from neurosim.convert.select import analog_layers
from neurosim.errors import ConfigError, nearest
from neurosim.nn.answer import answer
from neurosim.nn.modes import evaluation_mode
from neurosim.nn.wrappers import unwrapped
from neurosim.random import stream

Push = Literal["noise", "gradient"]


@dataclass(frozen=True)
class Paths:
    """Where :func:`representation_paths` saw representations go.

    Args:
        steps: Length of every step of every sample, ``(steps, samples)``, float64.
        apart: From the first to the last point, ``(samples,)``.
    """

    steps: Tensor
    apart: Tensor

    @property
    def length(self) -> Tensor:
        """Of the whole path of every sample, ``(samples,)``."""
        return self.steps.sum(0)

    @property
    def variation(self) -> Tensor:
        """Standard deviation of a sample's steps over their mean, ``(samples,)``; 0 for steps of one length, and where nothing moves."""
        mean = self.steps.mean(0)
        return torch.where(mean > 0, self.steps.std(0, correction=0) / mean.clamp_min(torch.finfo(mean.dtype).tiny), 0.0)

    @property
    def straightness(self) -> Tensor:
        """From first to last, over the length, ``(samples,)``; 1 on a straight line, and where nothing moves."""
        length = self.length
        return torch.where(length > 0, self.apart / length.clamp_min(torch.finfo(length.dtype).tiny), 1.0)

    def __str__(self) -> str:
        steps, samples = self.steps.shape
        means = [float(one.mean()) for one in (self.length, self.variation, self.straightness)]
        return f"{samples} paths of {steps} steps: length {means[0]:.4g}, variation of steps {means[1]:.3g}, straightness {means[2]:.3g}"


def representation_paths(
    model: nn.Module,
    inputs: Tensor,
    *,
    layer: str | None = None,
    push: Push = "noise",
    steps: int = 10,
    size: float = 0.05,
    seed: int = 0,
) -> Paths:
    r"""Push inputs further and further, and follow what a layer gives: :math:`h_k = h(x_k)`, :math:`d_k = \lVert h_k - h_{k-1} \rVert`.

    .. math:: x_k = x + k \delta\,n \ \text{(noise)}, \qquad
        x_k = x_{k-1} + \delta \operatorname{sign} \nabla_x \mathrm{CE}\big(y(x_{k-1}), \arg\max y(x)\big) \ \text{(gradient)}

    with n standard normal, one for each sample. A smooth representation moves by even steps (a small ``variation``); in one that jumps, a
    little noise of the hardware makes one class of another. The authors join length and variation in one number; here both are told.

    Args:
        model: Any module, in evaluation; random noise of hardware is off.
        inputs: x, a batch.
        layer: Path of the module whose result is followed; None is the model's.
        push: ``noise`` or ``gradient``, the latter for classifiers that have gradients.
        steps: How many, ≥ 1.
        size: δ > 0, in units of the inputs.
        seed: Of n.

    Returns:
        The lengths of the steps, and what follows of them.

    Raises:
        ConfigError: An argument is out of its domain, or there is no such layer, or it gives no tensor.
        DataError: The model does not take the inputs.

    Source:
        R. van der Merwe, G. Newman, E. Barnard, "Manifold characteristics that predict downstream task performance", arXiv 2205.07477
        (2022): inputs altered more and more by noise or by adversarial steps, and the total and relative distances that points move.

    >>> doubled = nn.Linear(2, 2, bias=False)
    >>> _ = doubled.weight.data.copy_(2 * torch.eye(2))
    >>> found = representation_paths(doubled, torch.zeros(3, 2), steps=4)
    >>> float(found.variation.max()) < 1e-5, float(found.straightness.min()) > 0.9999
    (True, True)
    """
    check_model("representation_paths", model)
    one_of("representation_paths: push", push, ("noise", "gradient"))
    whole("representation_paths: steps", steps, 1)
    delta = number("representation_paths: size", size, gt=0)
    whole("representation_paths: seed", seed, 0)
    given: object = inputs
    if not (isinstance(given, Tensor) and given.is_floating_point() and len(given)):
        raise ConfigError("representation_paths: inputs must be a tensor of floating-point numbers, with at least one sample")
    twin = copy.deepcopy(unwrapped(model)).requires_grad_(False)
    known = dict(twin.named_modules())
    if layer is not None and layer not in known:
        raise ConfigError(f"representation_paths: layer: {layer!r} names no module{nearest(layer, list(known))}")
    followed = _Followed(twin if layer is None else known[layer])
    x = inputs.detach()
    direction = stream(seed, "representation paths").normal(x.shape, like=x) if push == "noise" else None
    points, labels = [], None
    quiet = noise("off", twin) if analog_layers(twin) else nullcontext()
    with evaluation_mode(twin), quiet, watching([followed.module], followed):
        for at in range(steps + 1):
            now = x.clone().requires_grad_(direction is None)
            y = answer("representation_paths", twin, now)
            points.append(followed.result())
            if direction is not None:
                x = inputs.detach() + (at + 1) * delta * direction
            elif at < steps:
                labels = _logits(y).argmax(-1) if labels is None else labels
                (slope,) = torch.autograd.grad(cross_entropy(_logits(y), labels), now)
                x = x + delta * slope.sign()
    path = torch.stack(points)
    return Paths((path[1:] - path[:-1]).norm(dim=-1), (path[-1] - path[0]).norm(dim=-1))


def _logits(y: Any) -> Tensor:
    if not isinstance(y, Tensor) or y.dim() != 2 or not y.requires_grad:
        raise ConfigError("representation_paths: push: gradient needs a classifier that gives (samples, classes), with a gradient")
    return y


class _Followed:
    """Watches one module."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.given: Any = None

    def wants_membrane(self, module: nn.Module) -> bool:
        return False

    def enter(self, module: nn.Module, x: Any) -> None:
        pass

    def leave(self, module: nn.Module, result: Any, membrane: Tensor | None) -> None:
        self.given = result

    def result(self) -> Tensor:
        """What it gave last, ``(samples, units)``, float64."""
        given, self.given = self.given, None
        if not isinstance(given, Tensor) or given.dim() < 1:
            raise ConfigError("representation_paths: the layer must be used by the model and give a tensor, it did not")
        return given.detach().flatten(1).double() if given.dim() > 1 else given.detach().double().unsqueeze(-1)

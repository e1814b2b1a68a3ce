"""Inputs made from a trained model alone, for calibration where no data are at hand."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm import tqdm

from neurosim.analysis.inputs import check_chip
from neurosim.checks import number, whole
from neurosim.convert.analog import to_digital
from neurosim.convert.select import analog_layers
from neurosim.errors import ConfigError
from neurosim.nn.answer import answer
from neurosim.nn.modes import evaluation_mode
from neurosim.nn.wrappers import unwrapped
from neurosim.norms import BatchNorm
from neurosim.norms.batch import channels_of
from neurosim.random import stream


def statistics_loss(x: Tensor, mean: Tensor, variance: Tensor, eps: float = 1e-5) -> Tensor:
    r"""How far the channels of what a batch norm is given are from its running statistics, in its own units.

    .. math:: \frac{1}{C} \sum_c \frac{(\mu_c - \hat\mu_c)^2}{\hat\sigma_c^2 + \epsilon}
        + \Big(\sqrt{\frac{\sigma_c^2 + \epsilon}{\hat\sigma_c^2 + \epsilon}} - 1\Big)^2

    Args:
        x: ``(batch, C, *)``; statistics are over all axes but the second.
        mean, variance: Of the norm, ``(C)``.
        eps: ε, > 0.

    Returns:
        A number ≥ 0, differentiable in ``x``; 0 where both statistics agree.

    Source:
        Y. Cai et al., "ZeroQ: a novel zero shot quantization framework", CVPR 2020, eq. 2, which takes the differences as they are.

    >>> statistics_loss(torch.tensor([[-1.0], [1.0]]), torch.zeros(1), torch.ones(1))
    tensor(0.)
    """
    over = [axis for axis in range(x.dim()) if axis != 1]
    wide = variance + eps
    off = (x.mean(over) - mean).square() / wide
    return (off + ((x.var(over, correction=0) + eps).div(wide).sqrt() - 1).square()).mean()


@torch.inference_mode(False)  # it needs gradients, wherever it is called
def synthesize(
    model: nn.Module,
    shape: Sequence[int],
    *,
    samples: int = 64,
    classes: Sequence[int] | None = None,
    logit: float | None = None,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    statistics: float = 1.0,
    steps: int = 200,
    lr: float = 0.1,
    seed: int = 0,
) -> Tensor:
    r"""Inputs for which a trained classifier is as sure as it is of real ones, made by gradient descent on the inputs.

    .. math:: \min_x \operatorname{mean}_n |z_{c_n}(x_n) - a| + \lambda \sum_l \mathcal{S}_l(x)

    with z the logits, c the classes in turn, a the logit that is asked for, and S how far the batch norms are from their running
    statistics (:func:`statistics_loss`). Without a, z is made as large as the bounds of the inputs let it become. Cross-entropy would
    stop as soon as one logit is above the others; its size is what the range of an activation depends on. They serve wherever inputs like
    those of the training are asked for: ``ns.calibrate``, ``ns.recalibrate``, ``ns.quantize``, ``ns.correct_bias``.

    Args:
        model: A classifier with logits ``(batch, classes)``, digital or on hardware, of which the digital weights are taken. Not changed.
        shape: Of one input.
        samples: How many inputs, ≥ 1; batch statistics need some tens.
        classes: Which are asked for, in turn; None is all.
        logit: a, such as the mean of the largest logit of real samples if that was written down; None: as large as can be.
        bounds: Lowest and highest value of an input; None: any.
        statistics: λ ≥ 0; without batch norms it has no effect.
        steps: Of Adam, ≥ 1.
        lr: Its rate, > 0, on inputs in units of ``bounds``.
        seed: Of the inputs that it starts from, N(0, 1) or, with bounds, spread over them.

    Returns:
        ``(samples, *shape)``, on the device and in the type of the model's parameters.

    Raises:
        ConfigError: An argument is out of its domain, or the model gives no logits, or is not differentiable in its inputs.
        DataError: The model does not take inputs of that shape.

    Source:
        Y. He et al., "Data-free quantization with accurate activation clipping and adaptive batch normalization", Neural Processing
        Letters 55 (2023): inputs of large logits for the ranges of activations. The loss is reconstructed from its abstract and from what
        others say of it; statistics of batch norms as in ZeroQ.

    >>> model = nn.Linear(4, 2, bias=False)
    >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 1.0, -1.0, -1.0], [-1.0, -1.0, 1.0, 1.0]]))
    >>> synthesize(model, (4,), samples=2).round()
    tensor([[1., 1., 0., 0.],
            [0., 0., 1., 1.]])
    """
    check_chip("synthesize", model)
    given: Any = shape
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise ConfigError(f"synthesize: shape must be the sizes of one input, such as (1, 28, 28), got {given!r:.60}")
    size = (whole("synthesize: samples", samples, 1), *(whole("synthesize: shape", one, 1) for one in given))
    whole("synthesize: steps", steps, 1)
    number("synthesize: lr", lr, gt=0)
    number("synthesize: statistics", statistics, ge=0)
    low, high = _ends(bounds)
    wanted = None if logit is None else number("synthesize: logit", logit)
    twin = to_digital(unwrapped(model)) if analog_layers(model) else copy.deepcopy(unwrapped(model))
    twin.requires_grad_(False)
    like = next((value for value in twin.parameters() if value.is_floating_point()), torch.empty(0))
    free = stream(seed, "synthesize").normal(size, like=like).requires_grad_()
    norms = [module for module in twin.modules() if isinstance(module, (_BatchNorm, BatchNorm)) and module.running_mean is not None]
    losses: list[Tensor] = []

    def listen(module: Any, args: tuple[Tensor, ...]) -> None:
        losses.append(statistics_loss(args[0].movedim(channels_of(module), 1), module.running_mean, module.running_var, module.eps))

    def inputs() -> Tensor:
        return free if bounds is None else low + (high - low) * free.sigmoid()

    adam = torch.optim.Adam([free], lr=lr)
    with torch.enable_grad(), evaluation_mode(twin), ExitStack() as stack:
        asked = _asked(twin, inputs(), classes)
        if statistics:
            for norm in norms:
                stack.callback(norm.register_forward_pre_hook(listen).remove)
        for _ in tqdm(range(steps), "synthesize", delay=2, dynamic_ncols=True):
            losses.clear()
            z = answer("synthesize", twin, inputs()).gather(1, asked).squeeze(1)
            loss = (-z if wanted is None else (z - wanted).abs()).mean() + statistics * sum(losses, torch.zeros((), device=like.device))
            adam.zero_grad()
            loss.backward()
            adam.step()
    return inputs().detach().clone()


def _ends(bounds: tuple[float, float] | None) -> tuple[float, float]:
    given: Any = (0.0, 1.0) if bounds is None else bounds
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise ConfigError(f"synthesize: bounds must be the lowest and the highest value of an input, or None, got {given!r:.60}")
    low, high = (number("synthesize: bounds", one) for one in given)
    if low >= high:
        raise ConfigError(f"synthesize: bounds must rise, got {low:g} and {high:g}")
    return low, high


def _asked(model: nn.Module, x: Tensor, classes: Sequence[int] | None) -> Tensor:
    """The class of every sample, ``(samples, 1)``."""
    z: Any = answer("synthesize", model, x)
    if not isinstance(z, Tensor) or z.dim() != 2 or not z.requires_grad:
        got = f"a tensor of shape {tuple(z.shape)}" if isinstance(z, Tensor) else type(z).__name__
        raise ConfigError(f"synthesize: model must give logits (batch, classes) that are differentiable in its inputs, got {got}")
    if classes is not None and not isinstance(classes, Sequence | Tensor):
        raise ConfigError(f"synthesize: classes must be the numbers of classes, got {type(classes).__name__}")
    chosen = range(z.shape[1]) if classes is None else [whole("synthesize: classes", one, 0, z.shape[1] - 1) for one in classes]
    if not len(chosen):
        raise ConfigError("synthesize: classes must name at least one, names none")
    return torch.tensor([[chosen[at % len(chosen)]] for at in range(len(x))], device=x.device)

r"""Optimisers, learning-rate schedules and the step itself.

The learning rate is a pure function of the step, so nothing of a schedule needs saving:

.. math:: \eta_t = \eta \cdot \min\left(1, \frac{t + 1}{w}\right) \cdot d(t)

with :math:`w` the warm-up steps and :math:`d` the decay: 1 (``constant``), :math:`f + (1 - f)\,\tfrac12(1 + \cos \pi p)` with
:math:`p = (t - w)/(T - w)` (``cosine``, final fraction :math:`f`), or :math:`\gamma^{\lfloor e/n \rfloor}` in epoch :math:`e` (``step``).

Source:
    I. Loshchilov, F. Hutter, "SGDR: Stochastic gradient descent with warm restarts", ICLR 2017, equation 5 (one period, arXiv:1608.03983).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from neurosim.ei import EISGD
from neurosim.errors import ConfigError, RunError, nearest
from neurosim.training.radial import SGDP, AdamP

OPTIMIZERS: Final = ("adam", "adamp", "adamw", "eisgd", "sgd", "sgdp")
SCHEDULES: Final = ("constant", "cosine", "step")
_SMALLEST_SCALE: Final = 2.0**-14


class Schedule(NamedTuple):
    """How the learning rate changes during a run of ``total_steps``; see the module for the formula.

    Args:
        kind: ``constant``, ``cosine`` or ``step``.
        total_steps: Steps of the whole run, ≥ 1.
        steps_per_epoch: Steps of an epoch, ≥ 1.
        warmup_steps: Steps of the linear warm-up, ≥ 0 and below ``total_steps``.
        final_fraction: ``cosine``: the factor that is approached at the end.
        every_epochs: ``step``: epochs between two steps.
        gamma: ``step``: the factor of a step.
    """

    kind: str
    total_steps: int
    steps_per_epoch: int
    warmup_steps: int = 0
    final_fraction: float = 0.0
    every_epochs: int = 1
    gamma: float = 1.0

    def factor(self, step: int) -> float:
        """What the base learning rate is multiplied by at ``step`` (the first is 0).

        >>> [Schedule("constant", 8, 4, warmup_steps=4).factor(t) for t in range(5)]
        [0.25, 0.5, 0.75, 1.0, 1.0]
        """
        return min(1.0, (step + 1) / max(self.warmup_steps, 1)) * self._decay(step)

    def _decay(self, step: int) -> float:
        if self.kind == "cosine":
            progress = min(1.0, max(0, step - self.warmup_steps) / (self.total_steps - self.warmup_steps))
            return self.final_fraction + (1 - self.final_fraction) * 0.5 * (1 + math.cos(math.pi * progress))
        if self.kind == "step":
            return float(self.gamma ** (step // self.steps_per_epoch // self.every_epochs))
        return 1.0


def make_schedule(kind: str, *, total_steps: int, steps_per_epoch: int, **settings: Any) -> Schedule:
    """A checked :class:`Schedule`; ``settings`` are its other fields, as a config's ``train.scheduler`` has them.

    Raises:
        ConfigError: No such kind or setting, or the warm-up is as long as the run.
    """
    if kind not in SCHEDULES:
        raise ConfigError(f"train.scheduler.kind: no schedule is named {kind!r}{nearest(kind, SCHEDULES)}")
    for name in settings:
        if name not in Schedule._fields:
            raise ConfigError(f"train.scheduler.{name}: unknown key{nearest(name, Schedule._fields[3:])}")
    schedule = Schedule(kind, total_steps, steps_per_epoch)._replace(**settings)
    if not 0 <= schedule.warmup_steps < max(total_steps, 1):
        raise ConfigError(f"train.scheduler.warmup_steps: must be below the {total_steps} steps of the run, got {schedule.warmup_steps}")
    return schedule


def make_optimizer(
    parameters: Iterable[nn.Parameter], kind: str, *, lr: float, weight_decay: float = 0.0, **settings: Any
) -> torch.optim.Optimizer:
    """The optimiser a config's ``train.optimizer`` names, over the parameters that require a gradient.

    Args:
        parameters: Those of the model, on their device already.
        kind: ``sgd``, ``adam`` (weight decay added to the gradient), ``adamw`` (decoupled weight decay), ``adamp`` and ``sgdp``
            (:class:`neurosim.AdamP`, :class:`neurosim.SGDP`), or ``eisgd`` (:class:`neurosim.ei.EISGD`; the loop projects the weights of
            excitatory-inhibitory layers, whatever the optimiser is).
        lr: Learning rate before the schedule's factor, > 0.
        weight_decay: Applied to every parameter, ≥ 0.
        settings: ``sgd`` and ``eisgd``: ``momentum``, ``nesterov``; ``adam`` and ``adamw``: ``betas``, ``eps``; as in :mod:`torch.optim`;
            ``sgdp`` and ``adamp``: the same, and ``delta``, ``wd_ratio``, ``nesterov``.

    Raises:
        ConfigError: No such kind or setting, a value torch refuses, or nothing to train.
    """
    if kind not in OPTIMIZERS:
        raise ConfigError(f"train.optimizer.kind: no optimizer is named {kind!r}{nearest(kind, OPTIMIZERS)}")
    known = ["momentum", "nesterov"] if kind in ("sgd", "sgdp", "eisgd") else ["betas", "eps"]
    known += {"adamp": ["nesterov", "delta", "wd_ratio"], "sgdp": ["delta", "wd_ratio"]}.get(kind, [])
    for name in settings:
        if name not in known:
            raise ConfigError(f"train.optimizer.{name}: {kind} has no such setting{nearest(name, known)}")
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if not trained:
        raise ConfigError("model: must have parameters that require a gradient to be trained, has none")
    kinds: dict[str, Callable[..., torch.optim.Optimizer]] = {
        "sgd": torch.optim.SGD,
        "eisgd": EISGD,
        "sgdp": SGDP,
        "adam": torch.optim.Adam,
        "adamp": AdamP,
        "adamw": torch.optim.AdamW,
    }
    try:
        return kinds[kind](trained, lr=lr, weight_decay=weight_decay, **settings)
    except ValueError as error:
        raise ConfigError(f"train.optimizer: {error}") from None


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Use ``lr`` from the next step on, in every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def take_step(
    loss: Tensor,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    clip_norm: float | None,
    clip: Callable[[], None] | None = None,
) -> None:
    """Backward, unscale, clip, step, and clear the gradients.

    Args:
        loss: A finite scalar with a graph.
        optimizer: Of the parameters the graph reaches.
        scaler: An enabled one skips the step and lowers its scale when a gradient is not finite; a disabled one does nothing.
        clip_norm: Largest 2-norm of all gradients together, or ``None``.
        clip: Called before that on gradients that are finite, to change them in place.

    Raises:
        RunError: A gradient is not finite and no scaler handles it, or the scaler has lowered its scale without end; the parameters are
            as they were.

    Source:
        R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of training recurrent neural networks", ICML 2013, algorithm 1 (clipping).
    """
    scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch does not annotate backward
    scaler.unscale_(optimizer)
    trained = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    norm = nn.utils.get_total_norm([p.grad for p in trained if p.grad is not None])
    if bool(norm.isfinite()):
        if clip is not None:
            clip()
            norm = nn.utils.get_total_norm([p.grad for p in trained if p.grad is not None])
        if clip_norm is not None:
            nn.utils.clip_grads_with_norm_(trained, clip_norm, norm)
    elif not scaler.is_enabled():
        raise RunError(f"a gradient is not finite (norm {float(norm)})")
    elif scaler.get_scale() < _SMALLEST_SCALE:
        raise RunError(f"a gradient is not finite even with the loss scaled by {scaler.get_scale():.3g}")
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)

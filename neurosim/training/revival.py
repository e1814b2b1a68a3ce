"""Dormant units that get another start during a training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, nn

from neurosim.analysis import revive_units
from neurosim.analysis.revival import revivable
from neurosim.checks import number, whole
from neurosim.errors import ConfigError

_STEPS: Final = "steps_before_revival"  #: in the first group of the optimiser, so that checkpoints have it


def revive_after_steps(
    model: nn.Module, optimizer: torch.optim.Optimizer, *, every: int = 1000, tau: float = 0.025, seed: int = 0
) -> Callable[[], None]:
    """Call :func:`revive_units` after every so many steps of an optimiser, on what the model was given last.

    The count of the steps is in the optimiser's first group, and so in checkpoints.

    Args:
        model: What is trained, called with one tensor.
        optimizer: Of its parameters.
        every: Steps from one time to the next, ≥ 1.
        tau, seed: As for :func:`revive_units`.

    Returns:
        What ends it when it is called.

    Raises:
        ConfigError: An argument is out of its domain, or the model has no layer whose units can be given another start.
    """
    whole("revive_after_steps: every", every, 1)
    number("revive_after_steps: tau", tau, ge=0)
    whole("revive_after_steps: seed", seed, 0)
    found, left = revivable(model)
    if not found:
        why = "; ".join(f"{one.layer or '(model)'}: {one.reason}" for one in left) or "no layer is known to feed another"
        raise ConfigError(f"revive_after_steps: the model must have a layer whose units can be given another start, and has none: {why}")
    given: list[Tensor] = []

    def remember(module: nn.Module, args: tuple[Any, ...]) -> None:
        if module.training and args and (optimizer.param_groups[0].get(_STEPS, 0) + 1) % every == 0:
            given[:] = [args[0].detach()]

    def after_step(optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        steps = optimizer.param_groups[0][_STEPS] = optimizer.param_groups[0].get(_STEPS, 0) + 1
        if given:
            revive_units(model, given.pop(), tau=tau, seed=seed, draw=steps, optimizer=optimizer, inplace=True)

    handles = [model.register_forward_pre_hook(remember), optimizer.register_step_post_hook(after_step)]

    def end() -> None:
        for one in handles:
            one.remove()

    return end

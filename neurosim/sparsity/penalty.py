"""A penalty on activations that grows in stages, for models that learn to be sparse."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from neurosim.analysis.observe import watching
from neurosim.checks import number, whole
from neurosim.convert.select import Selection, as_list, check_globs, matches
from neurosim.convert.swap_activation import activations_of
from neurosim.errors import ConfigError
from neurosim.nn.wrappers import unwrapped


def sine_stages(step: int, ends: Sequence[int], strengths: Sequence[float]) -> float:
    r"""The strength of a penalty that rises in stages, each along half a sine from the last strength to its own.

    .. math:: \lambda(t) = \lambda_{i-1} + \tfrac12 \Big[\sin\Big(-\tfrac{\pi}{2} + \pi \frac{t - T_{i-1}}{T_i - T_{i-1}}\Big) + 1\Big]
        (\lambda_i - \lambda_{i-1}), \quad T_{i-1} \le t < T_i

    In the first stage it is :math:`\lambda_1` from the beginning, after the last one :math:`\lambda_n` for good.

    Args:
        step: t ≥ 0.
        ends: T₁ … Tₙ, steps, rising from above 0.
        strengths: λ₁ … λₙ ≥ 0, one a stage.

    Raises:
        ConfigError: An argument is out of its domain.

    Source:
        C. Song et al., "ProSparse: introducing and enhancing intrinsic activation sparsity within large language models", 2024,
        section 3.2.

    >>> [round(sine_stages(t, [10, 20], [0.1, 0.5]), 3) for t in (0, 9, 10, 15, 20, 99)]
    [0.1, 0.1, 0.1, 0.3, 0.5, 0.5]
    """
    at = whole("sine_stages: step", step, 0)
    limits = [whole("sine_stages: ends", one, 1) for one in ends]
    levels = [number("sine_stages: strengths", one, ge=0) for one in strengths]
    if not limits or len(limits) != len(levels) or any(one >= other for one, other in pairwise(limits)):
        raise ConfigError(f"sine_stages: ends must rise, one a strength, got {list(ends)} and {list(strengths)}")
    stage = sum(at >= end for end in limits)
    if stage == 0 or stage == len(limits):
        return levels[min(stage, len(levels) - 1)]
    progress = (at - limits[stage - 1]) / (limits[stage] - limits[stage - 1])
    return levels[stage - 1] + 0.5 * (math.sin(-math.pi / 2 + math.pi * progress) + 1) * (levels[stage] - levels[stage - 1])


class Activations:
    """What the watched activations gave in the forward passes since the last :meth:`clear`; from :func:`watch_activations`."""

    def __init__(self) -> None:
        self.found: list[Tensor] = []

    def l1(self) -> Tensor:
        """The mean magnitude in every activation, summed over them: a scalar with a gradient.

        Raises:
            ConfigError: Nothing was seen.
        """
        return torch.stack([one.abs().mean() for one in self._seen()]).sum()

    def zeros(self) -> float:
        """The share of all elements that are 0.

        Raises:
            ConfigError: Nothing was seen.
        """
        seen = self._seen()
        return float(sum(int((one == 0).sum()) for one in seen) / sum(one.numel() for one in seen))

    def clear(self) -> None:
        """Forget what was seen."""
        self.found.clear()

    def _seen(self) -> list[Tensor]:
        if not self.found:
            raise ConfigError("watch_activations: nothing was seen yet: run the model within the block")
        return self.found

    def wants_membrane(self, module: nn.Module) -> bool:
        """Not needed."""
        return False

    def enter(self, module: nn.Module, x: Any) -> None:
        """Nothing to do."""

    def leave(self, module: nn.Module, result: Any, membrane: Tensor | None) -> None:
        """Keep what the activation gave."""
        if isinstance(result, Tensor):
            self.found.append(result)


@contextlib.contextmanager
def watch_activations(model: nn.Module, layers: Selection = None) -> Iterator[Activations]:
    """Look at what the activations of a model give, for a penalty or for their share of zeros.

    Args:
        model: Any module.
        layers: Which activations: globs over their paths, or types; None for all.

    Raises:
        ConfigError: There is none, or a glob names none.

    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    >>> with watch_activations(model) as seen:
    ...     outputs = model(torch.ones(4, 2))
    >>> loss = outputs.square().mean() + sine_stages(5, [10], [0.01]) * seen.l1()
    """
    seen = Activations()
    with watching(chosen_activations("watch_activations", model, layers), seen):
        yield seen


def chosen_activations(where: str, model: nn.Module, layers: Selection = None) -> list[nn.Module]:
    """The activations of a model that are modules.

    Args:
        where: Who asks, for messages.
        model: Any module.
        layers: Globs over their paths, or types; None for all.

    Raises:
        ConfigError: There is none, or a glob names none.
    """
    known = activations_of(unwrapped(model))
    check_globs(f"{where}: layers", as_list(layers), [path for path, _ in known], "activation")
    chosen = [module for path, module in known if layers is None or matches(path, module, layers)]
    if not chosen:
        raise ConfigError(f"{where}: the model must have activations that are modules, got none that is chosen")
    return chosen

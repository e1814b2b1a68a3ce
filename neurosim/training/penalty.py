"""What is added to the loss of a run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from neurosim.config import RunConfig
from neurosim.errors import ConfigError
from neurosim.norms import NormLoss
from neurosim.sparsity.penalty import Activations, chosen_activations, sine_stages


class Penalty(ABC):
    """Something that is added to the loss at every step."""

    @abstractmethod
    def __call__(self, step: int) -> Tensor:
        """A scalar with a gradient, after the forward pass of a step, counted from 0."""

    def end(self) -> None:
        """Let go of the model."""
        return


class NormPenalty(Penalty):
    """:class:`neurosim.norms.NormLoss` of a model.

    Args:
        model: Any module.
        strength: Its factor.

    Raises:
        ConfigError: The model has nothing that it could be computed of.
    """

    def __init__(self, model: nn.Module, strength: float) -> None:
        self._model, self._loss = model, NormLoss(strength)
        with torch.no_grad():
            self._loss(model)

    def __call__(self, step: int) -> Tensor:
        """The same at every step."""
        loss: Tensor = self._loss(self._model)
        return loss


class ActivationPenalty(Penalty):
    """The mean magnitude in every activation of the last forward in training, summed, times :func:`neurosim.sparsity.sine_stages`.

    Args:
        model: Any module, called by itself.
        ends, strengths: Of the stages, in steps.
        layers: Globs over the paths of activations.

    Raises:
        ConfigError: There is no such activation, or the stages are not those of :func:`neurosim.sparsity.sine_stages`.
    """

    def __init__(self, model: nn.Module, ends: Sequence[int], strengths: Sequence[float], layers: Sequence[str]) -> None:
        self._ends, self._strengths = list(ends), list(strengths)
        sine_stages(0, self._ends, self._strengths)
        chosen = chosen_activations("activation_l1", model, list(layers))
        self._seen = Activations()
        self._handles = [module.register_forward_hook(self._look) for module in chosen]
        self._handles.append(model.register_forward_pre_hook(self._forget))

    def __call__(self, step: int) -> Tensor:
        """Of the last forward."""
        return self._seen.l1() * sine_stages(step, self._ends, self._strengths)

    def end(self) -> None:
        """Look no longer."""
        for one in self._handles:
            one.remove()
        self._seen.clear()

    def _look(self, module: nn.Module, args: Any, result: Any) -> None:
        if module.training:
            self._seen.leave(module, result, None)

    def _forget(self, model: nn.Module, args: Any) -> None:
        if model.training:
            self._seen.clear()


def penalty(model: nn.Module, config: RunConfig) -> Penalty | None:
    """What ``train.regularizer`` adds to the loss, tried on the model; None without.

    Args:
        model: What is trained.
        config: Of the run.

    Raises:
        ConfigError: The model has nothing that it could be computed of.
    """
    chosen = config.train.regularizer
    if chosen is None:
        return None
    settings = chosen.model_dump(exclude={"kind"})
    kinds: dict[str, Callable[..., Penalty]] = {"norm_loss": NormPenalty, "activation_l1": ActivationPenalty}
    try:
        return kinds[chosen.kind](model, **settings)
    except ConfigError as error:
        raise ConfigError(f"train.regularizer: {error}") from None

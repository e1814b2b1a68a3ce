"""What is added to the loss of a run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

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

    It looks at the activations that the model has in that forward: one that took the place of another since is seen too. Copies of the
    model are not looked at.

    Args:
        model: Any module, called by itself.
        ends, strengths: Of the stages, in steps.
        layers: Globs over the paths of activations.

    Raises:
        ConfigError: There is no such activation, or the stages are not those of :func:`neurosim.sparsity.sine_stages`.
    """

    def __init__(self, model: nn.Module, ends: Sequence[int], strengths: Sequence[float], layers: Sequence[str]) -> None:
        self._ends, self._strengths, self._layers = list(ends), list(strengths), list(layers)
        sine_stages(0, self._ends, self._strengths)
        self._seen, self._waits = Activations(), False
        self._modules: list[nn.Module] = []
        self._handles: list[RemovableHandle] = []
        self._attach(model)
        self._start = model.register_forward_pre_hook(_Hook(self._begin))

    def __call__(self, step: int) -> Tensor:
        """Of the last forward; what was seen in it is let go of.

        Raises:
            ConfigError: There was no forward in training since the last call.
        """
        try:
            return self._seen.l1() * sine_stages(step, self._ends, self._strengths)
        finally:
            self._forget(waits=False)

    def end(self) -> None:
        """Look no longer."""
        for one in (*self._handles, self._start):
            one.remove()
        self._forget(waits=False)

    def _attach(self, model: nn.Module) -> None:
        chosen = chosen_activations("activation_l1", model, self._layers)
        for one in self._handles:
            one.remove()
        self._handles = [module.register_forward_hook(_Hook(self._look)) for module in chosen]
        self._modules = list(model.modules())

    def _begin(self, model: nn.Module, args: Any) -> None:
        if model.training:
            now = list(model.modules())
            if len(now) != len(self._modules) or any(one is not other for one, other in zip(now, self._modules, strict=True)):
                self._attach(model)
            self._forget(waits=True)

    def _look(self, module: nn.Module, args: Any, result: Any) -> None:
        if module.training and self._waits:  # not what a checkpoint of activations computes again for the gradient
            self._seen.leave(module, result, None)

    def _forget(self, *, waits: bool) -> None:
        self._seen.clear()
        self._waits = waits


class _Hook:
    """A hook that stays behind when its module is copied: the copy has one that does nothing.

    Args:
        tell: What is called; None: nothing.
    """

    def __init__(self, tell: Callable[..., None] | None = None) -> None:
        self._tell = tell

    def __call__(self, *args: Any) -> None:
        if self._tell is not None:
            self._tell(*args)

    def __reduce__(self) -> Any:
        return _Hook, ()


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

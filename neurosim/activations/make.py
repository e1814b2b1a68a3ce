"""The activations of a model, place by place."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from neurosim.activations.facts import activation, check_activation
from neurosim.clock import Clock


class Maker:
    """Makes the activations of one model: a fresh one at every place, or with ``shared`` the same module at all.

    Args:
        choice: As for :func:`activation`; ``shared: true`` beside the parameters shares them.

    Raises:
        ConfigError: No activation can be made of it.

    >>> make = Maker({"kind": "rational", "shared": True})
    >>> make() is make()
    True
    """

    def __init__(self, choice: object) -> None:
        self.choice = choice
        self._one = activation(choice) if isinstance(choice, Mapping) and choice.get("shared") else None
        self._places = 0
        check_activation(choice)

    def __call__(self) -> nn.Module:
        """The activation of the next place."""
        if self._one is not None:
            return self._one
        self._places += 1
        return named_draws(activation(self.choice), f"activation {self._places}")


def named_draws(module: nn.Module, path: str) -> nn.Module:
    """The module, drawing from streams of that name if it draws at all; two of one seed would draw alike."""
    for part in module.modules():
        if isinstance(part, Clock):
            part.path = path
            part.program(part.seed)
    return module

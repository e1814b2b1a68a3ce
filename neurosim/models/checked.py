"""Checks of what models are given, before one is made: all that is wrong at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from pydantic import BeforeValidator

from neurosim.activations import activation
from neurosim.errors import ConfigError


def check_all(*checks: Callable[[], object]) -> None:
    """Run all checks, and raise what they refuse together.

    Args:
        checks: Each may raise a ConfigError.

    Raises:
        ConfigError: Of all that did, each problem once.
    """
    found: list[str] = []
    for check in checks:
        try:
            check()
        except ConfigError as error:
            found += error.problems
    if problems := list(dict.fromkeys(found)):
        raise ConfigError("\n".join(problems), problems)


def named(where: str, check: Callable[[Any], object]) -> BeforeValidator:
    """What a config says at a key, refused there with the words of a check; what the check says of keys below it is said later.

    Args:
        where: What the check calls it.
        check: Raises a ConfigError.
    """

    def checked(choice: Any) -> Any:
        try:
            check(choice)
        except ConfigError as error:
            head, _, said = str(error).partition(": ")
            if head == where:
                raise ValueError(said) from None
        return choice

    return BeforeValidator(checked)


def check_fits(where: str, choice: Any, places: Iterable[tuple[int, int]]) -> None:
    """Try an activation on what comes to its places.

    Args:
        where: What messages call it.
        choice: What :func:`neurosim.activations.activation` takes.
        places: Channels, and axes beside batch and channels: 0 behind a linear layer, 2 behind a convolution of images.

    Raises:
        ConfigError: It refuses them.
    """
    for channels, axes in dict.fromkeys(places):
        try:
            with torch.no_grad():
                activation(choice)(torch.ones(2, channels, *(2,) * axes))
        except ConfigError as error:
            behind = "a convolution" if axes else "a linear layer"
            raise ConfigError(f"{where}: does not fit behind {behind} of {channels} outputs: {error}") from None

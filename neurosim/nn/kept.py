"""Weights that are programmed once for many forwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
Kept = dict[str, tuple[Any, Any]]  #: by name, for which weights and state a result is, and the result


class Keeping(Protocol):
    """What is asked of a chain."""

    kept: Kept | None
    seed: int
    seconds: float
    strength: float
    maps: tuple[str, ...]

    @property
    def modes(self) -> Mapping[str, Any]:
        """Noise mode of every stage."""

    @property
    def steps(self) -> Mapping[str, Sequence[Any]]:
        """The stages of every path."""


def once(chain: Keeping, name: str, make: Callable[[], T], *clean: Tensor | None) -> T:
    """What ``make`` gives for these clean tensors; while weights are kept and nothing of them is drawn anew, what it gave before.

    Args:
        chain: Whose weights.
        name: What is made.
        make: Makes it.
        clean: The parameters that it is made of; a change of one in place is noticed, but for one through ``.data``.
    """
    if chain.kept is None or torch.is_grad_enabled() or torch.compiler.is_compiling() or not _steady(chain):
        return make()
    tensors = [(id(one), one._version, one.data_ptr()) for one in clean if one is not None]
    state = tensors, chain.seed, chain.seconds, chain.strength, dict(chain.modes)
    before, value = chain.kept.get(name, (None, None))
    if before != state:
        value = make()
        chain.kept[name] = state, value
    kept: T = value
    return kept


def _steady(chain: Keeping) -> bool:
    """Whether every forward finds the same in the array, as long as nobody changes it."""
    if "noise" in chain.maps:
        return False
    steps = (step for path in ("weight", "bias", "array") for step in chain.steps.get(path, ()))
    return all(step.stream is None or step.scope in ("device", "hold") or chain.modes[step.slot] in ("off", "ideal") for step in steps)

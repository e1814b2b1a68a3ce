"""Weights that are programmed once for many forwards, or for many uses within one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")
Kept = dict[str, tuple[Any, Any]]  #: by name, for which weights and state a result is, and the result


class OneForward(dict[str, tuple[Any, Any]]):
    """What is kept within one forward: with its gradient, and also if every forward draws it anew."""


class Keeping(Protocol):
    """What is asked of a chain."""

    kept: Kept | None
    seed: int
    seconds: float
    strength: float
    maps: tuple[str, ...]
    rewritten: bool  #: whether every use writes the array anew

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """What is trained of its stages."""

    @property
    def modes(self) -> Mapping[str, Any]:
        """Noise mode of every stage."""

    @property
    def steps(self) -> Mapping[str, Sequence[Any]]:
        """The stages of every path."""


def once(chain: Keeping, name: str, make: Callable[[], T], *clean: Tensor | None, steps: Sequence[Any] | None = None) -> T:
    """What ``make`` gives for these clean tensors; while weights are kept and nothing of them is drawn anew, what it gave before.

    Args:
        chain: Whose weights.
        name: What is made.
        make: Makes it.
        clean: The parameters that it is made of, beside those of the chain; a change in place is noticed, but for one through ``.data``.
        steps: The stages that it is made by; None for all of weights, biases and arrays.
    """
    within = isinstance(chain.kept, OneForward)
    if chain.kept is None or (torch.is_grad_enabled() and not within) or torch.compiler.is_compiling() or not steady(chain, within, steps):
        return make()
    made_of = (*clean, *chain.parameters(recurse=False))
    tensors = [(id(_owner(one)), one._version, one.data_ptr()) for one in made_of if one is not None]
    state = tensors, chain.seed, chain.seconds, chain.strength, dict(chain.modes)
    before, value = chain.kept.get(name, (None, None))
    if before != state:
        value = make()
        chain.kept[name] = state, value
    kept: T = value
    return kept


@contextmanager
def one_forward(chains: Iterable[Keeping]) -> Iterator[None]:
    """Within the ``with`` block, a part of one forward, what arrays hold is computed once for all uses, unless each draws it anew."""
    before = [(chain, chain.kept) for chain in chains]
    for chain, kept in before:
        if kept is None or torch.is_grad_enabled() or not steady(chain):
            chain.kept = OneForward()
    try:
        yield
    finally:
        for chain, kept in before:
            chain.kept = kept


def _owner(tensor: Tensor) -> Tensor:
    """The parameter that a part is a view of: the view is made anew for every use."""
    return tensor if tensor._base is None else tensor._base


def steady(chain: Keeping, within: bool = False, steps: Sequence[Any] | None = None) -> bool:
    """Whether every forward, or every use ``within`` one, finds the same behind these stages, as long as nobody changes it.

    None are those of weights, biases and arrays.
    """
    scopes = ("device", "hold", "batch") if within else ("device", "hold")
    if chain.rewritten or "noise" in chain.maps:
        return False
    made_by = steps if steps is not None else [step for path in ("weight", "bias", "array") for step in chain.steps.get(path, ())]
    return all(step.stream is None or step.scope in scopes or chain.modes[step.slot] in ("off", "ideal") for step in made_by)

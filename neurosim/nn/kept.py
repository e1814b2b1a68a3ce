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
    state = chain.seed, chain.seconds, chain.strength, dict(chain.modes), [_Seen(one) for one in made_of if one is not None]
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


class _Seen:
    """A tensor as it was; equal to another if nothing has changed. One of inference mode counts no changes: its numbers are compared."""

    def __init__(self, tensor: Tensor) -> None:
        self.place = tensor.data_ptr(), tensor.shape, tensor.dtype, tensor.device
        self.version = None if tensor.is_inference() else tensor._version
        # a part is a view that is made anew for every use; holding what it is a part of, nothing else is ever taken for it
        owner = tensor if tensor._base is None else tensor._base
        self.tensor = tensor.clone() if self.version is None else owner

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Seen) or self.version != other.version:
            return False
        if self.version is not None:
            return self.tensor is other.tensor and self.place == other.place
        return self.place[1:] == other.place[1:] and (self.tensor.is_meta or torch.equal(self.tensor, other.tensor))


def steady(chain: Keeping, within: bool = False, steps: Sequence[Any] | None = None) -> bool:
    """Whether every forward, or every use ``within`` one, finds the same behind these stages, as long as nobody changes it.

    None are those of weights, biases and arrays.
    """
    scopes = ("device", "hold", "batch") if within else ("device", "hold")
    if chain.rewritten or "noise" in chain.maps:
        return False
    made_by = steps if steps is not None else [step for path in ("weight", "bias", "array") for step in chain.steps.get(path, ())]
    return all(step.stream is None or step.scope in scopes or chain.modes[step.slot] in ("off", "ideal") for step in made_by)

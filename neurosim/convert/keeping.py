"""Weights that are programmed once for a whole evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from neurosim.nn.chain import AnalogChain


@contextmanager
def keep_weights(model: nn.Module) -> Iterator[None]:
    """Within the ``with`` block, what the arrays hold is computed once for many forwards without gradients: for evaluation.

    Layers whose weights are drawn anew at every forward are computed every time; another chip, time, noise mode or override is noticed, and
    so is a weight that changes in place; only changes through ``weight.data`` are not.

    Args:
        model: A model, converted or not.
    """
    chains = [module for module in model.modules() if isinstance(module, AnalogChain)]
    before = [chain.kept for chain in chains]
    for chain in chains:
        chain.kept = {}
    try:
        yield
    finally:
        for chain, kept in zip(chains, before, strict=True):
            chain.kept = kept

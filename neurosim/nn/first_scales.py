"""Where learned scales of weights start: at the largest magnitudes of the weights that they are for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import torch
from torch import Tensor

from neurosim.hardware.stages.scale import Scale, gathered, or_one
from neurosim.nn.chain import AnalogChain
from neurosim.nn.quadratures import real_form

_SLOT: Final = "weight.scale"
_NAME: Final = "chain.weight_scale__value"  #: of the parameter, in its layer


def start_scales(chain: AnalogChain, matrix: Tensor, *, again: bool = False) -> None:
    """Set the scales of a chain that are learned of each output or input and have no value yet.

    Args:
        chain: The chain; its scales are changed in place.
        matrix: What its arrays are for, ``(groups, outputs, inputs)``.
        again: Also set those that have a value, but for where the chain says which they start from.
    """
    spec = chain.slots.get(_SLOT)
    if not isinstance(spec, Scale) or not spec.several or spec.value is not None:
        return
    value = chain.context(_SLOT)[0]["value"]
    if again or value.is_meta or bool(value.isnan().any()):
        with torch.no_grad():
            numbers = real_form(matrix) if matrix.is_complex() else matrix
            value.copy_(or_one(gathered(numbers.abs(), value, spec).amax(-1)).reshape(value.shape))


def follow_loaded(chain: AnalogChain, matrix: Tensor, state_dict: Mapping[str, Any], prefix: str, weights: Iterable[str]) -> None:
    """Start the scales of a layer anew where a ``state_dict`` brings its weight but no scales: a digital one.

    Args:
        chain, matrix: As in :func:`start_scales`, the weight being the one that was loaded.
        state_dict: What was loaded.
        prefix: Of the layer's names in it.
        weights: Full names that the weight may have, one of which is enough.
    """
    if prefix + _NAME not in state_dict and any(name in state_dict for name in weights):
        start_scales(chain, matrix, again=True)

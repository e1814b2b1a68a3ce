"""What a norm to the scale of a threshold is told of the neurons that it feeds."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from neurosim.convert.affine import WEIGHTED
from neurosim.convert.places import chains
from neurosim.errors import ConversionError
from neurosim.neurons import is_neurons
from neurosim.nn.analog import AnalogLayer
from neurosim.nn.time import SpikingResidual, SpikingSequential


class Thresholds:
    """The thresholds of a model: of every module that surely feeds neurons, and all that there are.

    Args:
        root: Holds the model as ``"model"``.
    """

    def __init__(self, root: nn.ModuleDict) -> None:
        self._root = root
        self._all = {value for module in root.modules() if is_neurons(module) for value in _threshold(module)}
        self._fed: dict[str, float] = {}
        for chain in chains(root, reads=(*WEIGHTED, AnalogLayer)):
            after: list[float] = []
            for place in reversed(chain):
                if is_neurons(place.module):
                    after = _threshold(place.module)
                    continue
                if after:
                    self._fed[place.path] = after[0]
                if not isinstance(place.module, nn.Identity | _DropoutNd):
                    after = []

    def at(self, path: str) -> dict[str, float]:
        """``v_threshold`` and ``alpha`` as the models have them there: 1/√2 where a branch of a residual block ends; empty without neurons.

        Raises:
            ConversionError: Which of several thresholds it is, or what a threshold of every unit is, cannot be known.
        """
        if not self._all:
            return {}
        value = self._fed.get(path, next(iter(self._all)) if len(self._all) == 1 else math.nan)
        if math.isnan(value):
            there = "one of every unit" if any(map(math.isnan, self._all)) else ", ".join(f"{one:g}" for one in sorted(self._all))
            raise ConversionError(f"v_threshold must be given: the neurons that follow are not known, and their thresholds are {there}")
        return {"v_threshold": value, "alpha": 1 / math.sqrt(2) if self._ends_branch(path) else 1.0}

    def _ends_branch(self, path: str) -> bool:
        owner, _, branch = f"model.{path}".rpartition(".")[0].rpartition(".")
        if not branch or not isinstance(self._root.get_submodule(owner), SpikingResidual):
            return False
        ended = self._root.get_submodule(f"{owner}.{branch}")
        return isinstance(ended, SpikingSequential) and list(ended._modules)[-1] == path.rpartition(".")[2]


def _threshold(neurons: nn.Module) -> list[float]:
    """The threshold of a layer of neurons, NaN where every unit has its own; nothing where they have none."""
    found = getattr(getattr(neurons, "neuron", neurons), "v_threshold", None)
    if found is None:
        return []
    values = torch.as_tensor(found).flatten()
    return [float(values[0]) if bool((values == values[0]).all()) else math.nan]

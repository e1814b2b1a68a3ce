"""Activations that give way to others during a run, while the network as it was before teaches."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from neurosim.activations import activation
from neurosim.analysis.distillation import distillation_loss, swapped_by
from neurosim.config.train import SwapConfig
from neurosim.convert.fused_path import drop_fused_path
from neurosim.convert.swap_activation import activations_of
from neurosim.errors import ConfigError
from neurosim.training.folder import RunFolder
from neurosim.training.weights import load_weights, save_weights


class ActivationPlan:
    """Which activations a network has in an epoch; a function of the epoch alone, so that a run can be stopped and go on.

    The first epochs train the network with other activations, those of ``swap.start``. In the last ``swap.epochs`` its own take their
    places, and it learns from what it was before: a copy, whose weights lie in the folder of the run.

    Args:
        model: With its own activations, on its device; in place it gets the first ones.
        swap: The block ``train.swap``.
        epochs: Of the run.
        folder: Of the run.

    Raises:
        ConfigError: The model has no activations that are modules, one of either has parameters or statistics, or there are not enough
            epochs.
    """

    def __init__(self, model: nn.Module, swap: SwapConfig, epochs: int, folder: RunFolder) -> None:
        self.model, self.swap, self._file = model, swap, folder.path / "teacher.safetensors"
        if not 0 < swap.epochs < epochs:
            raise ConfigError(f"train.swap.epochs: must leave some of the {epochs} epochs for training before, got {swap.epochs}")
        self.first = epochs - swap.epochs  #: epoch in which the first place is swapped
        own = _places(model)
        if not own or own[0][0] == "":
            raise ConfigError("train.swap: the model must have activations that are modules, has none")
        before = [(path, activation(swap.start).train(module.training)) for path, module in own]
        for path, module in [*own, *before]:
            if module.state_dict():
                raise ConfigError(
                    f"train.swap: {path}: must have neither parameters nor statistics to give way, nor a threshold that init set, "
                    f"got {type(module).__name__}"
                )
        order = 1 if swap.order == "forward" else -1
        self._own, self._before = own[::order], before[::order]
        self._teacher: nn.Module | None = None
        if swap.schedule == "iterative" and swap.epochs < len(own):
            raise ConfigError(f"train.swap.epochs: must be at least the {len(own)} places, one epoch each, got {swap.epochs}")
        self.set(0)

    def swapped(self, epoch: int) -> int:
        """In how many places the model has its own activation."""
        if epoch < self.first:
            return 0
        return swapped_by(len(self._own), self.swap.schedule, (epoch - self.first) / self.swap.epochs)

    def complete(self, epoch: int) -> bool:
        """Whether the model has all its own activations: only then may it be chosen."""
        return self.swapped(epoch) == len(self._own)

    def set(self, epoch: int) -> None:
        """Give the model the activations of an epoch; at the beginning of the swaps the teacher is made, or read back.

        Raises:
            CheckpointError: The teacher's file is damaged.
        """
        if epoch >= self.first and self._teacher is None:
            self._place(self.model, 0)
            if not self._file.is_file():
                save_weights(self._file, self.model, {"epoch": str(epoch)})
            self._teacher = copy.deepcopy(self.model).eval().requires_grad_(False)
            load_weights(self._teacher, self._file)
        self._place(self.model, self.swapped(epoch))

    def loss(self, images: Tensor, outputs: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """What to learn from: labels alone, or with a teacher ``swap.labels`` of that and the rest of the teacher's outputs."""
        told = cross_entropy(outputs, labels, label_smoothing=label_smoothing)
        if self._teacher is None:
            return told
        with torch.no_grad():
            wanted = self._teacher(images)
        return self.swap.labels * told + (1 - self.swap.labels) * distillation_loss(outputs, wanted, self.swap.temperature)

    def _place(self, model: nn.Module, count: int) -> None:
        for at, (own, before) in enumerate(zip(self._own, self._before, strict=True)):
            parent, _, name = own[0].rpartition(".")
            module = (own if at < count else before)[1]
            model.get_submodule(parent)._modules[name] = module.train(model.training)
        drop_fused_path(model, [module for _, module in (*self._own, *self._before)])


def _places(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """By path every place that an activation stands in, once; one that is shared has several."""
    found = {id(module) for _, module in activations_of(model)}
    places: dict[tuple[int, str], tuple[str, nn.Module]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        if id(module) in found:
            parent, _, name = path.rpartition(".")
            places.setdefault((id(model.get_submodule(parent)), name), (path, module))
    return list(places.values())

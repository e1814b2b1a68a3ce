"""What the parameters of a run must obey at every step, and what is added to its loss so that they do."""

from __future__ import annotations

import torch
from torch import nn

from neurosim import ei
from neurosim.analysis import clip_after_steps
from neurosim.config import RunConfig
from neurosim.errors import ConfigError
from neurosim.norms import NormLoss
from neurosim.training.decay import decay_weights
from neurosim.training.subset import train_only


def constrain(model: nn.Module, optimizer: torch.optim.Optimizer, config: RunConfig) -> None:
    """Keep weights of excitatory-inhibitory layers at 0 or more, and hold to ``train.decay``, ``train.clip_weights`` and ``train.only``.

    Args:
        model: What is trained.
        optimizer: Of its parameters; what is to happen after its steps is attached to it.
        config: Of the run.

    Raises:
        ConfigError: ``train.clip_weights`` or ``train.only`` names what the model does not have.
    """
    train = config.train
    if ei.layers(model):
        ei.attach(model, optimizer)
    if train.clip_weights is not None:
        clip_after_steps(model, optimizer, **train.clip_weights.model_dump())
    if train.decay == "weights":
        decay_weights(model, optimizer)
    if train.only is not None:
        train_only(model, optimizer, train.only.parameters, random=train.only.random, seed=config.seed)


def penalty(model: nn.Module, config: RunConfig) -> NormLoss | None:
    """What ``train.regularizer`` adds to the loss, tried on the model; None without.

    Args:
        model: What is trained.
        config: Of the run.

    Raises:
        ConfigError: The model has nothing that it could be computed of.
    """
    if config.train.regularizer is None:
        return None
    made = NormLoss(config.train.regularizer.strength)
    try:
        with torch.no_grad():
            made(model)
    except ConfigError as error:
        raise ConfigError(f"train.regularizer: {error}") from None
    return made

"""What the parameters of a run must obey at every step."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from neurosim import ei
from neurosim.analysis import clip_after_steps
from neurosim.config import RunConfig
from neurosim.config.train import KeepVariancesConfig
from neurosim.errors import ConfigError
from neurosim.training.decay import decay_weights
from neurosim.training.rescaling import keep_norms, keep_variances
from neurosim.training.revival import revive_after_steps
from neurosim.training.subset import train_only


def constrain(model: nn.Module, optimizer: torch.optim.Optimizer, config: RunConfig) -> None:
    """Keep weights of excitatory-inhibitory layers at 0 or more, and hold to what ``train`` asks of weights.

    After a step it is ``rescale`` that comes first, then ``clip_weights``, ``revive`` and ``only``.

    Args:
        model: What is trained.
        optimizer: Of its parameters; what is to happen after its steps is attached to it.
        config: Of the run.

    Raises:
        ConfigError: ``train.rescale``, ``train.clip_weights`` or ``train.only`` names what the model does not have, or ``train.revive``
            could revive nothing.
    """
    train = config.train
    if ei.layers(model):
        ei.attach(model, optimizer)
    if train.rescale is not None:
        how: dict[str, Any] = {"every": train.rescale.every_steps, "skip": train.rescale.skip}
        try:
            if isinstance(train.rescale, KeepVariancesConfig):
                keep_variances(model, optimizer, train.rescale.std, **how)
            else:
                keep_norms(model, optimizer, **how)
        except ConfigError as error:
            raise ConfigError(f"train.rescale: {error}") from None
    if train.clip_weights is not None:
        clip_after_steps(model, optimizer, **train.clip_weights.model_dump())
    if train.decay == "weights":
        decay_weights(model, optimizer)
    if train.revive is not None:
        try:
            revive_after_steps(model, optimizer, every=train.revive.every_steps, tau=train.revive.tau, seed=config.seed)
        except ConfigError as error:
            raise ConfigError(f"train.revive: {error}") from None
    if train.only is not None:
        train_only(model, optimizer, train.only.parameters, random=train.only.random, seed=config.seed)

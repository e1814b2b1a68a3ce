"""Where a run stands, and turning that into a checkpoint and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn

from neurosim.convert import get_draws, set_draws
from neurosim.errors import CheckpointError
from neurosim.training.checkpoint import restore_rng_state, rng_state
from neurosim.training.logs import Value
from neurosim.training.stopping import Watch
from neurosim.training.weights import mismatches


@dataclass
class Sums:
    """Running sums over the samples of training batches; their quotients are the means that are logged."""

    loss: float = 0.0
    hits: float = 0.0
    samples: int = 0

    def add(self, loss: float, hits: float, samples: int) -> None:
        """Count one batch of mean loss ``loss``."""
        self.loss += loss * samples
        self.hits += hits
        self.samples += samples

    def means(self) -> dict[str, Value]:
        """Mean loss and accuracy; empty before the first batch."""
        if not self.samples:
            return {}
        return {"train_loss": self.loss / self.samples, "train_accuracy": self.hits / self.samples}


@dataclass
class State:
    """Everything that counts up or is remembered during a run, apart from model and optimiser."""

    step: int = 0  #: optimiser steps done
    epoch: int = 0  #: epochs closed, their validation included
    watch: Watch = field(default_factory=Watch)
    stopped_early: bool = False
    of_epoch: Sums = field(default_factory=Sums)  #: since the epoch began
    of_window: Sums = field(default_factory=Sums)  #: since the last row of the log
    rows: int = 0  #: rows of the log
    seconds: float = 0.0  #: wall-clock time, earlier parts of the run included

    def to_dict(self) -> dict[str, Any]:
        """Numbers and dictionaries only."""
        return asdict(self) | {"watch": self.watch._asdict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> State:
        """What :meth:`to_dict` gave."""
        nested = {"watch": Watch(**values["watch"]), "of_epoch": Sums(**values["of_epoch"]), "of_window": Sums(**values["of_window"])}
        return cls(**{**values, **nested})


@dataclass(frozen=True)
class Trained:
    """What a step changes besides the :class:`State`."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    device: torch.device

    def snapshot(self) -> dict[str, Any]:
        """The content of a checkpoint: weights, optimiser, scaler, torch's generators and the noise counters."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "rng": rng_state(self.device),
            "draws": get_draws(self.model),
        }

    def restore(self, content: Mapping[str, Any]) -> None:
        """Take up what :meth:`snapshot` gave.

        Raises:
            CheckpointError: It belongs to another model or optimiser.
        """
        try:
            self.model.load_state_dict(content["model"], strict=True)
            self.optimizer.load_state_dict(content["optimizer"])
        except (RuntimeError, ValueError) as error:
            reasons = mismatches(self.model.state_dict(), content["model"]) or [" ".join(str(error).split())]
            raise CheckpointError("\n  ".join(["the checkpoint does not fit the model:", *reasons[:6]])) from None
        if self.scaler.is_enabled() and content["scaler"]:
            self.scaler.load_state_dict(content["scaler"])
        set_draws(self.model, content["draws"])
        restore_rng_state(content["rng"])

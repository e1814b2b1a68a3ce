"""Norms that keep a state, and their training in two processes at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, distributed, nn
from torch.nn.utils import parametrize

import neurosim as ns
from neurosim.norms import FreezingNorm, LayerNorm, PowerNorm, UnifiedNorm, WeightNorm
from tests.norms.contracts import FEATURES, draw, inputs_of, takes_time, varied

RANKS: Final = 2
#: the batches of every step of training; the last takes two, and one backward pass for both
STEPS: Final = ((0,), (1,), (2,), (3, 4))
RATE: Final = 0.05


def _weight_norm() -> nn.Module:
    layer = nn.Linear(FEATURES, 4, bias=False)
    with torch.no_grad():
        layer.weight.copy_(draw(4, FEATURES))
    parametrize.register_parametrization(layer, "weight", WeightNorm(data_init=True))
    return layer


#: every entry that has buffers, and what shows more of some: short warm-ups, a norm that freezes, weights that wait for data
STATEFUL: Final[Mapping[str, Callable[[], Any]]] = {
    **{
        name: ns.NORMS[name].example
        for name in ns.NORMS
        if ns.NORMS[name].kind in ("module", "wrapper") and next(ns.NORMS[name].example().buffers(), None) is not None
    },
    "power, after warm-up": lambda: PowerNorm(FEATURES, groups=0, warmup=1),
    "unified, after warm-up": lambda: UnifiedNorm(FEATURES, window=2, warmup=2, filter_outliers=True),
    "freezing": lambda: FreezingNorm(LayerNorm(FEATURES), after=2),
    "weight norm": _weight_norm,
}


class Behind(nn.Module):
    """The norm behind a gain for every element, which gets what gradient the norm lets through."""

    def __init__(self, name: str, seed: int = 0) -> None:
        super().__init__()
        self.norm = STATEFUL[name]()
        self.gain = nn.Parameter(torch.ones(self.inputs(0, 0).shape[1:]))
        varied(self, seed)

    def inputs(self, rank: int, batch: int) -> Tensor:
        """Of one process, different from batch to batch."""
        if isinstance(self.norm, nn.Linear | ns.norms.Norm) and not takes_time(self.norm):
            x = draw(6, FEATURES, *() if isinstance(self.norm, nn.Linear) else (4, 3), name=f"{rank} {batch}")
        else:
            x = draw(*(inputs_of(self.norm).shape if takes_time(self.norm) else (4, 6, FEATURES)), name=f"{rank} {batch}")
        return x * (1 + rank + 0.3 * batch)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised."""
        y: Tensor = self.norm(x * self.gain)
        return y


def loss_of(y: Tensor) -> Tensor:
    """A weighted sum: that of squares would hardly depend on the input of a norm."""
    return (y * draw(*y.shape, name="cotangent")).sum() / len(y)


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


def descend(model: nn.Module) -> None:
    """A step of the optimiser."""
    with torch.no_grad():
        for value in model.parameters():
            assert value.grad is not None
            value.sub_(RATE * value.grad)
            value.grad = None


def train_in_processes(rank: int, folder: str) -> None:
    """One of two processes: every norm is wrapped, trained, and what came of it written to ``folder``."""
    torch.set_num_threads(1)
    address = f"file://{Path(folder) / 'store'}"
    distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=RANKS, timeout=timedelta(seconds=600))
    found: dict[str, Any] = {}
    for name in STATEFUL:
        model = Behind(name, seed=rank)  # the second process has other numbers, until it is wrapped
        replica = nn.parallel.DistributedDataParallel(model)
        steps = []
        for batches in STEPS:
            torch.stack([loss_of(replica(model.inputs(rank, at))) for at in batches]).sum().backward()
            steps.append(gradients(model))
            descend(model)
        found[name] = {"gradients": steps, "state": model.state_dict()}
    torch.save(found, Path(folder) / f"{rank}.pt")
    distributed.destroy_process_group()


def train_in_turn(name: str) -> dict[str, Any]:
    """The same without processes: before each pass the buffers of the first replica go to the second, and gradients are averaged."""
    models = [Behind(name) for _ in range(RANKS)]
    steps = []
    for batches in STEPS:
        losses: list[list[Tensor]] = [[] for _ in models]
        for at in batches:
            for mine, first in zip(models[1].buffers(), models[0].buffers(), strict=True):
                mine.data.copy_(first)  # as there: what a pass has kept for its gradient may be overwritten
            for rank, model in enumerate(models):
                losses[rank].append(loss_of(model(model.inputs(rank, at))))
        for one in losses:
            torch.stack(one).sum().backward()
        of_ranks = [gradients(model) for model in models]
        steps.append({key: torch.stack([one[key] for one in of_ranks]).mean(0) for key in of_ranks[0]})
        for model in models:
            for key, value in model.named_parameters():
                value.grad = steps[-1][key]
            descend(model)
    return {"gradients": steps, "state": [model.state_dict() for model in models]}

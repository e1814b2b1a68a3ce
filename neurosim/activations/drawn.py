"""Activations at random: noise in the shape, comparators that err, and a choice that is drawn until it is made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neurosim.activations.base import ACTIVATIONS
from neurosim.activations.cost import Cost, Operations
from neurosim.activations.declare import layer
from neurosim.activations.facts import activation, read_choice
from neurosim.checks import number, one_of, whole
from neurosim.clock import Clock
from neurosim.errors import ConfigError
from neurosim.random import Stream

Fault = Literal["pos_zero", "neg_pass"]


class Drawn(nn.Module):
    """An activation that draws in its forward.

    Args:
        seed: Of the draws; None for 0, until a training gives its own.
        name: Of the streams.
    """

    def __init__(self, seed: int | None, name: str) -> None:
        super().__init__()
        self.seeded = seed is not None  #: whether somebody gave a seed
        self.clock = Clock(0 if seed is None else seed, name)


def give_seed(model: nn.Module, seed: int) -> None:
    """Let every activation of a model that draws, and was given no seed, draw from streams of this one, named after its path."""
    for path, module in model.named_modules():
        if isinstance(module, Drawn) and not module.seeded:
            module.clock = Clock(seed, path)


def stochastic_activation(x: Tensor, p: float, stream: Stream) -> Tensor:
    r"""ReLU with probability p, SiLU otherwise, element by element.

    .. math:: y = \max(0, x) \text{ if } u < p, \text{ else } x\,\sigma(x), \qquad u \sim U(0, 1)

    Args:
        x: Floating point, any shape; the result has the same.
        p: Probability of ReLU, in 0 … 1.
        stream: Where u comes from.

    Source:
        M. Lomeli et al., "Stochastic activations", arXiv 2509.22358 (2025), the function with two branches.
    """
    return torch.where(stream.uniform(x.shape, like=x) < p, F.relu(x), F.silu(x))


def faulty_relu(x: Tensor, width: float, fault: Fault, stream: Stream) -> Tensor:
    r"""ReLU by a comparator that errs near 0, with a probability that falls linearly with the distance.

    .. math:: P(\text{wrong}) = \max(0, 1 - |x|/w)

    Args:
        x: Floating point.
        width: w > 0, where errors end; 2ᵏ steps for a comparison that drops k bits.
        fault: What is wrong: ``pos_zero`` loses values above 0, ``neg_pass`` lets values below 0 through.
        stream: Where the errors come from.

    Source:
        Z. Ghodsi et al., "Circa: stochastic ReLUs for private deep learning", NeurIPS 2021, section 3.
    """
    wrong = stream.uniform(x.shape, like=x) < 1 - x.abs() / width
    return torch.where((x <= 0) | wrong if fault == "pos_zero" else (x <= 0) & ~wrong, 0, x)


@layer(
    "stochastic",
    "max(0, x) with probability p, else xσ(x); in evaluation max(0, x)",
    "random",
    cost=Cost(Operations(comparisons=1)),
    fold="scale",
    hardware="noise in the shape of the curve: trains networks that are sparse with a plain ReLU afterwards",
    cite=("stochastic_activations",),
    bounds=(-0.2784645427610738, float("inf")),
    zero_preserving=True,
)
class Stochastic(Drawn):
    """:func:`stochastic_activation` while training, ReLU in evaluation.

    Args:
        p: Probability of ReLU, in 0 … 1.
        seed: Of the draws; None: 0, or that of the training.
    """

    def __init__(self, p: float = 0.6, seed: int | None = None) -> None:
        super().__init__(seed, "stochastic")
        self.p = number("Stochastic.p", p, gt=0, lt=1)

    def forward(self, x: Tensor) -> Tensor:
        """The activation."""
        return stochastic_activation(x, self.p, self.clock()) if self.training else F.relu(x)

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"p={self.p:g}"


@layer(
    "faulty_relu",
    "max(0, x) with a wrong sign test of probability max(0, 1 − |x|/w)",
    "random",
    cost=Cost(Operations(comparisons=1)),
    fold="parts",
    speed="a random number an element",
    hardware="the fault model of a comparator with offset; training through it shows how much a network stands",
    cite=("circa",),
    zero_preserving=True,
)
class FaultyReLU(Drawn):
    """:func:`faulty_relu`, in training and in evaluation.

    Args:
        width: Where errors end, > 0.
        fault: ``pos_zero`` or ``neg_pass``.
        seed: Of the errors; None: 0, or that of the training.
    """

    def __init__(self, width: float = 0.1, fault: Fault = "pos_zero", seed: int | None = None) -> None:
        super().__init__(seed, "faulty_relu")
        self.width, self.fault = number("FaultyReLU.width", width, gt=0), one_of("FaultyReLU.fault", fault, get_args(Fault))

    def forward(self, x: Tensor) -> Tensor:
        """The activation."""
        return faulty_relu(x, self.width, self.fault, self.clock())

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"width={self.width:g}, fault={self.fault}"


POOL: Final = ("relu", "sigmoid", "tanh", "leaky_relu", "elu", "selu")


@layer(
    "smart_mixed",
    "Σₖ oₖ·fₖ(x), o one-hot for each neuron: drawn while it learns, then fixed",
    "random",
    cost=Cost(Operations(adds=1, multiplies=2, lookups=1, comparisons=1)),
    speed="curves of units that lie apart are gathered and put back; training computes all of the pool for each",
    hardware="learns which device curve each neuron gets; after freeze() every neuron has one",
    cite=("smart_mixed",),
)
class SmartMixed(Drawn):
    """One activation a neuron, chosen from a pool.

    While it learns, each forward in training draws a choice for every neuron (hard Gumbel-softmax: one curve forward, the gradient of all
    of them backward); evaluation takes the most probable one. :meth:`freeze` makes that choice final, and computes each curve for its own
    neurons only.

    Args:
        units: Neurons: the length of axis 1.
        pool: What :func:`activation` takes, each a function of one number, the same for all channels.
        temperature: Of the softmax, > 0; an attribute, to be lowered while training, which ``state_dict`` keeps.
        seed: Of the draws; None: 0, or that of the training.

    Shapes:
        x ``(batch, units, *)``; the result the same.

    Raises:
        ConfigError: An argument is out of its domain; in its call, the input has not as many units.
    """

    frozen: Tensor  #: whether the choice is made
    choice: Tensor  #: the index of the curve of every neuron, once it is

    def __init__(self, units: int, pool: Sequence[Any] = POOL, temperature: float = 1.0, seed: int | None = None) -> None:
        super().__init__(seed, "smart_mixed")
        count = whole("SmartMixed.units", units, 1)
        if not isinstance(pool, list | tuple) or len(pool) < 2:
            raise ConfigError(f"SmartMixed.pool: must be at least two activations, got {pool!r:.60}")
        self.pool = nn.ModuleList(_one_number(choice) for choice in pool)
        self.temperature = number("SmartMixed.temperature", temperature, gt=0)
        self.logits = nn.Parameter(torch.zeros(count, len(self.pool)))
        self.register_buffer("frozen", torch.zeros((), dtype=torch.bool))
        self.register_buffer("choice", torch.zeros(count, dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """The activation."""
        if x.dim() < 2 or x.shape[1] != len(self.logits):
            raise ConfigError(f"SmartMixed: axis 1 must have {len(self.logits)} units, got shape {tuple(x.shape)}")
        if bool(self.frozen):
            return self._grouped(x, self.choice)
        if not (self.training or torch.is_grad_enabled()):
            return self._grouped(x, self.logits.argmax(-1))
        across = (-1, *(1,) * (x.dim() - 2))
        weights = self._weights().to(x.dtype)
        reach = torch.full_like(weights, math.inf).masked_fill(weights == 0, torch.finfo(x.dtype).max)  # so that 0 times ∞ is 0
        terms = []
        for one, *numbers in zip(self.pool, weights.unbind(-1), reach.unbind(-1), strict=True):
            weight, most = (number.view(across) for number in numbers)
            terms.append(weight * one(x).clamp(-most, most))
        return torch.stack(terms).sum(0)

    def freeze(self) -> None:
        """Make the choice of every neuron final: the most probable one."""
        self.choice.copy_(self.logits.detach().argmax(-1))
        self.frozen.fill_(True)

    def get_extra_state(self) -> Tensor:
        """The temperature; a tensor, which every kind of checkpoint holds."""
        return torch.tensor(self.temperature, dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Take over what :meth:`get_extra_state` gave."""
        self.temperature = float(state)

    def _weights(self) -> Tensor:
        """The choice of every neuron as a one-hot row."""
        scores = self.logits
        if self.training:
            u = self.clock().uniform(scores.shape, like=scores)
            return _one_hot((scores - torch.log(-torch.log(u))) / self.temperature)
        return _one_hot(scores)

    def _grouped(self, x: Tensor, choice: Tensor) -> Tensor:
        y = torch.zeros_like(x)
        for at, one in enumerate(self.pool):
            mine = (choice == at).nonzero()[:, 0]
            y = y.index_copy(1, mine, one(x.index_select(1, mine)))
        return y


def _one_number(choice: Any) -> nn.Module:
    """An activation that each neuron can have by itself."""
    name, settings = read_choice(choice, {})
    kind = ACTIVATIONS[name].kind
    if kind not in ("curve", "random", "wrapper") or name == "smart_mixed" or settings.get("channels", 1) != 1:
        told = f"got {choice!r:.60}, which is of kind {kind!r}"
        raise ConfigError(f"SmartMixed.pool: each must be a function of one number, the same for all channels, {told}")
    return activation(choice)


def _one_hot(scores: Tensor) -> Tensor:
    """One-hot rows at the largest score, with the gradient of the softmax."""
    soft = torch.softmax(scores, -1)
    hard = F.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft.dtype)
    return hard + (soft - soft.detach())

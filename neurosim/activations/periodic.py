"""Periodic and oscillating units: what an interferometer does."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from neurosim.activations.cost import Operations
from neurosim.activations.declare import curve
from neurosim.activations.parameter import Parameter, Value
from neurosim.activations.smooth import at_least

_INF = math.inf


@curve(
    "snake",
    "x + sin²(ax)/a",
    a=Parameter(0.5, gt=0, learned=True),
    bounds=(-_INF, _INF),
    smoothness="smooth",
    operations=Operations(adds=1, multiplies=3, lookups=1),
    fold="parts",
    hardware="the response of an interferometer on a straight line; continues periodic signals beyond the data",
    cite=("snake",),
)
def snake(x: Tensor, a: Value) -> Tensor:
    """X with a periodic part; it never falls."""
    a = at_least(a, 1e-6)
    wave = torch.sin(a * x.clamp(min=-1e30, max=1e30)).square()  # at ∞, too, it is a number
    return torch.addcdiv(x, wave, a) if isinstance(a, Tensor) else torch.add(x, wave, alpha=1 / a)


@curve(
    "gcu",
    "x·cos x",
    bounds=(-_INF, _INF),
    monotone=False,
    smoothness="smooth",
    operations=Operations(multiplies=1, lookups=1),
    hardware="an interferometer whose amplitude grows with the signal; one neuron solves XOR",
    cite=("gcu",),
)
def gcu(x: Tensor) -> Tensor:
    """Growing cosine unit."""
    return x * torch.cos(x)


@curve(
    "sine",
    "sin(ωx)",
    omega=Parameter(1.0, gt=0),
    bounds=(-1.0, 1.0),
    monotone=False,
    smoothness="smooth",
    operations=lambda omega: Operations(multiplies=int(omega != 1), lookups=1),
    fold=lambda omega: "none" if omega == 1 else "parts",
    hardware="an interferometer between two arms, at quadrature",
    cite=("siren",),
)
def sine(x: Tensor, omega: Value) -> Tensor:
    """A sine."""
    return torch.sin(omega * x)

"""How signals propagate through residual networks at the start: mean² and variance of the stream, block by block.

    python benchmarks/signal_propagation.py

Pre-activation blocks x + f(x), two layers of 256 with a ReLU before each, inputs N(0, 1), seen by ``ns.probe``. *plain*: He's weights.
*batch norm*: a norm before each ReLU, and a transition in the middle of the network, whose shortcut comes behind the norm. The others are
blocks of NF-ResNets with α = 1, without the gain that is 0 at the start, on weights that are standardised and scaled by the γ of ReLU, or
by that of another activation: with the right one, variance is 1 + ℓ behind block ℓ, and mean² stays near 0.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from tqdm import tqdm

import neurosim as ns
from neurosim.activations import facts
from neurosim.norms import NormFreeBranch, ScaledWeightStandardization, expected_variances
from neurosim.norms.branches import Branch

SEEDS: Final = 3
WIDTH: Final = 256
SAMPLES: Final = 1024
SCALED_BY: Final = ("relu", "silu", "tanh", "selu")
KINDS: Final = ("plain", "batch norm", *(f"γ of {name}" for name in SCALED_BY))


@cache
def gamma_of(name: str) -> float:
    """1/√Var f(z), z ~ N(0, 1), of an activation."""
    return facts(name).moments().norm_free_gain


def layer(scaled_by: str | None, width: int, draw: torch.Generator) -> nn.Linear:
    """Weights by He's rule, or standardised and scaled; no bias."""
    made = nn.Linear(width, width, bias=False)
    nn.init.normal_(made.weight, std=math.sqrt(2 / width), generator=draw)
    if scaled_by is not None:
        parametrize.register_parametrization(made, "weight", ScaledWeightStandardization(gamma=gamma_of(scaled_by)))
    return made


class Transition(nn.Module):
    """A pre-activation block whose shortcut is a layer behind the norm."""

    def __init__(self, width: int, draw: torch.Generator) -> None:
        super().__init__()
        self.start = nn.Sequential(nn.BatchNorm1d(width), nn.ReLU())
        self.rest = nn.Sequential(layer(None, width, draw), nn.BatchNorm1d(width), nn.ReLU(), layer(None, width, draw))
        self.shortcut = layer(None, width, draw)

    def forward(self, x: Tensor) -> Tensor:
        """Both paths start behind the norm."""
        y: Tensor = self.start(x)
        both: Tensor = self.shortcut(y) + self.rest(y)
        return both


def network(kind: str, depth: int, seed: int = 0, width: int = WIDTH) -> nn.Sequential:
    """Residual blocks in training mode: one of ``KINDS``."""
    draw = torch.Generator().manual_seed(seed)
    scaled_by = kind.removeprefix("γ of ") if kind.startswith("γ") else None
    blocks: list[nn.Module] = []
    for variance in expected_variances([depth], alpha=1.0)[:-1]:
        if kind == "batch norm" and len(blocks) == depth // 2:
            blocks.append(Transition(width, draw))
            continue
        parts: list[nn.Module] = []
        for _ in range(2):
            parts += [nn.BatchNorm1d(width)] if kind == "batch norm" else []
            parts += [nn.ReLU(), layer(scaled_by, width, draw)]
        branch = nn.Sequential(*parts)
        blocks.append(Branch(branch, None) if scaled_by is None else NormFreeBranch(branch, variance, alpha=1.0, gain=None))
    return nn.Sequential(*blocks)


def inputs(seed: int = 0, samples: int = SAMPLES, width: int = WIDTH) -> Tensor:
    """N(0, 1)."""
    return torch.randn(samples, width, generator=torch.Generator().manual_seed(1000 + seed))


def expected(kind: str, depth: int) -> list[tuple[float, float]]:
    r"""Mean² and variance behind every block of wide networks, at inputs without anything in common.

    With q the second moment, c what two samples have in common, which is mean², and ρ = c / q, a layer behind a ReLU makes of ρ

    .. math:: \kappa(\rho) = \frac{\sqrt{1 - \rho^2} + (\pi - \arccos\rho)\,\rho}{\pi}

    A plain branch adds q to q and q κ(κ(ρ)) to c. One behind batch norms adds 1 to q and κ(0) = 1/π to c, and two begin anew at a
    transition. Standardised rows leave nothing in common, c = 0, and as ReLU is homogeneous, two layers scaled by γ' in the place of γ give

    .. math:: q_{\ell + 1} = q_\ell + \Big(\frac{\gamma'}{\gamma}\Big)^4 \frac{q_\ell}{1 + \ell}

    Source:
        Y. Cho, L. Saul, "Kernel methods for deep learning", NIPS 2009, equation 6, of degree 1.
    """
    found: list[tuple[float, float]] = []
    common, second = 0.0, 1.0
    for at in range(depth):
        if kind == "plain":
            common, second = common + second * _relu_kernel(_relu_kernel(common / second)), 2 * second
        elif kind == "batch norm":
            start = (0.0, 0.0) if at == depth // 2 else (common, second)
            branches = 2 if at == depth // 2 else 1
            common, second = start[0] + branches / math.pi, start[1] + branches
        else:
            second += (gamma_of(kind.removeprefix("γ of ")) / gamma_of("relu")) ** 4 * second / (1 + at)
        found.append((common, second - common))
    return found


def _relu_kernel(rho: float) -> float:
    return (math.sqrt(1 - rho**2) + (math.pi - math.acos(rho)) * rho) / math.pi


def measured(kind: str, depth: int, seed: int = 0, width: int = WIDTH, samples: int = SAMPLES) -> list[tuple[float, float]]:
    """The same of one network and one batch."""
    found = ns.probe(network(kind, depth, seed, width), inputs(seed, samples, width), layers=[Branch, Transition], training=True)
    return [(layer.mean_square, layer.variance) for layer in found.layers]


def main() -> None:
    """Print the table."""
    tqdm.write("| blocks | depth | mean² | variance | mean² of theory | variance of theory |\n|---|---|---|---|---|---|")
    for kind in KINDS:
        for depth in (10, 50):
            ends = np.array([measured(kind, depth, seed)[-1] for seed in range(SEEDS)])
            theory = expected(kind, depth)[-1]
            told = [f"{mean:.3g} ± {sd:.2g}" for mean, sd in zip(ends.mean(0), ends.std(0, ddof=1), strict=True)]
            tqdm.write(f"| {kind} | {depth} | {' | '.join(told)} | {theory[0]:.3g} | {theory[1]:.3g} |")


if __name__ == "__main__":
    main()

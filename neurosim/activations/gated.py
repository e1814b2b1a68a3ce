"""Self-gated units: x times a soft step of x, with a small negative lobe."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neurosim.activations.base import Bounds
from neurosim.activations.cost import Operations
from neurosim.activations.declare import curve
from neurosim.activations.parameter import Parameter, Value, finite, floored, plus_times
from neurosim.activations.smooth import at_least, gelu

_INF = math.inf
_LOBE: Bounds = (None, _INF)

curve(
    "gelu",
    "x·Φ(x), or with tanh: ½x(1 + tanh(√(2/π)(x + 0.044715x³)))",
    approximate=Parameter("none", words=("none", "tanh")),
    bounds=_LOBE,
    monotone=False,
    smoothness="smooth",
    operations=lambda approximate: Operations(0, 1, lookups=1) if approximate == "none" else Operations(2, 5, lookups=1),
    hardware="x times the probability that Gaussian noise of variance 1 leaves it above 0",
    cite=("gelu",),
    module=lambda approximate: nn.GELU(approximate),
)(gelu)


@curve(
    "silu",
    "x·σ(βx)",
    beta=Parameter(1.0),
    bounds=lambda beta: _LOBE if beta > 0 else ((-_INF, None) if beta < 0 else (-_INF, _INF)),
    monotone=lambda beta: beta == 0,
    smoothness="smooth",
    homogeneous=lambda beta: beta == 0,
    operations=lambda beta: Operations(multiplies=1 + (beta not in (0, 1)), lookups=int(beta != 0)),
    fold=lambda beta: "none" if beta == 1 else "parts",
    hardware="learn: [beta] is Swish; one logistic and one product",
    cite=("swish", "gelu"),
    module=lambda beta: nn.SiLU() if beta == 1 else None,
)
def silu(x: Tensor, beta: Value) -> Tensor:
    """X times its logistic function."""
    if isinstance(beta, float) and beta == 0:
        return x / 2
    end = finite(x) if isinstance(beta, Tensor) else floored(x) if beta > 0 else x.clamp(max=torch.finfo(x.dtype).max)
    return F.silu(end) if isinstance(beta, float) and beta == 1 else end * torch.sigmoid(beta * end)


curve(
    "hardswish",
    "x·min(max(x + 3, 0), 6)/6",
    bounds=_LOBE,
    monotone=False,
    smoothness="C0",
    operations=Operations(adds=1, multiplies=2, comparisons=2),
    hardware="SiLU of straight pieces: exactly 0 below −3",
    cite=("hardswish",),
    module=lambda: nn.Hardswish(),
)(lambda x: F.hardswish(floored(x)))

curve(
    "mish",
    "x·tanh(log(1 + eˣ))",
    bounds=_LOBE,
    monotone=False,
    smoothness="smooth",
    operations=Operations(adds=1, multiplies=1, lookups=3),
    hardware="two saturating devices in a row gate the signal",
    speed="torch's own kernel: an exponential, a logarithm and a hyperbolic tangent",
    cite=("mish",),
    module=lambda: nn.Mish(),
)(lambda x: F.mish(floored(x)))


@curve(
    "aptx",
    "(α + tanh(βx))·γx",
    alpha=Parameter(1.0, gt=-1),
    beta=Parameter(1.0, gt=0),
    gamma=Parameter(0.5, gt=0),
    bounds=lambda alpha, beta, gamma: (-_INF if alpha > 1 else None, _INF),
    monotone=None,
    smoothness="smooth",
    operations=lambda alpha, beta, gamma: Operations(adds=int(alpha != 1), multiplies=1 + (beta != 0.5) + (gamma != 0.5), lookups=1),
    fold="parts",
    hardware="one saturating device and two products; α = 1, β = γ = ½ is SiLU exactly",
    cite=("aptx",),
)
def aptx(x: Tensor, alpha: Value, beta: Value, gamma: Value) -> Tensor:
    """Mish for the price of a tanh."""
    beta = at_least(beta, 1e-12)
    gate = torch.sigmoid(2 * beta * x)  # 1 + tanh(βx) is 2σ(2βx), which is cheaper, and exact on the left
    if isinstance(alpha, float) and alpha == 1:
        return floored(x) * (gate if isinstance(gamma, float) and gamma == 0.5 else 2 * gamma * gate)
    gate = plus_times((alpha - 1) * gamma, 2 * gamma, gate)
    return torch.where(gate == 0, floored(x), x) * gate


@curve(
    "golu",
    "x·α·e^(−β e^(−γx))",
    alpha=Parameter(1.0, gt=0),
    beta=Parameter(1.0, gt=0),
    gamma=Parameter(1.0, gt=0),
    bounds=_LOBE,
    monotone=False,
    smoothness="smooth",
    operations=lambda alpha, beta, gamma: Operations(adds=int(beta != 1), multiplies=1 + (alpha != 1) + (gamma != 1), lookups=2),
    fold=lambda alpha, beta, gamma: "none" if alpha == gamma == 1 else "parts",
    hardware="the smallest negative lobe and the least variance of its family",
    cite=("golu",),
)
def golu(x: Tensor, alpha: Value, beta: Value, gamma: Value) -> Tensor:
    """X times a Gompertz function; beyond e³⁰ the inner exponential makes the outer one 0 in every format."""
    beta = at_least(beta, 1e-12)
    log_beta = beta.log() if isinstance(beta, Tensor) else math.log(beta)
    gated = floored(x) * torch.exp(-torch.exp(plus_times(log_beta, -gamma, x).clamp(max=30)))
    return gated if isinstance(alpha, float) and alpha == 1 else alpha * gated


def _apa(x: Tensor, lam: Value, kappa: Value) -> Tensor:
    lam = at_least(lam, 1e-4)
    log_lam = lam.log() if isinstance(lam, Tensor) else math.log(lam)
    return torch.exp(F.logsigmoid(plus_times(-log_lam, kappa, x)) / lam)


_LAMBDA = Parameter(0.5, ge=1e-4, learned=True, drawn=True)
_KAPPA = Parameter(0.5, gt=0, learned=True, drawn=True)


@curve(
    "apa",
    "(λe^(−κx) + 1)^(−1/λ)",
    lam=_LAMBDA,
    kappa=_KAPPA,
    bounds=(0.0, 1.0),
    smoothness="smooth",
    zero_preserving=False,
    operations=lambda lam, kappa: Operations(adds=1 + (lam != 1), multiplies=(lam != 1) + (kappa != 1), lookups=3),
    fold="parts",
    hardware="a saturating device with a foot; λ = κ = 1 is the logistic function, λ → 0 Gumbel's; seed draws both as the authors do",
    speed="two exponentials and a logarithm, and two parameters that learn",
    cite=("apa",),
)
def apa(x: Tensor, lam: Value, kappa: Value) -> Tensor:
    """Adaptive parametric activation: a soft step."""
    return _apa(x, lam, kappa)


@curve(
    "aglu",
    "x·(λe^(−κx) + 1)^(−1/λ)",
    lam=_LAMBDA,
    kappa=_KAPPA,
    bounds=_LOBE,
    monotone=False,
    smoothness="smooth",
    operations=lambda lam, kappa: Operations(adds=1 + (lam != 1), multiplies=1 + (lam != 1) + (kappa != 1), lookups=3),
    fold="parts",
    hardware="λ = κ = 1 is SiLU, λ → 0 the gate of golu",
    speed="two exponentials and a logarithm, and two parameters that learn",
    cite=("apa",),
)
def aglu(x: Tensor, lam: Value, kappa: Value) -> Tensor:
    """X gated by its adaptive parametric activation."""
    return floored(x) * _apa(x.clamp(-1e30, 1e30), lam, kappa)  # beyond, x/λ is infinite where the gate has no slope


@curve(
    "expanded_gate",
    "x·(g(x)(1 + 2α) − α), g = (atan x + π/2)/π, Φ or σ",
    alpha=Parameter(0.0, learned=True),
    gate=Parameter("arctan", words=("arctan", "gelu", "silu")),
    bounds=lambda alpha, gate: _ends_of_gate(alpha, gate),
    monotone=None,
    smoothness="smooth",
    homogeneous=lambda alpha, gate: alpha == -0.5,
    operations=lambda alpha, gate: Operations(
        adds=int(alpha not in (0, -0.5, -1)), multiplies=1 + (alpha not in (0, -0.5, -1)), lookups=int(alpha != -0.5)
    ),
    hardware="xATLU, xGELU and xSiLU: a gate from −α to 1 + α, one number a layer",
    speed="an arctangent that is exact at both ends",
    cite=("expanded_gating",),
)
def expanded_gate(x: Tensor, alpha: Value, gate: str) -> Tensor:
    """X times a soft step whose range is learned; −1 − α in place of α turns it by half a turn, and α = −½ is x/2."""
    if gate == "arctan":
        low = x.clamp(min=-1e30)  # where the step is still a normal number
        step = torch.atan2(x.new_ones(()), -low) / math.pi  # exact at both ends
    else:
        low = floored(x)
        step = torch.sigmoid(x) if gate == "silu" else (1 + torch.erf(x / math.sqrt(2))) / 2
    if isinstance(alpha, float):
        if alpha == -1:
            return -expanded_gate(-x, 0.0, gate)  # 1 − g(x) is g(−x), exact at its end
        return low * step if alpha == 0 else x * plus_times(-alpha, 1 + 2 * alpha, step)
    return low * (step * (1 + 2 * alpha) - alpha)


def _ends_of_gate(alpha: float, gate: str) -> Bounds:
    """On the left it goes to −αx, on the right to (1 + α)x, which where they are 0 leave a limit of the arctangent alone."""
    foot = 1 / math.pi if gate == "arctan" else None
    low = -_INF if alpha < 0 else -foot if alpha == 0 and foot else None
    return low, _INF if alpha > -1 else foot if alpha == -1 else None


@curve(
    "crrelu",
    "max(0, x) + εx·e^(−x²/2)",
    epsilon=Parameter(0.01, learned=True),
    bounds=lambda epsilon: (-epsilon * math.exp(-0.5) if epsilon > 0 else 0.0 if epsilon >= -1 else None, _INF),
    monotone=lambda epsilon: epsilon == 0,
    smoothness="C0",
    homogeneous=lambda epsilon: epsilon == 0,
    operations=lambda epsilon: Operations(adds=1, multiplies=4, lookups=1, comparisons=1) if epsilon != 0 else Operations(comparisons=1),
    hardware="a ReLU with a small learned correction around 0, for units that would die",
    cite=("crrelu",),
    speed="an exponential, and several passes over memory",
)
def crrelu(x: Tensor, epsilon: Value) -> Tensor:
    """Correction-regularised ReLU."""
    near = x.clamp(min=-40, max=40)  # beyond, the bell is 0 in every format
    return plus_times(F.relu(x), epsilon, near * torch.exp(near.square() * -0.5))

r"""Recurrent networks of recurrent networks that cannot help being stable.

Areas of units, each a recurrent network, coupled by linear feedback:

.. math:: \tau \dot x = -x + \varphi(W x + u) + L x

Every step of size :math:`\alpha = \Delta t/\tau` is taken in two parts, the areas by Euler's rule, the coupling by Cayley's:

.. math:: x_{t+1} = \left(1 - \tfrac{\alpha}{2} L\right)^{-1} \left(1 + \tfrac{\alpha}{2} L\right)
    \left[(1 - \alpha)\,x_t + \alpha\,\varphi(W x_t + u_t)\right]

Two trajectories under the same input come closer in every step, whatever the input and whatever the free parameters:
:math:`\lVert x_{t+1} - x'_{t+1} \rVert_M \le \kappa \lVert x_t - x'_t \rVert_M` with :math:`\kappa = 1 - \alpha c`. This holds because

- W is block diagonal, and each block W = W(A) is made so that :math:`\lVert (1 - \alpha) + \alpha D W \rVert_M \le \kappa` for every
  diagonal D between 0 and 1, the slopes that tanh and ReLU can have (the metric M of a block is given with the condition that makes it);
- :math:`M L` is skew-symmetric, :math:`L = B - M^{-1} B^\top M`, so that the coupling, of any strength, preserves the M-norm: Cayley's
  rule exactly, where Euler's would lose stability.

Source:
    L. Kozachkov, M. Ennis, J.-J. Slotine, "RNNs of RNNs: recursive construction of stable assemblies of recurrent neural networks",
    NeurIPS 2022 (arXiv:2106.08928): the network, and that feedback of this form keeps contraction. They show it for continuous time;
    the conditions below are those of the discrete step.
"""

from __future__ import annotations

import math
from typing import Any, Final, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from neurosim.checks import one_of, whole
from neurosim.errors import ConfigError
from neurosim.neurons.parameters import check_input
from neurosim.nn.time import SpikingModule
from neurosim.random import Stream

Condition = Literal["spectral", "diagonal", "symmetric", "free"]
Coupling = Literal["all", "chain", "none"]
Slope = Literal["tanh", "relu"]

_CONDITIONS: Final = get_args(Condition)
_COUPLINGS: Final = get_args(Coupling)
_FUNCTIONS: Final = {"tanh": torch.tanh, "relu": torch.relu}


class AssemblyState(NamedTuple):
    """What one step hands to the next."""

    x: Tensor  #: ``(batch, units)``


class Certificate(NamedTuple):
    """That two trajectories under the same input approach each other."""

    factor: float  #: κ: by at least this factor a step, in the norm of the metric
    metric: Tensor  #: M, symmetric and positive, ``(units, units)``
    overshoot: float  #: in the plain norm: distance after t steps ≤ overshoot · κᵗ · distance before


def area_weights(raw: Tensor, scale: Tensor, condition: Condition, alpha: float, rate: float) -> tuple[Tensor, Tensor]:
    r"""Weights of one or more areas for any parameters, and the metric in which they contract at :math:`\kappa = 1 - \alpha c`.

    ============= ============================================================ =========================================================
    condition     W                                                            M
    ============= ============================================================ =========================================================
    ``spectral``  :math:`A`, shrunk to :math:`\lVert A \rVert_2 \le 1 - c`      1
    ``diagonal``  :math:`\Theta^{-1} A\,\Theta`, A shrunk like that            :math:`\Theta^2`, learned
    ``symmetric`` :math:`(1 - c) - A^\top A`, the latter shrunk to             :math:`\kappa^2 - (1 - \alpha)^2 - \alpha (1 - \alpha) W`
                  :math:`\lVert A^\top A \rVert_2 \le 2\kappa/\alpha`
    ``free``      A                                                            1, without any guarantee
    ============= ============================================================ =========================================================

    For the first two, :math:`\lVert (1-\alpha) + \alpha D W\rVert_M \le 1 - \alpha + \alpha \lVert D \rVert\,\lVert W\rVert_M`, for D and Θ
    commute. For ``symmetric`` let :math:`p = D W x`, so :math:`p^\top (W x - p) \ge 0`. With :math:`\beta = 1 - \alpha`,

    .. math:: \lVert \beta x + \alpha p \rVert_M^2 + 2t\,p^\top (W x - p) \le \kappa^2 \lVert x \rVert_M^2

    must hold for one t > 0. M is a function of W, so this falls apart into one 2 × 2 condition for each eigenvalue λ of W, and with
    :math:`t = \alpha^2 \kappa^2` they hold exactly if :math:`|1 - \alpha + \alpha \lambda| \le \kappa`, which the bounds above say.

    Args:
        raw: A, without constraint, ``(*, n, n)``.
        scale: Logarithm of Θ's diagonal, ``(*, n)``; ``diagonal`` alone uses it.
        condition: See the table.
        alpha: Step, in (0, 1].
        rate: c, in (0, 1): contraction per time constant.

    Returns:
        W and M, ``(*, n, n)``, M positive definite.
    """
    one = torch.eye(raw.shape[-1], dtype=raw.dtype, device=raw.device)
    if condition == "free":
        return raw, one.expand_as(raw)
    if condition == "symmetric":
        kappa, beta = 1 - alpha * rate, 1 - alpha
        weight = (1 - rate) * one - _shrunk(raw.mT @ raw, 2 * kappa / alpha)
        return weight, (kappa**2 - beta**2) * one - alpha * beta * weight
    shrunk = _shrunk(raw, 1 - rate)
    if condition == "spectral":
        return shrunk, one.expand_as(raw)
    theta = scale.exp()
    return shrunk * theta[..., None, :] / theta[..., :, None], torch.diag_embed(theta.square())


def feedback(raw: Tensor, metric: Tensor) -> Tensor:
    r"""Coupling that takes nothing from stability: :math:`L = B - M^{-1} B^\top M`, so that :math:`M L + L^\top M = 0`.

    Shapes:
        raw B, metric M and result ``(units, units)``.
    """
    answer: Tensor = torch.linalg.solve(metric, raw.mT @ metric)
    return raw - answer


def _shrunk(matrix: Tensor, most: float) -> Tensor:
    """The matrix, divided by what its spectral norm is above ``most``."""
    norm: Tensor = torch.linalg.matrix_norm(matrix, 2)
    return matrix / (norm / most).clamp(min=1.0)[..., None, None]


class Assembly(SpikingModule):
    r"""A recurrent network of areas whose trajectories approach each other; see the module for the equations.

    Args:
        areas: How many, > 0.
        units: Of each area, > 0.
        condition: What makes the areas contract; see :func:`area_weights`. ``free`` is the unconstrained network, to compare with.
        coupling: Which areas are coupled: ``all`` pairs, a ``chain``, or ``none``. With ``free`` the coupling is B in both directions,
            unconstrained.
        alpha: Step as a fraction of the time constant, in (0, 1].
        rate: c, in (0, 1): the certified approach per time constant is at least :math:`e^{-c}`.
        function: φ: ``tanh`` or ``relu``, of slopes between 0 and 1.
        source: Where the first weights come from: Gaussian of variance 1/units in the areas and 1/(areas · units) between them.

    Shapes:
        u ``(time, batch, areas * units)``; result x after every step, the same shape; state ``(batch, areas * units)``.

    Raises:
        ConfigError: An argument is out of its domain.

    >>> from neurosim.random import stream
    >>> network = Assembly(areas=3, units=4, condition="symmetric", source=stream(0, "assembly"))
    >>> certificate = network.certificate()
    >>> round(certificate.factor, 3), bool(torch.linalg.eigvalsh(certificate.metric).min() > 0)
    (0.975, True)
    """

    mask: Tensor

    def __init__(
        self,
        areas: int,
        units: int,
        condition: Condition = "spectral",
        coupling: Coupling = "all",
        *,
        source: Stream,
        alpha: float = 0.5,
        rate: float = 0.05,
        function: Slope = "tanh",
    ) -> None:
        super().__init__()
        one_of("Assembly.condition", condition, _CONDITIONS)
        one_of("Assembly.coupling", coupling, _COUPLINGS)
        one_of("Assembly.function", function, tuple(_FUNCTIONS))
        whole("Assembly.areas", areas, 1)
        whole("Assembly.units", units, 1)
        if not 0 < alpha <= 1:
            raise ConfigError(f"Assembly.alpha: must be more than 0 and at most 1, got {alpha!r}")
        if not 0 < rate < 1:
            raise ConfigError(f"Assembly.rate: must be more than 0 and less than 1, got {rate!r}")
        self.condition, self.coupling, self.alpha, self.rate, self.function = condition, coupling, float(alpha), float(rate), function
        size, like = areas * units, torch.empty(0)
        self.raw_areas = nn.Parameter(source.child("areas").normal((areas, units, units), like=like) / math.sqrt(units))
        if condition == "diagonal":
            self.log_theta = nn.Parameter(torch.zeros(areas, units))
        if coupling != "none":
            self.raw_coupling = nn.Parameter(source.child("coupling").normal((size, size), like=like) / math.sqrt(size))
            self.register_buffer("mask", _pairs(areas, coupling).repeat_interleave(units, 0).repeat_interleave(units, 1))

    def weights(self) -> tuple[Tensor, Tensor, Tensor]:
        """W, L and M, each ``(areas * units, areas * units)``."""
        blocks, metrics = area_weights(self.raw_areas, self._scale(), self.condition, self.alpha, self.rate)
        inner, metric = _block_diagonal(blocks), _block_diagonal(metrics)
        if self.coupling == "none":
            return inner, torch.zeros_like(inner), metric
        if self.condition == "free":
            return inner, self.raw_coupling * (self.mask + self.mask.mT), metric
        return inner, feedback(self.raw_coupling * self.mask, metric), metric

    def certificate(self) -> Certificate | None:
        """How fast trajectories approach each other at least, computed in float64; None for ``free``, of which nothing is known."""
        if self.condition == "free":
            return None
        raw, scale = self.raw_areas.detach().double(), self._scale().detach().double()
        metric = _block_diagonal(area_weights(raw, scale, self.condition, self.alpha, self.rate)[1])
        eigenvalues = torch.linalg.eigvalsh(metric)
        return Certificate(1 - self.alpha * self.rate, metric, math.sqrt(float(eigenvalues[-1] / eigenvalues[0])))

    def run(self, x: Tensor, state: Any = None, *, stream: Stream | None = None) -> tuple[Tensor, AssemblyState]:
        """The activity after every step, and the state to hand to the next chunk; ``None`` starts from zero.

        Args:
            x: The input u, ``(time, batch, areas * units)``.
            state: What the chunk before returned.
            stream: Not used; there is no noise.
        """
        check_input("Assembly", x)
        size = self.raw_areas.shape[0] * self.raw_areas.shape[1]
        if x.dim() != 3 or x.shape[-1] != size:
            raise ConfigError(f"Assembly: x must be (time, batch, {size}), got shape {tuple(x.shape)}")
        if state is not None and (not isinstance(state, AssemblyState) or state.x.shape != x.shape[1:]):
            raise ConfigError(f"Assembly: state must be an AssemblyState for {tuple(x.shape[1:])} or None, got {state!r:.60}")
        inner, between, _ = self.weights()
        turn = self._turn(between)
        now, apply = x.new_zeros(x.shape[1:]) if state is None else state.x, _FUNCTIONS[self.function]
        after = []
        for u in x.unbind(0):
            now = ((1 - self.alpha) * now + self.alpha * apply(now @ inner.mT + u)) @ turn.mT
            after.append(now)
        return (torch.stack(after) if after else torch.zeros_like(x)), AssemblyState(now)

    def _scale(self) -> Tensor:
        return self.log_theta if self.condition == "diagonal" else self.raw_areas[..., 0]

    def _turn(self, between: Tensor) -> Tensor:
        """What the coupling does in one step."""
        one, half = torch.eye(len(between), dtype=between.dtype, device=between.device), self.alpha / 2 * between
        return one + 2 * half if self.condition == "free" else torch.linalg.solve(one - half, one + half)


def _pairs(areas: int, coupling: Coupling) -> Tensor:
    """1 where the area of the row is reached from the area of the column, in one of the two directions of each pair."""
    below = torch.ones(areas, areas).tril(-1)
    return below - below.tril(-2) if coupling == "chain" else below


def _block_diagonal(blocks: Tensor) -> Tensor:
    """``(areas * n, areas * n)`` from ``(areas, n, n)``."""
    matrix: Tensor = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]  # torch does not type it
    return matrix

"""How close the matrix of an imperfect mesh is to the one that was asked for, measured and expected."""

from __future__ import annotations

import math

from torch import Tensor

from neurosim.checks import number, whole
from neurosim.errors import ConfigError


def mesh_fidelity(wanted: Tensor, got: Tensor) -> Tensor:
    r"""Fidelity of a matrix, blind to a common factor such as equal loss on all paths or a global phase.

    .. math:: F = \frac{|\mathrm{tr}(U^\dagger U')|^2}{\mathrm{tr}(U^\dagger U)\,\mathrm{tr}(U'^\dagger U')}

    which is \|tr(U†U′)\|² / N² for unitary matrices.

    Args:
        wanted: U, the matrix that was asked for.
        got: U′, the matrix that the mesh is.

    Shapes:
        ``(…, M, N)``, real or complex; leading axes broadcast.

    Returns:
        ``(…)``, real, in [0, 1]; 1 only for matrices that differ by a factor. Not a number if one is zero.

    Raises:
        ConfigError: The matrices have different shapes.

    Source:
        Clements et al. 2016, the fidelity of the section on loss.

    >>> import torch
    >>> mesh_fidelity(torch.eye(2), torch.diag(torch.tensor([1.0, 0.0])))
    tensor(0.5000)
    """
    if wanted.shape[-2:] != got.shape[-2:] or wanted.dim() < 2:
        raise ConfigError(f"mesh_fidelity: both must be matrices of one shape, got {tuple(wanted.shape)} and {tuple(got.shape)}")
    overlap = (wanted.conj() * got).sum((-2, -1)).abs().square()
    powers = [matrix.abs().square().sum((-2, -1)) for matrix in (wanted, got)]
    return overlap / (powers[0] * powers[1])


def expected_infidelity(ports: int, phase_sigma_rad: float = 0.0, splitter_sigma_rad: float = 0.0) -> float:
    r"""Mean loss of fidelity of a mesh with small independent errors, to leading order.

    .. math:: 1 - \mathbb{E}[F] = (N - 1)\,(\sigma_\varphi^2 + 2 \sigma_s^2) + O\big((N - 1)^2 \sigma^4\big)

    An error ε at one place turns the mesh by exp(iεG): G is a projector on one arm for a phase, an exchange of two arms for a coupler. All
    of them sum to H, and to second order F = 1 − tr H² / N + (tr H)² / N². Independent errors add up: N² phases with tr G² = tr G = 1 and
    N (N − 1) couplers with tr G² = 2, tr G = 0. Neither the matrix nor the layout matters: every mesh of N ports has as many of both.

    Args:
        ports: N ≥ 2.
        phase_sigma_rad: σ_φ, standard deviation of every phase, output phases included, rad.
        splitter_sigma_rad: σ_s, standard deviation of the error of every coupler, rad.

    Returns:
        1 − E[F] to leading order; F itself is close to exp(−this) further on.

    Raises:
        ConfigError: A number is out of its domain.

    >>> round(expected_infidelity(64, phase_sigma_rad=0.01), 6)
    0.0063
    """
    n = whole("expected_infidelity: ports", ports, 2)
    phase = number("expected_infidelity: phase_sigma_rad", phase_sigma_rad, ge=0)
    splitter = number("expected_infidelity: splitter_sigma_rad", splitter_sigma_rad, ge=0)
    return (n - 1) * (phase**2 + 2 * splitter**2)


def rounding_sigma(levels: int) -> float:
    """Standard deviation of the error of a phase that is rounded to ``levels`` settings of a full turn, rad: 2π / (levels √12).

    >>> round(rounding_sigma(256), 5)
    0.00709
    """
    return 2 * math.pi / (whole("rounding_sigma: levels", levels, 2) * math.sqrt(12))

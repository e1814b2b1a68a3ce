"""Weights in spherical coordinates: a length and angles."""

from __future__ import annotations

import torch
from torch import Tensor

from neurosim.norms.registry import register
from neurosim.norms.weights import WeightParametrization


def unit_vectors(angles: Tensor) -> Tensor:
    r"""Points on the sphere.

    .. math:: u_k = \cos\theta_k \textstyle\prod_{j<k} \sin\theta_j, \qquad u_n = \prod_{j<n} \sin\theta_j

    Args:
        angles: θ, radians.

    Shapes:
        angles ``(*, n − 1)``; result ``(*, n)``.

    >>> unit_vectors(torch.tensor([0.0, 1.0]))
    tensor([1., 0., 0.])
    """
    one = angles.new_ones(*angles.shape[:-1], 1)
    return torch.cat([one, angles.sin().cumprod(-1)], -1) * torch.cat([angles.cos(), one], -1)


def angles_of(x: Tensor) -> Tensor:
    """The angles of vectors of any length: all but the last in [0, π], the last in (−π, π].

    Shapes:
        x ``(*, n)``; result ``(*, n − 1)``.

    >>> angles_of(torch.tensor([0.0, 2.0]))
    tensor([1.5708])
    """
    rest = x.double().square().flip(-1).cumsum(-1).flip(-1).sqrt()[..., 1:]  # the length of all that comes after
    rest = torch.cat([rest[..., :-1], x[..., -1:].double()], -1)
    return torch.atan2(rest, x[..., :-1].double()).to(x.dtype)


@register("gmp", "B37", kind="parametrization", formula="W = λ u(θ), u in spherical coordinates, row by row", fold="FW")
class GeometricParametrization(WeightParametrization):
    r"""GmP: every row as a length and the angles of its direction, so that a step of the optimiser turns it by an angle.

    .. math:: w_i = \lambda_i\,u(\theta_i), \qquad u_k = \cos\theta_k \textstyle\prod_{j<k} \sin\theta_j

    For ReLU and λ > 0 a layer so parametrized, with a bias λ b, is the authors' :math:`\lambda\,\mathrm{ReLU}(u(\theta)^\mathsf{T} x + b)`.
    It starts as the weight that is there; a row of normal numbers has a random direction.

    Args:
        dim: Axis of the outputs: 0, but for transposed convolutions 1.

    Shapes:
        λ ``(outputs,)``; θ ``(outputs, n − 1)`` for rows of n numbers.

    Raises:
        ConfigError: The weight has one axis, or rows of one number, which have no angle.

    Source:
        W. Chen, H. Ge, "Neural characteristic activation analysis and geometric parameterization for ReLU networks", NeurIPS 2024.
    """

    def __init__(self, dim: int = 0) -> None:
        super().__init__(dim)
        self.shape: tuple[int, ...] = ()  #: of the weight, outputs first

    def forward(self, *learned: Tensor) -> Tensor:
        """The weight, of λ and θ."""
        length, angles = learned
        return (length[:, None] * unit_vectors(angles)).reshape(self.shape).movedim(0, self.dim)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """λ and θ of a weight."""
        length, moved = self.lengths(weight).flatten(), weight.movedim(self.dim, 0)
        self._refuse_single(weight)
        self.shape = tuple(moved.shape)
        return length, angles_of(moved.flatten(1))

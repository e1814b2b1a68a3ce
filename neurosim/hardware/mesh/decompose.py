r"""A unitary as the phases of a mesh of Mach–Zehnder interferometers.

One interferometer, with ideal couplers, does to its two ports

.. math:: T(\theta,\varphi) = B\,\mathrm{diag}(e^{i\theta}, 1)\,B\,\mathrm{diag}(e^{i\varphi}, 1)
   = i e^{i\theta/2}\begin{pmatrix} e^{i\varphi}\sin\tfrac\theta2 & \cos\tfrac\theta2 \\ e^{i\varphi}\cos\tfrac\theta2 & -\sin\tfrac\theta2
   \end{pmatrix}, \qquad B = \tfrac{1}{\sqrt 2}\begin{pmatrix} 1 & i \\ i & 1 \end{pmatrix}

θ = π lets both pass (bar), θ = 0 exchanges them (cross). Light passes the columns of the mesh in order, then the output phases.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurosim.errors import ConfigError
from neurosim.hardware.mesh.layout import Layout, Nulling, interferometers, nulling_order
from neurosim.ops.library import define

_TINY: Final = 1e-150  #: below it a magnitude is zero: the matrix changes by less than anything float64 can add to it
Array = NDArray[np.complex128]
Real = NDArray[np.float64]


class MeshPhases(NamedTuple):
    """The phases of a mesh, rad; interferometers are numbered column by column, from the top."""

    theta: Tensor  #: inner phases, ``(…, N (N − 1) / 2)``
    phi: Tensor  #: outer phases, likewise
    output: Tensor  #: phases behind the last column, ``(…, N)``

    def joined(self) -> Tensor:
        """All phases in one tensor ``(…, N²)``: θ, φ, output."""
        return torch.cat(self, -1)

    @staticmethod
    def split(joined: Tensor) -> MeshPhases:
        """The opposite of :meth:`joined`."""
        ports = math.isqrt(joined.shape[-1])
        m = interferometers(ports)
        return MeshPhases(joined[..., :m], joined[..., m : 2 * m], joined[..., 2 * m :])


def mesh_phases(unitary: Tensor, layout: Layout = "clements") -> MeshPhases:
    r"""The phases at which an ideal mesh is this matrix.

    Every interferometer makes one element of the matrix zero, until only the output phases are left. All matrices of a batch take the
    same steps together, on the CPU, in float64. The result has no derivative: to train phases, start from it and build with
    :func:`~neurosim.hardware.mesh.mesh_matrix`.

    Args:
        unitary: Unitary matrices, complex or real (then orthogonal).
        layout: See :func:`~neurosim.hardware.mesh.mesh_columns`.

    Shapes:
        unitary ``(…, N, N)`` with N ≥ 2.

    Returns:
        float64, on the device of the input: θ in [0, π], the other phases in [0, 2π]. Where an element is zero already, the interferometer
        stays in the bar state.

    Raises:
        ConfigError: The matrices are not square, not finite or not unitary.

    Source:
        Clements et al. 2016, Box 1 and the equation T⁻¹ D = D′ T after it; Reck et al. 1994.

    >>> mesh_phases(torch.eye(2)).theta
    tensor([3.1416], dtype=torch.float64)
    """
    if unitary.dim() < 2 or unitary.shape[-1] != unitary.shape[-2] or unitary.shape[-1] < 2:
        raise ConfigError(f"mesh_phases: the matrices must be (…, N, N) with N of 2 or more, got {tuple(unitary.shape)}")
    if not (unitary.dtype.is_floating_point or unitary.dtype.is_complex):
        raise ConfigError(f"mesh_phases: the matrices must be real or complex floating point, got {unitary.dtype}")
    n = unitary.shape[-1]
    exact = unitary.to(torch.complex128)
    off = (exact.mH @ exact - torch.eye(n, dtype=exact.dtype, device=exact.device)).detach().abs()
    tolerance = 100 * n * torch.finfo(unitary.dtype).eps
    if not bool((off <= tolerance).all()):
        raise ConfigError(f"mesh_phases: the matrices must be unitary, got U†U off the identity by up to {float(off.max()):.3g}")
    return programmed(exact, layout)


def programmed(unitary: Tensor, layout: Layout) -> MeshPhases:
    """:func:`mesh_phases` of matrices that are known to be unitary; complex128."""
    n = unitary.shape[-1]
    found: Tensor = _phases(unitary.reshape(-1, n, n), layout)
    return MeshPhases.split(found.reshape(*unitary.shape[:-2], n * n))


def _implementation(unitary: Tensor, layout: Layout) -> Tensor:
    n = unitary.shape[-1]
    work = np.array(unitary.detach().resolve_conj().cpu().permute(1, 2, 0).numpy(), order="C")  # a copy; the batch is innermost
    shape = interferometers(n), work.shape[2]
    bar = np.zeros((2, shape[1]))
    bar[0] = 1
    sine_cosine = np.empty((shape[0], *bar.shape))  # of θ / 2
    outer: Array = np.empty(shape, np.complex128)  # e^{iφ}
    from_the_left: list[Nulling] = []
    for step in nulling_order(layout, n):
        right, port, line, number = step
        if right:  # the conjugate of T acts on two columns, which are zero below that row
            pair = work[: line + 1, port : port + 2].swapaxes(0, 1)
            ends = pair[::-1, -1]
        else:  # T acts on two rows, which are zero before that column
            pair = work[port : port + 2, line:]
            ends = pair[:, 0]
            from_the_left.append(step)
        size = np.abs(ends)
        norm = np.hypot(*size)
        both = np.divide(size, norm, out=bar.copy(), where=norm > _TINY)
        units = np.divide(ends, size, out=np.ones_like(ends), where=size > _TINY)
        sine_cosine[number] = both
        outer[number] = (-units[0] if right else units[0]).conj() * units[1]
        common = (1j * both[1] + both[0]) * -1 if right else 1j * both[1] - both[0]
        turned = common * (outer[number].conj() if right else outer[number])
        crossed = common * both[::-1]
        np.negative(crossed[1], out=crossed[1])
        pair[:] = (turned * both)[:, None] * pair[0] + crossed[:, None] * pair[1]
    half: Real = np.arctan2(sine_cosine[:, 0], sine_cosine[:, 1])
    output = np.diagonal(work).T.copy()
    for _, port, _, number in reversed(from_the_left):  # inverse T, D = D′, T′
        turn = -np.exp(-2j * half[number]) * output[port + 1]
        before, after = turn * outer[number].conj(), output[port] / output[port + 1]
        output[port], output[port + 1], outer[number] = before, turn, after
    phases = np.concatenate([2 * half, np.angle(outer) % (2 * np.pi), np.angle(output) % (2 * np.pi)])
    return torch.from_numpy(np.ascontiguousarray(phases.T)).to(unitary.device)


def _fake(unitary: Tensor, layout: Layout) -> Tensor:
    return unitary.new_empty((unitary.shape[0], unitary.shape[-1] ** 2), dtype=torch.float64)


_phases: Any = define("mesh_phases(Tensor unitary, str layout) -> Tensor", _implementation, _fake)

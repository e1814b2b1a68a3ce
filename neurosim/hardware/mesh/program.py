"""Any matrix on meshes: blocks of the size of the mesh, each as two unitaries with a row of attenuators between them."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from neurosim.checks import whole
from neurosim.errors import ConfigError
from neurosim.hardware.mesh.build import driven_phases, mesh_matrix, quantized_phase
from neurosim.hardware.mesh.decompose import MeshPhases, programmed
from neurosim.hardware.mesh.layout import Layout

Parts = Literal["all", "unitaries", "attenuators"]


class MeshProgram(NamedTuple):
    """What blocks of a matrix are programmed to; ``B`` stands for ``(…, block rows, block columns)``."""

    unitaries: MeshPhases  #: phases of the left (0) and the right (1) unitary, ``(B, 2, …)``
    attenuators: Tensor  #: phase of every attenuator, rad in [0, π/2], ``(B, N)``; it passes the cosine of it
    scale: Tensor  #: largest singular value of every block, which stays digital, ``(B)``


class MeshErrors(NamedTuple):
    """What an imperfect circuit does to a program; tensors broadcast."""

    levels: int | None = None  #: settings of a phase shifter over a full turn
    gain: Tensor | float = 0.0  #: relative error of every phase per drive, ``(B, 2 N² + N)``: left unitary, right unitary, attenuators
    offset: Tensor | float = 0.0  #: error of every phase, rad, likewise
    crosstalk: float = 0.0  #: part of a heater's phase that each neighbour receives
    splitters: Tensor | None = None  #: errors of the couplers, rad, ``(B, 2, N (N − 1) / 2, 2)``
    loss_db: float = 0.0  #: of every interferometer and attenuator, dB
    parts: Parts = "all"  #: where these errors are; the other part is ideal


IDEAL = MeshErrors()


def mesh_program(matrix: Tensor, ports: int, layout: Layout = "clements") -> MeshProgram:
    r"""Cut a matrix into square blocks and find the phases of each.

    .. math:: W = s\,U\,\mathrm{diag}(\cos\phi)\,V, \qquad s = \max S, \quad \cos\phi = S / s

    with the singular value decomposition W = U S V. Blocks at the lower and right edge are filled up with zeros.

    Args:
        matrix: Real or complex, not differentiated.
        ports: N, size of the blocks, ≥ 2.
        layout: See :func:`~neurosim.hardware.mesh.mesh_columns`.

    Shapes:
        matrix ``(…, out, in)``, neither of them 0.

    Returns:
        The program, float64.

    Raises:
        ConfigError: It is no matrix, is empty, or has an element that is no finite number.

    Source:
        D. A. B. Miller, "Self-configuring universal linear optical component", Photonics Research 1 (2013) 1–15.
    """
    n = whole("mesh_program: ports", ports, 2)
    if matrix.dim() < 2 or not matrix.numel():
        raise ConfigError(f"mesh_program: must be a matrix with at least one row and column, got the shape {tuple(matrix.shape)}")
    exact = matrix.detach().to(torch.complex128 if matrix.is_complex() else torch.float64)
    if not torch.compiler.is_compiling() and not bool(exact.isfinite().all()):
        raise ConfigError("mesh_program: the elements of the matrix must be finite numbers, got inf or nan")
    left, singular, right = torch.linalg.svd(cut_blocks(exact, n))
    scale = singular[..., 0]
    passed = singular / torch.where(scale > 0, scale, 1.0).unsqueeze(-1)
    unitaries = programmed(torch.stack([left, right], -3).to(torch.complex128), layout)
    return MeshProgram(unitaries, passed.clamp(max=1.0).acos(), scale)


def mesh_blocks(program: MeshProgram, layout: Layout = "clements", errors: MeshErrors = IDEAL) -> Tensor:
    """The matrix of every block of a program on an imperfect circuit; differentiable in the phases.

    Args:
        program: As :func:`mesh_program` gives it.
        layout: The same as there.
        errors: What the circuit does to it.

    Shapes:
        See :class:`MeshProgram` and :class:`MeshErrors`.

    Returns:
        ``(…, block rows, block columns, N, N)``, complex: real matrices are what a coherent receiver sees in phase, the real part.
    """
    n = program.attenuators.shape[-1]
    mesh = errors if errors.parts != "attenuators" else IDEAL
    gain, offset = (
        torch.unflatten(error[..., : 2 * n * n], -1, (2, n * n)) if isinstance(error, Tensor) else error
        for error in (mesh.gain, mesh.offset)
    )
    phases = driven_phases(program.unitaries, layout, levels=mesh.levels, gain=gain, crosstalk=mesh.crosstalk, offset=offset)
    meshes = mesh_matrix(phases, layout, splitters=mesh.splitters, loss_db=mesh.loss_db)
    row = errors if errors.parts != "unitaries" else IDEAL
    gain, offset = (error[..., 2 * n * n :] if isinstance(error, Tensor) else error for error in (row.gain, row.offset))
    drive = program.attenuators if row.levels is None else quantized_phase(program.attenuators, row.levels)
    passed = (drive * (1 + gain) + offset).cos() * (10.0 ** (-row.loss_db / 20.0) * program.scale.unsqueeze(-1))
    blocks: Tensor = meshes[..., 0, :, :] * passed.unsqueeze(-2) @ meshes[..., 1, :, :]
    return blocks


def cut_blocks(matrix: Tensor, ports: int) -> Tensor:
    """A matrix ``(…, out, in)`` as square blocks ``(…, block rows, block columns, N, N)``, the last ones filled up with zeros."""
    rows, columns = matrix.shape[-2:]
    padded = torch.nn.functional.pad(matrix, (0, -columns % ports, 0, -rows % ports))
    return torch.unflatten(torch.unflatten(padded, -1, (-1, ports)), -3, (-1, ports)).movedim(-2, -3)


def locked(blocks: Tensor, wanted: Tensor) -> Tensor:
    r"""Blocks as a receiver sees them that follows the common phase of each: times :math:`e^{-i\arg \mathrm{tr}(W^\dagger W')}`.

    Args:
        blocks: W′, complex ``(…, N, N)``.
        wanted: W, likewise, real or complex.
    """
    overlap = (wanted.conj() * blocks).sum((-2, -1), keepdim=True)
    return blocks * torch.polar(torch.ones_like(overlap.real), -overlap.angle())


def joined_blocks(blocks: Tensor, rows: int, columns: int) -> Tensor:
    """The matrix of which these are the blocks, without what filled up the last ones.

    Args:
        blocks: ``(…, block rows, block columns, N, N)``.
        rows, columns: Of the matrix.

    Returns:
        ``(…, rows, columns)``.
    """
    return blocks.movedim(-3, -2).flatten(-2).flatten(-3, -2)[..., :rows, :columns]


def mean_path(ports: int, parts: Parts = "all") -> int:
    """How many interferometers and attenuators light passes in one block, in the mean over its ports.

    Each of N (N − 1) / 2 interferometers of a unitary is passed by two of N ports: N − 1 a port, in either layout.

    >>> mean_path(64)
    127
    """
    return {"all": 2 * ports - 1, "unitaries": 2 * ports - 2, "attenuators": 1}[parts]

"""The matrix that a mesh of interferometers is, from its phases: column by column, with unequal couplers and loss."""

from __future__ import annotations

import torch
from torch import Tensor

from neurosim.errors import ConfigError
from neurosim.hardware.gradient import straight_through
from neurosim.hardware.mesh.decompose import MeshPhases
from neurosim.hardware.mesh.layout import Layout, heater_neighbours, interferometers, mesh_columns

FULL_TURN = 2 * torch.pi


def interferometer(theta: Tensor, phi: Tensor, splitters: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    r"""What interferometers do to their two ports.

    .. math:: T = B(\beta)\,\mathrm{diag}(e^{i\theta}, 1)\,B(\alpha)\,\mathrm{diag}(e^{i\varphi}, 1), \qquad
       B(\eta) = \begin{pmatrix} \cos(\pi/4 + \eta) & i \sin(\pi/4 + \eta) \\ i \sin(\pi/4 + \eta) & \cos(\pi/4 + \eta) \end{pmatrix}

    Args:
        theta: θ, inner phase, rad.
        phi: φ, outer phase, rad; same shape.
        splitters: Errors of the couplers, α before the inner phase and β behind it, rad, in a last axis of 2. An error η couples
            (1 + sin 2η) / 2 of the power instead of a half.

    Returns:
        The elements T₀₀, T₀₁, T₁₀, T₁₁, complex.

    Source:
        S. Bandyopadhyay, R. Hamerly, D. Englund, "Hardware error correction for programmable photonics", Optica 8 (2021) 1247–1255.

    >>> [round(abs(element).item(), 3) for element in interferometer(torch.tensor(torch.pi), torch.tensor(0.0))]  # bar
    [1.0, 0.0, 0.0, 1.0]
    """
    inner, outer = torch.polar(torch.ones_like(theta), theta), torch.polar(torch.ones_like(phi), phi)
    errors = theta.new_zeros(2) if splitters is None else splitters
    (ca, cb), (sa, sb) = ((torch.pi / 4 + errors).cos().unbind(-1), (torch.pi / 4 + errors).sin().unbind(-1))
    return (
        outer * (ca * cb * inner - sa * sb),
        1j * (sa * cb * inner + ca * sb),
        1j * outer * (ca * sb * inner + sa * cb),
        ca * cb - sa * sb * inner,
    )


def mesh_matrix(phases: MeshPhases, layout: Layout = "clements", *, splitters: Tensor | None = None, loss_db: float = 0.0) -> Tensor:
    """The matrix of a mesh, by passing light through its columns; differentiable in phases and splitters.

    Args:
        phases: As :func:`~neurosim.hardware.mesh.mesh_phases` gives them, rad.
        layout: See :func:`~neurosim.hardware.mesh.mesh_columns`.
        splitters: Errors of the couplers, see :func:`interferometer`; None for ideal ones.
        loss_db: Power that light loses in one interferometer, dB ≥ 0. A path that passes fewer of them loses less.

    Shapes:
        phases as in :class:`MeshPhases`; splitters ``(…, N (N − 1) / 2, 2)``. Leading axes broadcast.

    Returns:
        ``(…, N, N)``, complex: field at each output for a unit field at each input.

    Raises:
        ConfigError: Shapes do not fit.

    >>> from neurosim.hardware.mesh import mesh_phases
    >>> turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
    >>> mesh_matrix(mesh_phases(turn)).real
    tensor([[ 0.6000, -0.8000],
            [ 0.8000,  0.6000]], dtype=torch.float64)
    """
    ports, count = phases.output.shape[-1], phases.theta.shape[-1]
    if ports < 2 or count != interferometers(ports) or phases.phi.shape[-1] != count:
        raise ConfigError(
            f"mesh_matrix: a mesh of N ≥ 2 ports must have N (N - 1) / 2 inner and outer phases, got {count} and "
            f"{phases.phi.shape[-1]} for {ports} ports"
        )
    if splitters is not None and splitters.shape[-2:] != (count, 2):
        raise ConfigError(f"mesh_matrix: splitters must be (…, {count}, 2) for {ports} ports, got {tuple(splitters.shape)}")
    passed = 10.0 ** (-loss_db / 20.0)
    elements = [element.unsqueeze(-1) * passed for element in interferometer(phases.theta, phases.phi, splitters)]
    light = torch.eye(ports, dtype=elements[0].dtype, device=elements[0].device)
    for column in mesh_columns(layout, ports):
        t00, t01, t10, t11 = (element[..., column.numbers, :] for element in elements)
        above, below = torch.unflatten(light[..., column.ports, :], -2, (column.size, 2)).unbind(-2)
        mixed = torch.stack([t00 * above + t01 * below, t10 * above + t11 * below], -2).flatten(-3, -2)
        rest = (light[..., : column.first, :], light[..., column.ports.stop :, :])
        around = [side.expand(*mixed.shape[:-2], *side.shape[-2:]) for side in rest]
        light = torch.cat([around[0], mixed, around[1]], -2)
    return torch.polar(torch.ones_like(phases.output), phases.output).unsqueeze(-1) * light


def quantized_phase(phase: Tensor, levels: int) -> Tensor:
    """Phases rounded to ``levels`` steps of a full turn, in [0, 2π); the gradient passes straight through.

    Args:
        phase: rad, any shape.
        levels: ≥ 2 settings of a phase shifter, 2π / levels apart; the end of the turn is its beginning and no setting of its own.

    >>> quantized_phase(torch.tensor([0.1, 3.0, 6.2]), 4)
    tensor([0.0000, 3.1416, 0.0000])
    """
    step = FULL_TURN / levels
    return straight_through(phase, (phase / step).round().remainder(levels) * step)


def driven_phases(
    phases: MeshPhases,
    layout: Layout = "clements",
    *,
    levels: int | None = None,
    gain: Tensor | float = 0.0,
    crosstalk: float = 0.0,
    offset: Tensor | float = 0.0,
) -> MeshPhases:
    r"""The phases that light meets when these are asked for.

    .. math:: \phi = (1 + c A)\,\big[(1 + g)\,Q(\phi_0 \bmod 2\pi)\big] + o

    Args:
        phases: What is asked for, φ₀, rad; taken into [0, 2π), for a heater can only warm.
        layout: Decides which heaters are neighbours, see :func:`~neurosim.hardware.mesh.heater_neighbours`.
        levels: Settings of each phase shifter over 2π; None for any phase.
        gain: g, relative error of the phase per drive, one number or ``(…, N²)`` in the order of :meth:`MeshPhases.joined`.
        crosstalk: c, the part of a heater's phase that each of its neighbours receives.
        offset: o, frozen offsets plus noise, rad, likewise.

    Returns:
        Phases, differentiable; rounding passes gradients straight through.

    Source:
        Order of the effects as in pytorch-onn: quantiser, spread of the drive efficiency, crosstalk, noise.
    """
    asked = phases.joined()
    drive = quantized_phase(asked, levels) if levels is not None else asked.remainder(FULL_TURN)
    phase = drive * (1 + gain)
    if crosstalk:
        neighbours = heater_neighbours(layout, phases.output.shape[-1]).to(phase.device)
        phase = phase + crosstalk * torch.cat([phase, phase.new_zeros(()).expand(*phase.shape[:-1], 1)], -1)[..., neighbours].sum(-1)
    return MeshPhases.split(phase + offset)

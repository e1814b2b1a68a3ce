"""Meshes of interferometers against matrix products written out, closed forms, and Monte Carlo."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from neurosim.errors import ConfigError, RunError
from neurosim.hardware.mesh import (
    Layout,
    MeshPhases,
    driven_phases,
    expected_infidelity,
    heater_neighbours,
    interferometer,
    interferometers,
    mesh_columns,
    mesh_fidelity,
    mesh_matrix,
    mesh_phases,
    quantized_phase,
    rounding_sigma,
)
from neurosim.hardware.mesh.layout import nulling_order
from neurosim.random import stream

LAYOUTS: tuple[Layout, ...] = ("clements", "reck")
both = pytest.mark.parametrize("layout", LAYOUTS)
LIKE = torch.empty(0, dtype=torch.float64)


def normal(name: str, *shape: int) -> Tensor:
    return stream(11, name).normal(shape, like=LIKE)


def unitary(name: str, *shape: int) -> Tensor:
    """Random unitary matrices, evenly distributed: the phases of R's diagonal are taken out."""
    q, r = torch.linalg.qr(torch.complex(normal(name, *shape), normal(name + "i", *shape)))
    diagonal = r.diagonal(dim1=-2, dim2=-1)
    mixed: Tensor = q * (diagonal / diagonal.abs()).unsqueeze(-2)
    return mixed


def written_out(phases: MeshPhases, layout: Layout, splitters: Tensor | None = None, loss_db: float = 0.0) -> Tensor:
    """The product of all interferometers as N × N matrices, couplers as exponentials."""
    n = phases.output.shape[-1]
    exchange = torch.tensor([[0, 1], [1, 0]], dtype=torch.complex128)
    total = torch.eye(n, dtype=torch.complex128)
    for column in mesh_columns(layout, n):
        for k in range(column.size):
            number, port = column.at + k, column.first + 2 * k
            alpha, beta = splitters[number] if splitters is not None else torch.zeros(2)
            couplers = [torch.matrix_exp(1j * (math.pi / 4 + error.item()) * exchange) for error in (alpha, beta)]
            inner, outer = (torch.diag(torch.stack([torch.exp(1j * one[number]), torch.tensor(1.0 + 0j)])) for one in phases[:2])
            whole = torch.eye(n, dtype=torch.complex128)
            whole[port : port + 2, port : port + 2] = 10 ** (-loss_db / 20) * (couplers[1] @ inner @ couplers[0] @ outer)
            total = whole @ total
    return torch.diag(torch.exp(1j * phases.output)) @ total


@both
@pytest.mark.parametrize("ports", [2, 3, 4, 5, 8, 17, 32])
def test_a_unitary_comes_back_from_its_phases(layout: Layout, ports: int) -> None:
    for wanted in (unitary("u", 3, ports, ports), torch.linalg.qr(normal("o", 3, ports, ports))[0]):
        phases = mesh_phases(wanted, layout)
        assert (mesh_matrix(phases, layout) - wanted).abs().max() < 1e-12
        assert phases.theta.shape == (3, interferometers(ports))
        assert phases.theta.ge(0).all()
        assert phases.theta.le(math.pi).all()
        assert phases.joined().ge(0).all()
        assert phases.joined().le(2 * math.pi).all()


@both
@pytest.mark.parametrize("ports", [2, 5, 8, 32])
@pytest.mark.parametrize("name", ["identity", "negative", "shift", "reversal", "fourier", "nearly diagonal"])
def test_matrices_with_zeros_and_symmetries_come_back(layout: Layout, ports: int, name: str) -> None:
    eye = torch.eye(ports, dtype=torch.complex128)
    rotation = torch.matrix_exp(1e-155 * (normal("skew", ports, ports) - normal("skew", ports, ports).T)) + 0j
    wanted = {
        "identity": eye,
        "negative": -eye,
        "shift": eye.roll(1, 0),
        "reversal": eye.flip(0),
        "fourier": torch.fft.fft(eye, norm="ortho"),
        "nearly diagonal": rotation,
    }[name]
    assert (mesh_matrix(mesh_phases(wanted, layout), layout) - wanted).abs().max() < 1e-12


@both
def test_the_identity_leaves_every_interferometer_in_the_bar_state(layout: Layout) -> None:
    assert (mesh_phases(torch.eye(6), layout).theta == math.pi).all()


@both
def test_a_batch_takes_the_steps_of_each_of_its_matrices(layout: Layout) -> None:
    wanted = unitary("u", 2, 3, 5, 5)
    together = mesh_phases(wanted, layout).joined()
    alone = torch.stack([mesh_phases(one, layout).joined() for one in wanted.flatten(0, 1)]).unflatten(0, (2, 3))
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-13)


@both
def test_light_through_columns_is_the_product_of_all_interferometers(layout: Layout) -> None:
    n = 5
    phases = MeshPhases.split(normal("phases", n * n))
    splitters = 0.2 * normal("splitters", interferometers(n), 2)
    got = mesh_matrix(phases, layout, splitters=splitters, loss_db=0.7)
    assert (got - written_out(phases, layout, splitters, 0.7)).abs().max() < 1e-13
    assert (mesh_matrix(phases, layout) - written_out(phases, layout)).abs().max() < 1e-13


@both
def test_the_matrix_has_true_derivatives_to_every_phase_and_coupler(layout: Layout) -> None:
    n = 4
    phases = normal("phases", 2, n * n).requires_grad_()
    splitters = (0.1 * normal("splitters", interferometers(n), 2)).requires_grad_()

    def matrix(phases: Tensor, splitters: Tensor) -> Tensor:
        return mesh_matrix(MeshPhases.split(phases), layout, splitters=splitters, loss_db=0.3)

    assert torch.autograd.gradcheck(matrix, (phases, splitters))


@both
@pytest.mark.parametrize("ports", [2, 3, 6, 7, 16])
def test_a_mesh_has_its_depth_and_every_interferometer_once(layout: Layout, ports: int) -> None:
    columns = mesh_columns(layout, ports)
    depth = {"clements": ports if ports > 2 else 1, "reck": 2 * ports - 3}[layout]
    assert len(columns) == depth
    assert all(column.first >= 0 and column.ports.stop <= ports for column in columns)
    assert [column.at for column in columns] == [sum(one.size for one in columns[:at]) for at in range(depth)]
    assert sorted(step.number for step in nulling_order(layout, ports)) == list(range(interferometers(ports)))


@both
def test_neighbours_warm_each_other_and_never_themselves(layout: Layout) -> None:
    n = 7
    table = heater_neighbours(layout, n)
    pairs = {(heater, other) for heater, row in enumerate(table.tolist()) for other in row if other < n * n}
    assert pairs == {(other, heater) for heater, other in pairs}
    assert all(heater != other for heater, other in pairs)
    assert len(pairs) == (table < n * n).sum()


def test_the_neighbours_in_a_clements_mesh_of_four_ports_are_those_of_its_drawing() -> None:
    # interferometers: 0 and 1 (ports 0, 2), 2 (port 1), 3 and 4 (ports 0, 2), 5 (port 1); heaters: θ 0–5, φ 6–11, output 12–15
    table = [sorted(other for other in row if other < 16) for row in heater_neighbours("clements", 4).tolist()]
    assert table[0] == [1, 6, 8]  # θ of 0: the θ below, its own φ, the φ of 2
    assert table[2] == [8, 9, 10]  # θ of 2: its own φ, those of 3 and 4; alone in its column
    assert table[8] == [0, 1, 2]  # φ of 2: the θ of 0 and 1 before it, its own θ
    assert table[5] == [11, 12, 13, 14]  # θ of the last one: its own φ and the output phases around it
    assert table[13] == [5, 12, 14]


def test_crosstalk_gives_each_neighbour_its_part_of_the_phase() -> None:
    one = torch.zeros(16, dtype=torch.float64)
    one[8] = 2.0
    warmed = driven_phases(MeshPhases.split(one), crosstalk=0.05).joined()
    expected = one.clone()
    expected[[0, 1, 2]] = 0.1
    assert torch.allclose(warmed, expected)


def test_a_drive_is_rounded_then_scaled_then_shifted() -> None:
    asked = MeshPhases.split(torch.tensor([-0.1, 3.0, 6.2, 1.0]))
    got = driven_phases(asked, levels=8, gain=0.01, offset=torch.tensor([0.0, 0.0, 0.0, 0.5])).joined()
    step = math.pi / 4
    assert torch.allclose(got, torch.tensor([0.0, 4 * step * 1.01, 0.0, step * 1.01 + 0.5]))
    free = driven_phases(asked).joined()
    assert torch.allclose(free, torch.tensor([2 * math.pi - 0.1, 3.0, 6.2, 1.0]))


def test_rounding_a_phase_takes_the_nearest_setting_on_the_circle_and_passes_gradients() -> None:
    phase = (7 * normal("p", 1000)).requires_grad_()
    rounded = quantized_phase(phase, 12)
    setting = rounded.detach() / (2 * math.pi / 12)
    assert torch.allclose(setting, setting.round(), atol=1e-12)
    assert set(setting.round().tolist()) == set(range(12))
    apart = (rounded - phase).detach().remainder(2 * math.pi)
    assert torch.minimum(apart, 2 * math.pi - apart).max() <= math.pi / 12 + 1e-12
    assert torch.equal(torch.autograd.grad(rounded.sum(), phase)[0], torch.ones(1000, dtype=torch.float64))


def test_unequal_couplers_limit_what_an_interferometer_can_split() -> None:
    alpha, beta = 0.07, -0.02
    theta = torch.linspace(0, 2 * math.pi, 2001, dtype=torch.float64)
    t00, t01, t10, t11 = interferometer(theta, torch.zeros_like(theta), torch.tensor([alpha, beta], dtype=torch.float64))
    bar, cross = t00.abs().square(), t10.abs().square()
    assert bar.min().item() == pytest.approx(math.sin(alpha + beta) ** 2, abs=1e-12)
    assert cross.min().item() == pytest.approx(math.sin(alpha - beta) ** 2, abs=1e-12)
    assert torch.allclose(bar + cross, torch.ones_like(bar))
    assert torch.allclose(t01.abs().square() + t11.abs().square(), torch.ones_like(bar))


@both
def test_a_path_loses_as_much_as_it_passes_interferometers(layout: Layout) -> None:
    n, loss = 6, 0.25
    through = mesh_matrix(mesh_phases(torch.eye(n), layout), layout, loss_db=loss).diagonal().abs()
    passed = -20 * through.log10() / loss
    columns = mesh_columns(layout, n)
    expected = [sum(column.first <= port < column.ports.stop for column in columns) for port in range(n)]
    assert torch.allclose(passed, torch.tensor(expected, dtype=torch.float64))
    assert sum(expected) == n * (n - 1)  # N − 1 a port in the mean
    assert max(expected) - min(expected) == {"clements": n // 2, "reck": 2 * n - 4}[layout]


@both
@pytest.mark.parametrize(("phase", "splitter"), [(0.01, 0.0), (0.0, 0.006), (0.007, 0.005)])
@pytest.mark.parametrize("ports", [4, 16])
def test_the_mean_loss_of_fidelity_is_its_closed_form(layout: Layout, phase: float, splitter: float, ports: int) -> None:
    draws = 400
    wanted = unitary("wanted", ports, ports)
    phases = mesh_phases(wanted, layout)
    offset = phase * normal("offset", draws, ports * ports)
    splitters = splitter * normal("splitters", draws, interferometers(ports), 2)
    lost = 1 - mesh_fidelity(wanted, mesh_matrix(driven_phases(phases, layout, offset=offset), layout, splitters=splitters))
    expected = expected_infidelity(ports, phase, splitter)
    error = lost.std().item() / math.sqrt(draws)
    assert abs(lost.mean().item() - expected) < 5 * error + expected**2  # sampling, and the next order
    assert 5 * error + expected**2 < 0.3 * expected


@both
def test_rounded_phases_lose_what_uniform_errors_of_a_step_lose(layout: Layout) -> None:
    count, ports, levels = 200, 8, 256
    wanted = unitary("wanted", count, ports, ports)
    got = mesh_matrix(driven_phases(mesh_phases(wanted, layout), layout, levels=levels), layout)
    lost = 1 - mesh_fidelity(wanted, got)
    expected = expected_infidelity(ports, rounding_sigma(levels))
    assert abs(lost.mean().item() - expected) < 5 * lost.std().item() / math.sqrt(count) + expected**2


def test_fidelity_does_not_see_a_common_factor_and_is_the_squared_trace_for_unitaries() -> None:
    first, second = unitary("a", 7, 5, 5), unitary("b", 7, 5, 5)
    trace = (first.mH @ second).diagonal(dim1=-2, dim2=-1).sum(-1).abs().square() / 25
    assert torch.allclose(mesh_fidelity(first, second), trace)
    assert torch.allclose(mesh_fidelity(first, (0.3 - 0.2j) * first), torch.ones(7, dtype=torch.float64))
    assert torch.allclose(mesh_fidelity(first, (0.3 - 0.2j) * second), trace)


def test_what_is_no_unitary_or_no_mesh_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"off the identity by up to 0\.69"):
        mesh_phases(1.3 * torch.eye(3))
    with pytest.raises(ConfigError, match="unitary, got U†U off the identity by up to nan"):
        mesh_phases(torch.full((2, 2), torch.nan))
    with pytest.raises(ConfigError, match=r"N of 2 or more, got \(3, 2\)"):
        mesh_phases(torch.ones(3, 2))
    with pytest.raises(ConfigError, match=r"floating point, got torch\.int64"):
        mesh_phases(torch.eye(3, dtype=torch.int64))
    with pytest.raises(ConfigError, match="did you mean 'clements'"):
        mesh_phases(torch.eye(3), "clement")  # type: ignore[arg-type]  # a typing error
    with pytest.raises(ConfigError, match="ports: must be a whole number, 2 or more, got 1"):
        mesh_columns("reck", 1)
    with pytest.raises(ConfigError, match="got 2 and 2 for 3 ports"):
        mesh_matrix(MeshPhases(torch.zeros(2), torch.zeros(2), torch.zeros(3)))
    with pytest.raises(ConfigError, match=r"splitters must be \(…, 3, 2\) for 3 ports, got \(2, 2\)"):
        mesh_matrix(MeshPhases.split(torch.zeros(9)), splitters=torch.zeros(2, 2))
    with pytest.raises(ConfigError, match="matrices of one shape"):
        mesh_fidelity(torch.eye(2), torch.eye(3))
    with pytest.raises(ConfigError, match="phase_sigma_rad: must be a finite number"):
        expected_infidelity(4, -0.1)


def test_a_decomposition_says_that_it_has_no_derivative() -> None:
    wanted = torch.eye(3).requires_grad_()
    with pytest.raises(RunError, match="mesh_phases: it has no derivative"):
        mesh_phases(wanted).theta.sum().backward()

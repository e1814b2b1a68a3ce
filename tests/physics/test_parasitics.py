"""Resistive wires against closed forms of ladders and against Kirchhoff's laws at every node."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from neurosim.errors import ConfigError, RunError
from neurosim.hardware.nodal import nodal_conductance
from neurosim.hardware.parasitics import (
    LOAD_LIMIT,
    Crossbar,
    Ends,
    exact_conductance,
    fast_conductance,
    lost_share,
    parasitic_load,
    parasitics_valid,
    relaxed_currents,
)
from neurosim.random import stream

ENDS: tuple[Ends, ...] = ("first", "last", "both")
DOUBLE = torch.empty(0, dtype=torch.float64)


def cells(*shape: int, name: str = "cells") -> Tensor:
    """Conductances up to 100 µS."""
    return 1e-4 * stream(5, name).uniform(shape, like=DOUBLE)


def through_identity(g: Tensor, wires: Crossbar) -> Tensor:
    """What relaxation makes of one volt on each row in turn."""
    lines, outs, ins = g.shape
    currents = relaxed_currents(g, torch.eye(lines * ins, dtype=torch.float64).reshape(-1, lines, ins), wires, tolerance=1e-11)
    return currents.T.reshape(outs, lines, ins).transpose(0, 1)


def worst_error(a: Tensor, b: Tensor, g: Tensor) -> float:
    """Of a column's current over all inputs of at most 1 V, as a share of full scale; over all tiles."""
    full_scale = g.shape[-3] * g.shape[-1] * g.amax((-3, -2, -1))
    return float(((a - b).abs().sum((-3, -1)).amax(-1) / full_scale).amax())


@pytest.mark.parametrize("lines", [1, 2])
@pytest.mark.parametrize(("driven", "sensed"), list(itertools.product(ENDS, ENDS)))
@pytest.mark.parametrize(("r_row", "r_column"), [(3.0, 7.0), (0.0, 500.0), (500.0, 0.0), (0.0, 0.0), (2e3, 3e3)])
def test_elimination_and_relaxation_solve_kirchhoffs_equations(
    lines: int, driven: Ends, sensed: Ends, r_row: float, r_column: float
) -> None:
    g, wires = cells(lines, 4, 5), Crossbar(r_row, r_column, driven, sensed)
    truth = nodal_conductance(g, wires)
    assert torch.allclose(exact_conductance(g, wires), truth, rtol=1e-9, atol=1e-16)
    assert torch.allclose(through_identity(g, wires), truth, rtol=1e-6, atol=1e-9 * float(truth.sum(-1).max()))


def test_one_cell_is_in_series_with_its_wires() -> None:
    g, wires = torch.tensor([[[2e-4]]], dtype=torch.float64), Crossbar(300.0, 500.0)
    expected = 1 / (1 / 2e-4 + 800.0)
    for conductance in (exact_conductance, nodal_conductance):
        assert conductance(g, wires).item() == pytest.approx(expected, rel=1e-12)
    assert fast_conductance(g, wires).item() == pytest.approx(2e-4 / (1 + 0.16 * 1.16 / 1.16), rel=1e-12)
    both = Crossbar(300.0, 500.0, "both", "both")  # two paths side by side halve each resistance
    assert exact_conductance(g, both).item() == pytest.approx(1 / (1 / 2e-4 + 400.0), rel=1e-12)


@pytest.mark.parametrize("n", [1, 5, 40])
def test_a_uniform_column_is_a_ladder_with_a_hyperbolic_profile(n: int) -> None:
    """Voltage of the node k pieces of wire from ground: v(k+1) − 2 v(k) + v(k−1) = R G (v(k) − 1), no current beyond k = n."""
    g, r = 1e-4, 50.0
    a = math.acosh(1 + r * g / 2)
    served = [math.cosh((n + 0.5 - k) * a) / math.cosh((n + 0.5) * a) for k in range(1, n + 1)]  # 1 − v, which is 1 at ground
    got = exact_conductance(torch.full((1, 1, n), g, dtype=torch.float64), Crossbar(0.0, r, sensed="first"))
    assert torch.allclose(got.flatten(), g * torch.tensor(served, dtype=torch.float64), rtol=1e-10)
    along_row = exact_conductance(torch.full((1, n, 1), g, dtype=torch.float64), Crossbar(r, 0.0, driven="first"))
    assert torch.allclose(along_row.flatten(), got.flatten(), rtol=1e-10)


@pytest.mark.parametrize("conductance", [fast_conductance, exact_conductance])
def test_wires_without_resistance_change_nothing(conductance: Any) -> None:
    g = cells(2, 5, 7)
    assert torch.allclose(conductance(g, Crossbar(0.0, 0.0, "both", "both")), g, rtol=1e-15)


@pytest.mark.parametrize("conductance", [fast_conductance, exact_conductance])
def test_the_other_end_is_the_mirror_image(conductance: Any) -> None:
    g = cells(1, 5, 7)
    mirrored = conductance(g.flip(-2).flip(-1), Crossbar(30.0, 40.0, "last", "first")).flip(-2).flip(-1)
    assert torch.allclose(conductance(g, Crossbar(30.0, 40.0, "first", "last")), mirrored, rtol=1e-12)


@pytest.mark.parametrize("r", [1.0, 1e3, 1e7])
def test_wires_only_ever_take_from_the_whole_of_a_row_or_column(r: float) -> None:
    """One cell may act with more than it has, by sneak paths over its neighbours; a row or column may not (Rayleigh's monotonicity)."""
    g, wires = cells(1, 12, 9), Crossbar(r, 2 * r)
    a, quick = exact_conductance(g, wires), fast_conductance(g, wires)
    assert (a >= 0).all()
    for dim in (-1, -2):
        assert (a.sum(dim) <= g.sum(dim)).all()
    assert (quick >= 0).all()
    assert (quick <= g).all()
    if r == 1e3:
        assert (a > g).any()


def test_rows_and_columns_change_places() -> None:
    """A network of resistors answers the same with source and ground exchanged."""
    g = cells(1, 5, 7)
    a = exact_conductance(g, Crossbar(30.0, 40.0, "first", "both"))
    b = exact_conductance(g.transpose(-1, -2), Crossbar(40.0, 30.0, "both", "first"))
    assert torch.allclose(a.transpose(-1, -2), b, rtol=1e-11)


def test_lines_without_cells_of_their_own_add_nothing() -> None:
    g = cells(1, 5, 7)
    wires = Crossbar(30.0, 40.0)
    a = exact_conductance(torch.cat([g, torch.zeros_like(g)]), wires)
    assert torch.allclose(a, torch.cat([exact_conductance(g, wires), torch.zeros_like(g)]), rtol=1e-11)


def test_lines_in_pairs_share_the_current_of_their_columns() -> None:
    """With equal cells at opposite voltages the columns carry nothing: only the rows lose."""
    g = cells(1, 5, 7).expand(2, -1, -1)
    wires = Crossbar(30.0, 4e3)
    volts = torch.stack([torch.ones(7), -torch.ones(7)]).double()
    assert relaxed_currents(g, volts[None], wires).abs().max() < 1e-12 * g.sum()
    assert (exact_conductance(g, wires) * volts[:, None]).sum((0, 2)).abs().max() < 1e-12 * g.sum()


def patterns(outs: int, ins: int) -> Tensor:
    """Tiles (tiles, 1, out, in): full, uniform, sparse, in blocks, nearly empty in one part."""
    drawn = stream(1, "patterns").uniform((6, outs, ins), like=DOUBLE)
    blocks = torch.full((3, outs, ins), 0.02, dtype=torch.float64)
    blocks[0, outs // 2 :, : ins // 2] = 1
    blocks[1, : outs // 2] = 1
    blocks[2, outs // 2 :, ins // 2 :] = blocks[2, : outs // 2, : ins // 2] = 1
    parts = [
        torch.ones(1, outs, ins, dtype=torch.float64),
        drawn[:1],
        drawn[1:2] ** 4,
        (drawn[2:5] < drawn.new_tensor([[[0.1]], [[0.5]], [[0.9]]])),
    ]
    return torch.cat([*(part.double() for part in parts), blocks]).unsqueeze(1)


@pytest.mark.parametrize(("outs", "ins"), [(24, 24), (6, 30), (30, 6), (2, 2)])
@pytest.mark.parametrize(("driven", "sensed"), [("first", "last"), ("both", "both"), ("first", "both")])
@pytest.mark.parametrize("row_share", [0.0, 0.2, 0.5, 0.8, 1.0])
def test_the_fast_way_is_within_one_percent_up_to_its_limit(outs: int, ins: int, driven: Ends, sensed: Ends, row_share: float) -> None:
    g, wires = patterns(outs, ins), Crossbar(row_share, 1 - row_share, driven, sensed)
    g = g * (LOAD_LIMIT / parasitic_load(g, wires)).reshape(-1, 1, 1, 1) * (1 - 1e-12)
    assert parasitics_valid(g, wires).all()
    assert worst_error(fast_conductance(g, wires), exact_conductance(g, wires), g) < 0.01


def test_no_conductances_found_by_ascent_break_the_limit() -> None:
    """Gradient ascent on the error itself, with the load held at the limit."""
    wires, z = Crossbar(0.5, 0.5), 2 * stream(2, "ascent").normal((4, 1, 8, 8), like=DOUBLE)
    z.requires_grad_()
    optimizer = torch.optim.Adam([z], lr=0.4)
    worst = []
    for _ in range(30):
        g = torch.sigmoid(z)
        g = g * (LOAD_LIMIT / parasitic_load(g, wires)).reshape(-1, 1, 1, 1)
        error = (fast_conductance(g, wires) - exact_conductance(g, wires)).abs().sum((1, 3)).amax(-1) / (8 * g.amax((1, 2, 3)))
        worst.append(float(error.max().detach()))
        optimizer.zero_grad()
        (-error.sum()).backward()
        optimizer.step()
    assert worst[-1] > 1.5 * worst[0]  # it did climb
    assert max(worst) < 0.01


def test_beyond_the_limit_a_tile_is_flagged_and_may_be_wrong() -> None:
    g = patterns(24, 24)
    wires = Crossbar(1.0, 1.0)
    g = g * (3 * LOAD_LIMIT / parasitic_load(g, wires)).reshape(-1, 1, 1, 1)
    assert not parasitics_valid(g, wires).any()
    assert worst_error(fast_conductance(g, wires), exact_conductance(g, wires), g) > 0.01


def test_the_fast_way_is_exact_to_first_order() -> None:
    """Ten times less resistance leaves a hundredth of the error."""
    g = cells(1, 9, 11)
    errors = [worst_error(fast_conductance(g, Crossbar(r, 2 * r)), exact_conductance(g, Crossbar(r, 2 * r)), g) for r in (10.0, 1.0, 0.1)]
    slopes = [math.log10(a / b) for a, b in itertools.pairwise(errors)]
    assert min(slopes) > 1.9


def test_the_load_of_a_uniform_square_tile_is_the_product_of_resistance_conductance_and_cells() -> None:
    n, r, g = 64, 1.0, 1e-5
    load = parasitic_load(torch.full((1, n, n), g, dtype=torch.float64), Crossbar(r, r)).item()
    assert load == pytest.approx(r * g * n * (n + 1), rel=1e-12)


@pytest.mark.parametrize("ends", ENDS)
def test_the_lost_share_is_the_sum_over_shared_wire(ends: Ends) -> None:
    g, n = cells(1, 6, 1), 6
    place = torch.arange(1, n + 1, dtype=torch.float64)
    near, far = torch.minimum(place[:, None], place), torch.maximum(place[:, None], place)
    shared = {"first": near, "last": n + 1 - far, "both": near * (n + 1 - far) / (n + 1)}[ends]
    expected = 20.0 * shared @ g[0, :, 0]
    assert torch.allclose(lost_share(g, Crossbar(20.0, 0.0, driven=ends))[0, :, 0], expected, rtol=1e-12)


@pytest.mark.parametrize("conductance", [fast_conductance, exact_conductance])
@pytest.mark.parametrize(("driven", "sensed"), [("first", "last"), ("both", "both")])
def test_gradients_equal_finite_differences(conductance: Any, driven: Ends, sensed: Ends) -> None:
    g = (1e4 * cells(2, 3, 4)).requires_grad_()
    assert torch.autograd.gradcheck(lambda g: conductance(g, Crossbar(0.02, 0.03, driven, sensed)), (g,))


@pytest.mark.parametrize("conductance", [fast_conductance, exact_conductance])
def test_leading_axes_are_tiles_by_themselves_in_any_floating_type(conductance: Any) -> None:
    g, wires = cells(2, 3, 1, 4, 5), Crossbar(30.0, 40.0)
    together = conductance(g, wires)
    for i, j in itertools.product(range(2), range(3)):
        assert torch.allclose(together[i, j], conductance(g[i, j], wires), rtol=1e-12)
    single = conductance(g.float(), wires)
    assert single.dtype == torch.float32
    assert torch.allclose(single.double(), together, rtol=1e-5)


def test_relaxation_takes_many_inputs_and_tiles_at_once() -> None:
    g, wires = cells(3, 1, 4, 5), Crossbar(300.0, 400.0)
    volts = stream(3, "volts").normal((3, 6, 1, 5), like=DOUBLE)
    expected = torch.einsum("tkij,tbkj->tbi", torch.stack([nodal_conductance(one, wires) for one in g]), volts)
    assert torch.allclose(relaxed_currents(g, volts, wires), expected, rtol=1e-7, atol=1e-12)


def test_relaxation_says_when_it_gives_up() -> None:
    with pytest.raises(RunError, match="after 3 sweeps"):
        relaxed_currents(cells(1, 4, 5), torch.ones(1, 1, 5).double(), Crossbar(1e5, 1e5), max_sweeps=3)


@pytest.mark.parametrize(
    ("g", "wires", "message"),
    [
        (torch.ones(2, 2), Crossbar(1.0, 1.0), "axes"),
        (torch.ones(1, 2, 2).long(), Crossbar(1.0, 1.0), "floating point"),
        (torch.ones(1, 2, 2), Crossbar(-1.0, 1.0), "r_row_ohm must be ≥ 0"),
        (torch.ones(1, 2, 2), Crossbar(1.0, math.inf), "r_column_ohm must be ≥ 0 and finite"),
        (torch.ones(1, 2, 2), Crossbar(1.0, 1.0, driven="left"), "driven must be first, last or both"),  # type: ignore[arg-type]  # what is refused
    ],
)
def test_what_is_no_crossbar_is_refused(g: Tensor, wires: Crossbar, message: str) -> None:
    for conductance in (fast_conductance, exact_conductance, nodal_conductance):
        with pytest.raises(ConfigError, match=message):
            conductance(g, wires)


def test_voltages_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="must end in"):
        relaxed_currents(cells(1, 4, 5), torch.ones(1, 1, 4), Crossbar(1.0, 1.0))

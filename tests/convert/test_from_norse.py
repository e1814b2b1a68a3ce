"""``from_norse`` against the installed norse."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from norse.torch.functional.iaf import IAFParameters
from norse.torch.functional.leaky_integrator_box import LIBoxParameters
from norse.torch.functional.lif import LIFParameters
from norse.torch.functional.lif_box import LIFBoxParameters
from norse.torch.functional.reset import reset_subtract
from norse.torch.module.iaf import IAF, IAFCell
from norse.torch.module.leaky_integrator import LI, LICell
from norse.torch.module.leaky_integrator_box import LIBoxCell
from norse.torch.module.lif import LIF, LIFCell, LIFRecurrent, LIFRecurrentCell
from norse.torch.module.lif_box import LIFBoxCell
from norse.torch.module.lift import Lift
from norse.torch.module.lsnn import LSNNCell
from norse.torch.module.sequential import SequentialState
from torch import Tensor, nn

import neurosim as ns

LEAKY: Any = {"tau_mem_inv": torch.tensor(130.0), "v_leak": torch.tensor(0.05), "v_th": torch.tensor(0.2), "v_reset": torch.tensor(-0.1)}
SYNAPTIC: Any = LEAKY | {"tau_syn_inv": torch.linspace(100.0, 900.0, 9)}

#: neurons that take one step a call, by what stands for them
CELLS: dict[str, Any] = {
    "LIFCell": lambda: LIFCell(LIFParameters(**SYNAPTIC), dt=1e-3),
    "LIFCell, tanh": lambda: LIFCell(LIFParameters(**SYNAPTIC, method="tanh", alpha=torch.tensor(3.0)), dt=5e-4),
    "LIFCell, no gradient": lambda: LIFCell(LIFParameters(**SYNAPTIC, method="heaviside")),
    "LIFBoxCell": lambda: LIFBoxCell(LIFBoxParameters(**LEAKY)),
    "LIFBoxCell, soft": lambda: LIFBoxCell(LIFBoxParameters(**LEAKY, reset_method=reset_subtract)),
    "IAFCell": lambda: IAFCell(IAFParameters(v_reset=torch.tensor(-0.3))),
    "LIFRecurrentCell": lambda: LIFRecurrentCell(9, 7, LIFParameters(v_th=torch.tensor(0.3))),
    "LIFRecurrentCell, autapses": lambda: LIFRecurrentCell(9, 7, LIFParameters(v_th=torch.tensor(0.3)), autapses=True),
}
SEQUENCES: dict[str, Any] = {
    "LIF": lambda: LIF(LIFParameters(**LEAKY, tau_syn_inv=torch.tensor(300.0))),
    "IAF": lambda: IAF(),
    "LIFRecurrent": lambda: LIFRecurrent(9, 7, LIFParameters(v_th=torch.tensor(0.3))),
}


def drive(*shape: int, time: int = 60) -> Tensor:
    return ns.random.stream(6, "drive").normal((time, 3, *shape), like=torch.empty(0)) * 1.5


def stepped(model: Any, x: Tensor) -> Tensor:
    state, found = None, []
    for step in x:
        y, state = model(step, state)
        found.append(y)
    return torch.stack(found)


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_gives_the_spikes_of_the_source(name: str) -> None:
    torch.manual_seed(0)
    model = SequentialState(nn.Linear(4, 9), CELLS[name]())
    network = ns.from_norse(model)
    x = drive(4)
    with torch.no_grad():
        theirs = stepped(model, x)
        assert 0 < theirs.sum() < theirs.numel()
        assert torch.equal(theirs, network(x))
    (report,) = [layer for layer in network.exchange.layers if layer.spikes]  # type: ignore[union-attr, operator]  # attributes of modules
    assert report.differing == 0
    assert report.membrane is None or report.membrane < 1e-5


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_layer_over_time_gives_the_spikes_of_the_source(name: str) -> None:
    torch.manual_seed(0)
    model = SequentialState(nn.Linear(4, 9), SEQUENCES[name]())
    network = ns.from_norse(model)
    x = drive(4)
    with torch.no_grad():
        theirs = model(x)[0]
        assert 0 < theirs.sum() < theirs.numel()
        assert torch.equal(theirs, network(x))


@pytest.mark.parametrize("name", ["LIFCell", "LIFCell, tanh", "LIFBoxCell", "LIFBoxCell, soft", "LIFRecurrentCell"])
def test_gradients_are_those_of_the_source(name: str) -> None:
    torch.manual_seed(0)
    model = SequentialState(nn.Linear(4, 9), CELLS[name]())
    network = ns.from_norse(model)
    x, z = (drive(4, time=15).requires_grad_() for _ in range(2))
    theirs, ours = stepped(model, x), network(z)
    assert torch.equal(theirs, ours)
    weights = drive(theirs.shape[-1], time=15)
    (theirs * weights).sum().backward()
    (ours * weights).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(z.grad, x.grad, rtol=1e-3, atol=1e-4 * x.grad.abs().max().item())


@pytest.mark.parametrize("cell", [LICell, lambda: LIBoxCell(LIBoxParameters(v_leak=torch.tensor(0.3)))])
def test_read_outs_give_the_potential_of_the_source(cell: Any) -> None:
    model = SequentialState(nn.Linear(4, 9), cell())
    with torch.no_grad():
        torch.testing.assert_close(ns.from_norse(model)(drive(4)), stepped(model, drive(4)), rtol=0, atol=2e-6)


def test_lifted_layers_are_folded_and_axes_are_counted_without_time() -> None:
    torch.manual_seed(0)
    quick = LIFParameters(v_th=torch.tensor(0.1))
    model = SequentialState(Lift(nn.Conv2d(1, 4, 3)), LIF(quick), nn.Flatten(2), nn.Linear(16, 5), nn.ReLU(), LI())
    network = ns.from_norse(model, input_shape=(1, 4, 4))
    x = drive(1, 4, 4)
    with torch.no_grad():
        torch.testing.assert_close(network(x), model(x)[0], rtol=0, atol=2e-6)


def test_parameters_of_the_source_are_left_as_they_are() -> None:
    parameters = IAFParameters(v_reset=torch.tensor(0.0))
    ns.from_norse(nn.Linear(3, 3), IAFCell(parameters))
    assert not parameters.v_reset.requires_grad


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        (lambda: [LSNNCell()], "only LIF, LIFCell and LIFBoxCell"),
        (lambda: [LIFCell(LIFParameters(tau_mem_inv=torch.tensor(2000.0)))], "1 − dt · tau_mem_inv.*from 0 to 1 of it, got -1"),
        (lambda: [LIFCell(LIFParameters(method="adjoint"))], "adjoint"),
        (lambda: [LIFRecurrentCell(3, 3, LIFParameters(method="logistic"))], "none of the fused formulas"),
        (lambda: [LIF(), LIFCell()], r"some neurons take a sequence \(LIF, …\) and some a step"),
        (lambda: [LIF(), nn.BatchNorm1d(3)], r"must be lifted: Lift\(layer\)"),
        (lambda: [Lift(LIFCell())], "has a state"),
        (lambda: [nn.GRUCell(3, 3), LIFCell()], "without state"),
    ],
)
def test_what_cannot_be_imported_is_refused_with_the_reason(layers: Any, says: str) -> None:
    with pytest.raises(ns.ConversionError, match=says):
        ns.from_norse(*layers(), input_shape=(3,))


def test_without_norse_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "norse.torch", None)
    with pytest.raises(ns.ConfigError, match=r"pip install 'neurosim-torch\[interop\]'"):
        ns.from_norse(nn.Linear(3, 3))

"""``from_nir`` on graphs that other libraries wrote: the same spikes as the network they were written from."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import h5py
import nir
import norse.torch as norse
import numpy as np
import pytest
import snntorch as snn
import torch
from norse.torch.functional.iaf import IAFParameters
from norse.torch.functional.leaky_integrator_box import LIBoxParameters
from norse.torch.functional.lif import LIFParameters
from norse.torch.functional.lif_box import LIFBoxParameters
from norse.torch.functional.reset import reset_subtract
from norse.torch.module.iaf import IAFCell
from norse.torch.module.leaky_integrator_box import LIBoxCell
from norse.torch.module.lif import LIFCell
from norse.torch.module.lif_box import LIFBoxCell
from snntorch.export_nir import export_to_nir
from torch import Tensor, nn

import neurosim as ns

DT = 1e-3
DATA = Path(__file__).parent / "data"


def drive(*shape: int, time: int = 60) -> Tensor:
    return ns.random.stream(8, "drive").normal((time, 3, *shape), like=torch.empty(0)) * 1.5


def rates(*shape: int, low: float = 0.0, high: float = 1.0, name: str = "rates") -> Tensor:
    return low + (high - low) * ns.random.stream(2, name).uniform(shape, like=torch.empty(0))


def one(*shape: int, value: float = 1.0) -> Any:
    return np.full(shape, value)


def exported(model: nn.Module, sample: Tensor) -> Any:
    """What snnTorch writes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of nirtorch, which snnTorch calls
        return export_to_nir(model, sample, ignore_dims=[0])


def stepped(model: nn.Module, x: Tensor) -> Tensor:
    for layer in model.modules():
        if isinstance(layer, snn.SpikingNeuron):
            layer.reset_mem()
    return torch.stack([model(step) for step in x])


#: what snnTorch's settings are called here; the graph does not say them
RESETS: dict[tuple[str, bool], Any] = {("subtract", True): "soft_next", ("subtract", False): "soft_both", ("none", True): "none"}
LEAKY_ONLY: dict[tuple[str, bool], Any] = {("zero", True): "hard_next", ("zero", False): "hard"}


@pytest.mark.parametrize(("mechanism", "delay"), [*RESETS, *LEAKY_ONLY])
def test_a_graph_of_snntorch_gives_its_spikes(mechanism: str, delay: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    how: Any = {"reset_mechanism": mechanism, "reset_delay": delay, "init_hidden": True}
    layers: list[nn.Module] = [nn.Linear(4, 200), snn.Leaky(beta=rates(200), threshold=rates(200, low=0.3), **how)]
    if (mechanism, delay) in RESETS:
        layers += [
            nn.Linear(200, 30, bias=False),
            snn.Synaptic(alpha=rates(30), beta=rates(30, name="beta"), threshold=rates(30, low=0.3), **how),
        ]
    model = nn.Sequential(*layers)
    nir.write(tmp_path / "theirs.nir", exported(model, torch.zeros(1, 4)))
    reset = (RESETS | LEAKY_ONLY)[mechanism, delay]
    network = ns.from_nir(tmp_path / "theirs.nir", convention="snntorch", reset=reset)
    theirs = stepped(model, drive(4))
    assert theirs.count_nonzero() > 0
    assert torch.equal(theirs, network(drive(4)))


def test_a_convolutional_graph_of_snntorch_gives_its_spikes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    maps = snn.Leaky(beta=rates(3, 4, 4), threshold=torch.full((3, 4, 4), 0.4), init_hidden=True)
    last = snn.Leaky(beta=rates(5), threshold=torch.ones(5), init_hidden=True)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), maps, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12, 5), last)
    nir.write(tmp_path / "theirs.nir", exported(model, torch.zeros(1, 1, 6, 6)))
    network = ns.from_nir(tmp_path / "theirs.nir", convention="snntorch", reset="soft_next")
    theirs = stepped(model, drive(1, 6, 6))
    assert theirs.sum() > 0
    assert torch.equal(theirs, network(drive(1, 6, 6)))


class Loop(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.down, self.loop, self.up = nn.Linear(4, 9), layer, nn.Linear(9, 5)
        self.out = snn.Leaky(beta=rates(5), threshold=torch.full((5,), 0.3), init_hidden=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(self.up(self.loop(self.down(x))))
        return y


@pytest.mark.parametrize(
    "layer",
    [
        lambda: snn.RLeaky(beta=rates(9), threshold=rates(9, low=0.2), linear_features=9, init_hidden=True),
        lambda: snn.RLeaky(beta=0.7, threshold=0.4, all_to_all=False, V=rates(9, low=-1), init_hidden=True),
        lambda: snn.RSynaptic(alpha=0.5, beta=rates(9), threshold=0.4, linear_features=9, init_hidden=True),
    ],
)
def test_a_loop_of_snntorch_gives_its_spikes_from_the_first_step_on(layer: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Loop(layer())
    nir.write(tmp_path / "theirs.nir", exported(model, torch.zeros(1, 4)))
    network = ns.from_nir(tmp_path / "theirs.nir", convention="snntorch", reset="soft_next")
    assert isinstance(network, ns.nn.SpikingGraph)
    theirs = stepped(model, drive(4))
    assert theirs.sum() > 0
    assert torch.equal(theirs, network(drive(4)))
    again = ns.from_nir(ns.to_nir(network, tmp_path / "ours.nir", lossy=True))
    assert torch.equal(theirs, again(drive(4)))


def run_norse(model: Any, x: Tensor) -> Tensor:
    state, found = None, []
    with torch.no_grad():
        for step in x:
            y, state = model(step, state)
            found.append(y)
    return torch.stack(found)


def norse_graph(model: nn.Module, sample: Tensor, dt: float) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of nirtorch, which norse calls
        return norse.to_nir(model, sample, dt=dt)


@pytest.mark.parametrize("dt", [1e-3, 5e-4])
def test_a_graph_of_norse_gives_its_spikes(dt: float, tmp_path: Path) -> None:
    torch.manual_seed(0)
    level = {"v_leak": torch.full((40,), 0.05), "v_th": rates(40, low=0.1, high=0.3)}
    current = LIFParameters(tau_mem_inv=rates(40, low=90, high=500), tau_syn_inv=rates(40, low=90, high=900), **level)
    box = LIFBoxParameters(tau_mem_inv=rates(30, low=90, high=500), v_leak=torch.full((30,), 0.05), v_th=torch.full((30,), 0.12))
    read_out = LIBoxParameters(tau_mem_inv=torch.full((5,), 150.0), v_leak=torch.full((5,), 0.1))
    model = norse.SequentialState(
        *(nn.Linear(4, 40), LIFCell(current, dt=dt), nn.Linear(40, 30), LIFBoxCell(box, dt=dt), nn.Linear(30, 20)),
        *(IAFCell(IAFParameters(v_th=torch.full((20,), 0.5)), dt=dt), nn.Linear(20, 5), LIBoxCell(read_out, dt=dt)),
    )
    graph = norse_graph(model, torch.zeros(1, 4), dt)
    nir.write(tmp_path / "theirs.nir", graph)
    x = drive(4)
    network: Any = ns.from_nir(tmp_path / "theirs.nir", dt=dt, convention="norse")
    theirs = run_norse(model, x)
    assert theirs.abs().max() > 0.1
    torch.testing.assert_close(network(x), theirs, rtol=0, atol=1e-6)
    spikes = run_norse(norse.SequentialState(*list(model)[:6]), x)
    assert spikes.sum() > 100
    assert torch.equal(ns.nn.SpikingSequential(*list(network)[:6])(x), spikes)


def test_a_graph_of_norse_with_single_numbers_and_another_reset_gives_its_spikes() -> None:
    """Which nirtorch gives shapes of a batch, and which cannot be written to a file: nir compresses no single numbers."""
    torch.manual_seed(0)
    model = norse.SequentialState(nn.Linear(4, 9), LIFBoxCell(LIFBoxParameters(v_th=torch.tensor(0.2), reset_method=reset_subtract)))
    network = ns.from_nir(norse_graph(model, torch.zeros(1, 4), DT), dt=DT, convention="norse", reset="soft")
    theirs = run_norse(model, drive(4))
    assert theirs.sum() > 50
    assert torch.equal(theirs, network(drive(4)))


def test_a_graph_of_spikingjelly_gives_the_spikes_that_were_recorded() -> None:
    with h5py.File(DATA / "spikingjelly_graph.h5") as file:
        x, spikes, dt = torch.from_numpy(file["x"][()]), torch.from_numpy(file["spikes"][()]).float(), float(file.attrs["dt"])
    assert 0 < spikes.sum() < spikes.numel()
    network = ns.from_nir(DATA / "spikingjelly.nir", dt=dt, convention="spikingjelly")
    assert torch.equal(network(x), spikes)


def lif(tau: float = 0.02, r: float = 1.0, **others: float) -> Any:
    values = {"v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0, **others}
    return nir.LIF(tau=one(3, value=tau), r=one(3, value=r), **{name: one(3, value=value) for name, value in values.items()})


def by_hand(decay: float, gain: float, x: Tensor, *, strict: bool = True, leak: float = 0.0, reset: float = 0.0) -> Tensor:
    """Spikes of a leaky neuron from its definition, in double precision."""
    v, found = torch.full_like(x[0], leak), []
    for step in x:
        v = decay * v + gain * step + leak * (1 - decay)
        spike = v > 1 if strict else v >= 1
        v = torch.where(spike, reset, v)
        found.append(spike.to(x))
    return torch.stack(found)


@pytest.mark.parametrize(
    ("convention", "decay", "gain", "strict"),
    [
        ("nir", math.exp(-1 / 20), 7 * (1 - math.exp(-1 / 20)), True),
        ("euler", 1 - 1 / 20, 7 / 20, True),
        ("spikingjelly", 1 - 1 / 20, 7 / 20, False),
        ("norse", 1 - 1e-3 / 20, 7e-3 / 20, True),
    ],
)
def test_every_convention_is_what_it_says(convention: str, decay: float, gain: float, strict: bool) -> None:
    x = drive(3).double() * (600 if convention == "norse" else 1)
    graph = nir.NIRGraph.from_list(lif(r=7.0, v_leak=0.125, v_reset=-0.5))
    expected = by_hand(decay, gain, x, strict=strict, leak=0.125, reset=-0.5)
    assert 0 < expected.sum() < expected.numel()
    assert torch.equal(ns.from_nir(graph, dt=DT, convention=convention)(x), expected)


def test_whether_a_neuron_fires_at_its_threshold_is_the_conventions_business() -> None:
    x = torch.full((1, 1, 3), 1.0)
    graph = nir.NIRGraph.from_list(nir.IF(r=one(3, value=1 / DT), v_threshold=one(3)))
    fired = {name: bool(ns.from_nir(graph, dt=DT, convention=name)(x).any()) for name in ("nir", "spikingjelly")}
    assert fired == {"nir": False, "spikingjelly": True}
    assert bool(ns.from_nir(graph, dt=DT, convention="nir", strict=False)(x).any())


def test_an_integrator_counts_an_input_r_dt_times() -> None:
    graph = nir.NIRGraph.from_list(nir.IF(r=np.array([1 / DT, 0.5 / DT, 2 / DT]), v_threshold=one(3)))
    spikes = ns.from_nir(graph, dt=DT, convention="nir", strict=False)(torch.full((8, 1, 3), 0.5))
    assert spikes.sum((0, 1)).tolist() == [4, 2, 8]
    graph = nir.NIRGraph.from_list(nir.I(r=one(3, value=0.5 / DT)))
    assert ns.from_nir(graph, dt=DT, convention="nir")(torch.ones(4, 1, 3)).flatten().tolist()[-3:] == [2, 2, 2]


def test_a_current_based_integrator_is_a_synapse_and_a_membrane() -> None:
    graph = nir.NIRGraph.from_list(
        nir.CubaLI(tau_syn=one(2, value=5e-3), tau_mem=one(2, value=0.02), r=one(2, value=3.0), v_leak=one(2, value=0.5), w_in=2.0)
    )
    x = drive(2, time=9)
    a, b = math.exp(-1 / 5), math.exp(-1 / 20)
    i, v, expected = torch.zeros(3, 2), torch.full((3, 2), 0.5), []
    for step in x:
        i = a * i + 2 * (1 - a) * step
        v = b * v + 3 * (1 - b) * i + 0.5 * (1 - b)
        expected.append(v)
    torch.testing.assert_close(ns.from_nir(graph, dt=DT, convention="nir")(x), torch.stack(expected))


def test_parameters_that_are_equal_within_channels_are_kept_once_a_channel() -> None:
    tau = np.broadcast_to(np.array([0.01, 0.02])[:, None, None], (2, 3, 3)).copy()
    node = nir.LIF(tau=tau, r=one(2, 3, 3), v_leak=0 * tau, v_threshold=one(2, 3, 3))
    network: Any = ns.from_nir(nir.NIRGraph.from_list(node), dt=DT, convention="nir")
    assert network[0].tau_mem.shape == (2, 1, 1)
    assert network[0].v_threshold == 1.0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"dt": DT}, "convention must be given: the library that wrote it, or 'nir'"),
        ({"convention": "snntorhc", "dt": DT}, "did you mean 'snntorch'"),
        ({"convention": "nir"}, "dt must be given"),
        ({"convention": "norse"}, "dt must be given"),
        ({"convention": "snntorch"}, "reset must be given: snntorch writes v_reset = 0 whatever the reset is"),
        ({"convention": "nir", "dt": -1.0}, "more than 0 seconds"),
        ({"convention": "nir", "dt": DT, "reset": "sofd"}, "did you mean 'soft'"),
        ({"convention": "nir", "dt": DT, "dtype": torch.int32}, "floating-point type"),
    ],
)
def test_what_a_graph_leaves_open_must_be_said(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ns.ConfigError, match=says):
        ns.from_nir(nir.NIRGraph.from_list(lif()), **arguments)


@pytest.mark.parametrize(
    ("node", "arguments", "says"),
    [
        (lambda: lif(tau=1e-4), {"convention": "euler"}, "dt must be at most the time constant, is 10 of it"),
        (lambda: lif(tau=-1.0), {"convention": "nir"}, "time constants must be finite and > 0"),
        (lambda: lif(tau=math.inf), {"convention": "nir"}, "time constants must be finite and > 0"),
        (lambda: lif(r=math.nan), {"convention": "nir"}, "r must be numbers"),
        (lambda: lif(v_leak=math.inf), {"convention": "nir"}, "LIF.v_leak: must be finite"),
        (lambda: lif(r=7.0), {"convention": "snntorch", "reset": "soft_next"}, "r must be tau/dt, so that an input counts once"),
        (lambda: lif(v_threshold=-math.inf), {"convention": "nir", "reset": "soft"}, "reset_by"),
        (
            lambda: nir.CubaLIF(*(one(3, value=0.02) for _ in range(2)), one(3), 0 * one(3), one(3), w_in=2.0),
            {"convention": "norse"},
            "w_in must be 1",
        ),
    ],
)
def test_numbers_that_do_not_fit_a_convention_are_refused(node: Any, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ns.ConversionError, match=says):
        ns.from_nir(nir.NIRGraph.from_list(node()), dt=DT, **arguments)


def test_a_graph_of_ours_knows_its_step() -> None:
    graph = ns.to_nir(ns.nn.SpikingSequential(nn.Linear(2, 2), ns.LIF(1e-2, DT, reset="hard")))
    ns.from_nir(graph, dt=DT)
    with pytest.raises(ns.ConversionError, match=r"dt must be left out or be that of the graph, 0.001, got 0.002"):
        ns.from_nir(graph, dt=2e-3)


def test_weights_of_several_types_need_one_to_be_said() -> None:
    graph = nir.NIRGraph.from_list(nir.Linear(np.eye(2)), nir.Linear(np.eye(2, dtype=np.float32)))
    with pytest.raises(ns.ConfigError, match="dtype must be given where weights have several types, got float64"):
        ns.from_nir(graph)
    assert {value.dtype for value in ns.from_nir(graph, dtype=torch.float32).parameters()} == {torch.float32}

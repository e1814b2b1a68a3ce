"""Spiking networks on sequences: what they are made of, and the configs that train them on events."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import neurosim as ns
from neurosim.losses import max_cross_entropy
from neurosim.models import spiking_sequence
from neurosim.nn import SequenceNetwork, SpikingSequential
from neurosim.norms import BatchNormOverTime
from tests.datasets.shd_files import folder

LIF: dict[str, Any] = {"kind": "lif", "tau_mem": 20e-3, "dt": 5e-3}
CUBA: dict[str, Any] = {"kind": "cuba_lif", "tau_mem": 20e-3, "tau_syn": 10e-3, "dt": 5e-3}


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """torch's own layers draw their first weights from the global generator; each test sees the same ones and leaves it alone."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        yield


def sequences(batch: int = 4, time: int = 12, units: int = 6) -> Tensor:
    return (ns.random.stream(1, "events").uniform((batch, time, units), like=torch.empty(0)) < 0.5).float() * 3


def network(sizes: list[int], *neuron: dict[str, Any], **choices: Any) -> SequenceNetwork:
    model = spiking_sequence(sizes, *neuron, **choices)
    assert isinstance(model, SequenceNetwork)
    return model


# --- the readouts ----------------------------------------------------------------------------------------------------------------------


def test_a_readout_is_what_its_name_says_of_the_outputs_over_time() -> None:
    x, body = sequences(), network([6, 8, 3], LIF).body
    y: Tensor = body(x.movedim(1, 0))
    wanted = {"max": y.amax(0), "mean": y.mean(0), "last": y[-1]}
    assert len({float(one.detach().sum()) for one in wanted.values()}) == 3
    for readout, one in wanted.items():
        model = SequenceNetwork(body, readout)  # type: ignore[arg-type]  # every name of it
        assert torch.equal(model(x), one)


def test_cross_entropy_of_the_largest_potentials_is_the_max_over_time_loss() -> None:
    x, labels = sequences(), torch.tensor([0, 2, 1, 0])
    model = network([6, 8, 3], CUBA, recurrent=True)
    torch.testing.assert_close(cross_entropy(model(x), labels), max_cross_entropy(model.run(x.movedim(1, 0))[0], labels))


def test_a_sequence_can_be_cut_in_time_without_change() -> None:
    x, model = sequences().movedim(1, 0), network([6, 8, 3], CUBA, recurrent=True)
    first, state = model.run(x[:5])
    torch.testing.assert_close(torch.cat([first, model.run(x[5:], state)[0]]), model.run(x)[0])


def test_samples_may_be_longer_or_shorter_and_their_steps_of_any_shape() -> None:
    model = network([6, 8, 3], LIF)
    for time in (1, 40):
        assert model(sequences(time=time)).shape == (4, 3)
    x = sequences()
    assert torch.equal(model(x.reshape(4, 12, 1, 2, 3)), model(x))


@pytest.mark.parametrize("shape", [(4, 6), (4, 0, 6)])
def test_samples_without_time_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ns.ConfigError, match=r"x must be \(batch, time, \*\) of at least one step, got shape"):
        network([6, 8, 3], LIF)(torch.zeros(shape))


def test_a_body_that_takes_no_time_and_an_unknown_readout_are_refused() -> None:
    with pytest.raises(ns.ConfigError, match=r"SequenceNetwork: body must have run\(x, state\) on \(time, batch, \*\).* got Linear"):
        SequenceNetwork(nn.Linear(2, 2))
    with pytest.raises(ns.ConfigError, match=r"SequenceNetwork.readout.*did you mean 'mean'\?"):
        SequenceNetwork(SpikingSequential(nn.Linear(2, 2)), "men")  # type: ignore[arg-type]  # on purpose


# --- the model -------------------------------------------------------------------------------------------------------------------------


def test_the_network_is_the_equations_of_its_layers() -> None:
    """Recurrent neurons with synapses, then a synapse and a membrane of the same time constants, step by step."""
    x, model = sequences(), network([6, 8, 3], CUBA, recurrent=True)
    weights = {name: value.detach() for name, value in model.body.named_parameters()}
    alpha, beta = (torch.exp(torch.tensor(-5e-3 / CUBA[name])) for name in ("tau_syn", "tau_mem"))
    current, v, spikes = torch.zeros(3, 4, 8).unbind(0)
    synapse, readout = torch.zeros(2, 4, 3).unbind(0)
    seen, fired = [], 0.0
    for now in x.unbind(1):
        current = alpha * current + now @ weights["fc1.weight"].T + spikes @ weights["fire1.connection.weight"].T
        v = beta * v + current
        spikes = (v >= 1).float()
        v = v - spikes
        synapse = alpha * synapse + spikes @ weights["fc2.weight"].T + weights["fc2.bias"]
        readout = beta * readout + synapse
        seen.append(readout)
        fired += float(spikes.sum())
    assert 0 < fired < 4 * 8 * 12
    torch.testing.assert_close(model(x), torch.stack(seen).amax(0))


def test_neurons_without_synapses_are_read_out_without_one() -> None:
    layers = dict(network([6, 8, 7, 3], LIF, dropout=0.2, norm="bn").body.named_children())
    assert list(layers) == ["flatten", "fc1", "norm1", "fire1", "drop1", "fc2", "norm2", "fire2", "drop2", "fc3", "readout"]
    assert isinstance(layers["norm1"], BatchNormOverTime)
    readout = layers["readout"]
    assert isinstance(readout, ns.LI)
    assert (readout.tau_mem, readout.dt) == (20e-3, 5e-3)


@pytest.mark.parametrize(
    "neuron",
    [LIF, CUBA, {**LIF, "kind": "plif"}, {**LIF, "kind": "alif", "tau_adapt": 0.1}, {**LIF, "learn": ["tau_mem"]}],
    ids=["lif", "cuba", "plif", "alif", "learned"],
)
@pytest.mark.parametrize("recurrent", [False, True])
def test_every_parameter_learns(neuron: dict[str, Any], recurrent: bool) -> None:
    model = network([6, 8, 8, 3], neuron, recurrent=recurrent, readout="mean")
    model(2 * sequences()).square().sum().backward()
    grads = {name: value.grad for name, value in model.named_parameters()}
    assert [name for name, grad in grads.items() if grad is None or not bool(grad.isfinite().all()) or not bool(grad.any())] == []


@pytest.mark.parametrize("norm", ["bn", "bn_per_step", "tdbn", "bntt", "tebn", "mpbn", "bn+mpbn"])
def test_every_norm_fits_into_it(norm: Any) -> None:
    model = network([6, 8, 3], LIF, norm=norm, time_steps=12)
    assert bool(model(sequences()).isfinite().all())


def test_neurons_with_weights_of_their_own_need_no_others() -> None:
    model = network([6, 8, 5, 3], {"kind": "rlif", "tau_mem": 20e-3, "dt": 5e-3})
    assert [one.units for one in model.modules() if isinstance(one, ns.neurons.RLIF)] == [8, 5]
    assert bool(model(sequences()).isfinite().all())


def test_first_weights_are_those_of_torch_times_a_factor() -> None:
    weights = []
    for scale in (1.0, 0.25):
        torch.manual_seed(3)
        model = network([6, 8, 3], LIF, recurrent=True, weight_scale=scale)
        weights.append([layer.weight.detach() for layer in model.modules() if isinstance(layer, nn.Linear)])
    assert [weight.shape for weight in weights[0]] == [(8, 6), (8, 8), (3, 8)]
    assert all(torch.equal(small, 0.25 * large) for large, small in zip(*weights, strict=True))


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "recurrent twice": (
        {"neuron": {"kind": "rlif", "tau_mem": 20e-3, "dt": 5e-3}, "recurrent": True},
        "recurrent: must be false for neurons that are so already, .* got rlif",
    ),
    "norms on recurrent membranes": ({"neuron": LIF, "recurrent": True, "norm": "mpbn"}, "norms on membranes, got lif and norm='mpbn'"),
    "no time constant": (
        {"neuron": {"kind": "if", "dt": 5e-3}},
        "readout_tau_mem: must be given where the neurons do not share one tau_mem",
    ),
    "no such neuron": ({"neuron": {"kind": "lfi"}}, "no neuron is named 'lfi'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_choices_that_do_not_go_together_are_refused(case: str) -> None:
    arguments, message = WRONG[case]
    with pytest.raises(ns.ConfigError, match=message):
        network([6, 8, 3], **arguments)


def test_neurons_without_a_time_constant_take_that_of_the_readout_from_the_argument() -> None:
    model = network([6, 8, 3], {"kind": "if", "dt": 5e-3}, readout_tau_mem=50e-3)
    assert model.body.get_submodule("readout").tau_mem == 50e-3


def test_it_survives_copies_and_strict_state_dicts() -> None:
    x, model = sequences(), network([6, 8, 3], CUBA, recurrent=True)
    other = network([6, 8, 3], CUBA, recurrent=True)
    other.load_state_dict(model.state_dict())
    for twin in (other, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(x), model(x))


@pytest.mark.parametrize("recurrent", [False, True])
def test_it_compiles_into_one_graph(recurrent: bool) -> None:
    x, model = sequences(), network([6, 8, 3], CUBA, recurrent=recurrent)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), model(x))


def test_it_goes_through_a_nir_graph_as_its_body() -> None:
    pytest.importorskip("nir")
    x, model = sequences().movedim(1, 0), network([6, 8, 3], CUBA, recurrent=True).double()
    back = ns.from_nir(ns.to_nir(model, input_shape=(6,), lossy=True))
    torch.testing.assert_close(back.double().run(x.double())[0], model.run(x.double())[0], rtol=1e-5, atol=1e-6)


# --- the configs -----------------------------------------------------------------------------------------------------------------------

SMALL = ["train.device=cpu", "data.pool=10", "data.time_steps=25", "data.dt=56e-3", "model.neuron.dt=56e-3", "data.batch_size=16"]
SIZES = {"shd/recurrent": "[70,32,3]", "shd/feedforward": "[70,32,32,3]"}


@pytest.mark.parametrize("config", SIZES)
def test_a_config_learns_classes_that_differ_in_the_order_of_events_only(config: str, tmp_path: Path) -> None:
    """On files with the schema of the published ones. A guesser passes 0.6 of 60 samples of three classes with probability 10⁻⁵."""
    overrides = [*SMALL, f"log.dir={tmp_path}", f"data.path={folder(tmp_path)}", f"model.sizes={SIZES[config]}"]
    run = ns.train(f"pkg:{config}.yaml", overrides=[*overrides, "train.epochs=8", "train.optimizer.lr=1e-2"])
    assert run.metrics["test_accuracy"] > 0.6
    assert run.model(torch.zeros(2, 25, 70)).shape == (2, 3)


@pytest.mark.parametrize("config", SIZES)
def test_a_config_fits_the_published_data_as_it_is(config: str) -> None:
    read = ns.load_config(f"pkg:{config}.yaml")
    arguments, neuron = read.data.arguments, read.model.arguments["neuron"]
    assert neuron["dt"] == arguments["dt"]
    assert arguments["dt"] * arguments["time_steps"] >= 1.37  # where the longest sample ends, seconds
    model = ns.training.build_model(read.model)
    assert model(torch.zeros(1, arguments["time_steps"], 700)).shape == (1, 20)

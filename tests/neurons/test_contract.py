"""What every registered neuron answers, whatever it is."""

from __future__ import annotations

import copy
import inspect
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import neurosim as ns
from neurosim.config.kinds import arguments_model
from neurosim.neurons import detach
from tests.neurons.cases import CASES, NOISE, UNITS, drive, learned_arguments, leaves

Make = Callable[[], ns.Neuron[Any]]

ALL = [pytest.param(make, id=f"{name}, {kind}") for (name, kind), make in CASES.items()]
LEARNED = [pytest.param(make, id=f"{name}, {kind}") for (name, kind), make in CASES.items() if kind == "learned"]
FUSED_AND_NOISY = [param for param in ALL if param.id in ("lif, noisy", "cuba_lif, noisy", "if, noisy", "plif, noisy")]
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def same(a: tuple[Any, ...], b: tuple[Any, ...]) -> bool:
    """Whether two states are equal bit for bit."""
    pairs = zip(leaves(a), leaves(b), strict=True)
    return type(a) is type(b) and all(torch.equal(torch.as_tensor(p), torch.as_tensor(q)) for p, q in pairs)


# --- the registry ----------------------------------------------------------------------------------------------------------------------


def test_the_registry_holds_the_neurons_and_each_has_its_cases_here() -> None:
    assert {"lif", "cuba_lif", "li", "if", "plif", "alif", "rlif", "multi_spike_lif", "izhikevich", "eif"} <= set(ns.NEURONS)
    assert {name for name, _ in CASES} == set(ns.NEURONS)
    assert {name for name, kind in CASES if kind == "learned"} == set(ns.NEURONS)


@pytest.mark.parametrize("name", list(ns.NEURONS))
def test_every_argument_is_annotated_and_described(name: str) -> None:
    fields = arguments_model(ns.NEURONS[name], name).model_fields
    assert len(fields) >= 3
    assert [field.alias for field in fields.values() if not field.description] == []
    assert [field.alias for field in fields.values() if field.annotation is Any] == []


@pytest.mark.parametrize("make", ALL)
def test_every_argument_can_be_read_back(make: Make) -> None:
    neuron = make()
    names = arguments_model(type(neuron), "neuron").model_fields.values()
    assert [field.alias for field in names if not hasattr(neuron, str(field.alias))] == []


@pytest.mark.parametrize("make", LEARNED)
def test_a_neuron_can_learn_all_its_parameters_and_no_other(make: Make) -> None:
    neuron = make()
    assert learned_arguments(neuron) == set(neuron.learn) == set(neuron.learnable)


# --- time ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.kernel
@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("make", ALL)
def test_a_sequence_can_be_cut_in_time_without_change(make: Make) -> None:
    neuron, x = make(), drive(20)
    whole, after = neuron.run(x, stream=NOISE)
    first, between = neuron.run(x[:12], stream=NOISE)
    second, end = neuron.run(x[12:], between, stream=NOISE)
    assert torch.equal(whole, torch.cat([first, second]))
    assert same(after, end)


@pytest.mark.parametrize("make", ALL)
def test_a_sequence_can_be_run_step_by_step(make: Make) -> None:
    neuron, x = make(), drive(20)
    state, steps = None, []
    for now in x:
        out, state = neuron.run(now[None], state, stream=NOISE)
        steps.append(out)
    assert torch.equal(neuron(x, stream=NOISE), torch.cat(steps))


@pytest.mark.parametrize("make", ALL)
def test_no_steps_leave_the_state_as_it_is(make: Make) -> None:
    neuron = make()
    _, state = neuron.run(drive(7), stream=NOISE)
    out, after = neuron.run(drive(0), state, stream=NOISE)
    assert out.shape == (0, 3, UNITS)
    assert same(state, after)


@pytest.mark.parametrize("make", ALL)
def test_what_comes_later_changes_nothing_before(make: Make) -> None:
    neuron, x = make(), drive(20)
    changed = x.clone()
    changed[12:] += 1
    before, after = neuron(x, stream=NOISE), neuron(changed, stream=NOISE)
    assert torch.equal(before[:12], after[:12])
    assert not torch.equal(before[12:], after[12:])


@pytest.mark.parametrize("make", ALL)
def test_nothing_is_remembered_between_calls(make: Make) -> None:
    neuron = make()
    before = pickle.dumps(neuron)
    first = neuron(drive(), stream=NOISE)
    assert torch.equal(neuron(drive(), stream=NOISE), first)
    assert pickle.dumps(neuron) == before


@pytest.mark.parametrize("make", ALL)
def test_an_input_and_a_state_are_left_as_they_are(make: Make) -> None:
    neuron, x = make(), drive()
    state = detach(neuron.run(x, stream=NOISE)[1])
    kept = copy.deepcopy(state)
    neuron.run(x, state, stream=NOISE)
    assert torch.equal(x, drive())
    assert same(state, kept)


# --- shapes and types ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(20, 3, UNITS), (20, 3, 2, UNITS), (4, 2, 3, 2, UNITS), (20, 0, UNITS), (1, 1, UNITS)])
@pytest.mark.parametrize("make", ALL)
def test_results_have_the_shape_of_the_input_and_states_that_of_a_step(make: Make, shape: tuple[int, ...]) -> None:
    out, state = make().run(drive(*shape), stream=NOISE)
    assert out.shape == shape
    assert {value.shape for value in leaves(state) if isinstance(value, Tensor)} == {shape[1:]}


@pytest.mark.parametrize("make", [param for param in ALL if "noisy" not in str(param.id)])
def test_samples_of_a_batch_do_not_see_each_other(make: Make) -> None:
    neuron, x = make(), drive()
    assert torch.equal(neuron(x)[:, 1:2], neuron(x[:, 1:2]))


@pytest.mark.kernel
@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("make", ALL)
def test_the_result_has_the_type_of_the_input_and_the_state_at_least_32_bits(make: Make, dtype: torch.dtype) -> None:
    out, state = make().run(drive().to(dtype), stream=NOISE)
    assert out.dtype == dtype
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert {value.dtype for value in leaves(state) if isinstance(value, Tensor)} == {wide}


@pytest.mark.parametrize("make", ALL)
def test_autocast_changes_the_type_of_the_result_only(make: Make) -> None:
    neuron, weights = make(), torch.eye(UNITS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        current = drive() @ weights
        out, state = neuron.run(current, stream=NOISE)
    assert current.dtype == torch.bfloat16
    expected, after = neuron.run(drive().bfloat16(), stream=NOISE)
    assert torch.equal(out, expected)
    assert same(state, after)


@pytest.mark.parametrize("make", LEARNED)
def test_half_leaves_the_parameters_as_precise_as_they_are(make: Make) -> None:
    neuron, halved = make(), make().half()
    assert {value.dtype for value in halved.parameters()} == {torch.float32}
    assert all(torch.equal(a, b) for a, b in zip(neuron.parameters(), halved.parameters(), strict=True))
    assert {value.dtype for value in halved.double().parameters()} == {torch.float64}


@pytest.mark.parametrize("make", ALL)
def test_memory_order_does_not_matter(make: Make) -> None:
    neuron, x = make(), drive()
    elsewhere = x.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    assert elsewhere.stride() != x.stride()
    assert torch.equal(neuron(elsewhere, stream=NOISE), neuron(x, stream=NOISE))


# --- life as a module ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", ALL)
def test_copies_and_pickles_compute_the_same(make: Make) -> None:
    neuron = make()
    expected = neuron(drive(), stream=NOISE)
    for twin in (copy.deepcopy(neuron), pickle.loads(pickle.dumps(neuron))):
        assert torch.equal(twin(drive(), stream=NOISE), expected)
        assert str(twin) == str(neuron)


@pytest.mark.parametrize("make", ALL)
def test_a_state_dict_carries_everything_that_is_a_tensor(make: Make) -> None:
    neuron, twin = make(), make()
    with torch.no_grad():
        for value in (*neuron.parameters(), *neuron.buffers()):
            value.mul_(1.1)
    file = io.BytesIO()
    torch.save(neuron.state_dict(), file)
    file.seek(0)
    twin.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(twin(drive(), stream=NOISE), neuron(drive(), stream=NOISE))


@pytest.mark.parametrize("make", ALL)
def test_what_is_printed_names_the_class_and_what_was_chosen(make: Make) -> None:
    neuron = make()
    text = str(neuron)
    usual = inspect.signature(type(neuron)).parameters["learn"].default
    assert text.startswith(f"{type(neuron).__name__}(")
    assert "dt=0.001" in text
    assert ("learn=" in text) == (tuple(neuron.learn) != tuple(usual))
    assert ("\n" in text) == any(True for _ in neuron.children())


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's tracer does it itself
@pytest.mark.parametrize("make", [param for param in ALL if "learned" in str(param.id) or param in FUSED_AND_NOISY])
def test_compiled_without_a_break_it_computes_the_same(make: Make) -> None:
    neuron, x = make(), 3 * drive(2)  # tracing takes long for neurons that run step by step
    torch.compiler.reset()
    compiled = torch.compile(neuron.run, fullgraph=True, backend="aot_eager")
    out, state = compiled(x, stream=NOISE)
    expected, after = neuron.run(x, stream=NOISE)
    assert torch.equal(out, expected)
    assert same(state, after)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's tracer does it itself
@pytest.mark.parametrize("make", [param for param in ALL if "plain" in str(param.id) or param in FUSED_AND_NOISY])
def test_a_compiled_stream_is_compiled_a_few_times_at_most(make: Make) -> None:
    neuron, x = make(), drive(24)
    torch.compiler.reset()
    counted: list[object] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        counted.append(graph)
        return graph.forward

    compiled = torch.compile(neuron.run, fullgraph=True, backend=backend)
    state, parts = None, []
    for chunk in x.split(2):
        out, after = compiled(chunk, state, stream=NOISE)
        state = detach(after)
        parts.append(out)
    assert torch.equal(torch.cat(parts), neuron(x, stream=NOISE))
    assert len(counted) <= 3  # from rest, after some steps, after any number of steps


@pytest.mark.parametrize("make", LEARNED)
def test_chips_can_be_mapped_over(make: Make) -> None:
    neuron, x = make(), drive()
    spread = torch.tensor([0.8, 1.0, 1.2])
    chips = {name: torch.stack([value.detach() * one for one in spread]) for name, value in neuron.named_parameters()}
    mapped = torch.func.vmap(lambda chip: torch.func.functional_call(neuron, chip, (x,)))(chips)
    for index in range(len(spread)):
        alone = torch.func.functional_call(neuron, {name: value[index] for name, value in chips.items()}, (x,))
        assert torch.equal(mapped[index], alone)


# --- gradients -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.kernel
@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("make", LEARNED)
def test_gradients_reach_every_learned_parameter_and_the_input(make: Make) -> None:
    for reset in ("soft", "hard"):
        neuron, x = make(), drive(40).requires_grad_()
        if hasattr(neuron, "reset"):
            getattr(neuron, "neuron", neuron).reset = reset
        out, state = neuron.run(x)
        (out.square().sum() + state.v.square().sum()).backward()
        given = {name: value.grad for name, value in (*neuron.named_parameters(), ("x", x)) if value.grad is not None}
        unused = {"hard": "reset_by", "soft": "v_reset"}[reset] if hasattr(neuron, "reset") else ""
        assert {name for name, grad in given.items() if not grad.isfinite().all()} == set()
        reached = {name for name, grad in given.items() if grad.abs().max() > 0}
        assert reached == {*(name for name, _ in neuron.named_parameters()), "x"} - {unused, f"neuron.{unused}"}


@pytest.mark.parametrize("make", LEARNED)
def test_gradients_go_back_through_a_state_that_is_handed_over(make: Make) -> None:
    found = []
    for cut in (0, 12):
        neuron, x = make().double(), drive(20, dtype=torch.float64).requires_grad_()
        first, state = neuron.run(x[:cut])
        second, _ = neuron.run(x[cut:], state)
        (torch.cat([first, second]) * torch.arange(20)[:, None, None]).sum().backward()
        found.append([x.grad, *(value.grad for value in neuron.parameters())])
    for whole, parts in zip(*found, strict=True):
        torch.testing.assert_close(whole, parts, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("make", LEARNED)
def test_a_detached_state_ends_the_graph(make: Make) -> None:
    neuron, x = make(), drive().requires_grad_()
    _, state = neuron.run(x)
    cut = detach(state)
    assert type(cut) is type(state)
    assert same(cut, state)
    neuron.run(drive(), cut)[0].sum().backward()
    assert x.grad is None


@pytest.mark.parametrize("make", [param for param in LEARNED if "if," not in str(param.id).split() and "izhikevich," not in str(param.id)])
def test_large_steps_of_an_optimizer_leave_time_constants_positive_and_decays_between_0_and_1(make: Make) -> None:
    neuron = make()
    for direction in (1.0, -1.0):
        twin = copy.deepcopy(neuron)
        optimizer = torch.optim.SGD(twin.parameters(), lr=3.0)
        for name, value in twin.named_parameters():
            value.grad = torch.full_like(value, direction if name.rpartition(".")[2].startswith(("log_", "w")) else 0.0)
        optimizer.step()
        times = [name for name in ("tau_mem", "tau_syn", "tau_adapt") if hasattr(twin, name)]
        assert times
        for name in times:
            tau = torch.as_tensor(getattr(twin, name))
            decay = torch.exp(-twin.dt / tau)
            assert bool((tau > 0).all())
            assert bool(((decay > 0) & (decay < 1)).all())
        assert twin(drive()).isfinite().all()


# --- other devices ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", ALL)
def test_it_moves_with_everything_it_owns(make: Make) -> None:
    out, state = make().to("meta").run(drive().to("meta"), stream=NOISE)
    assert {value.device.type for value in (out, *leaves(state)) if isinstance(value, Tensor)} == {"meta"}
    assert out.shape == drive().shape


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; the suite runs on the CPU everywhere else")
@pytest.mark.kernel
@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("make", ALL)
def test_a_gpu_gives_what_the_cpu_gives(make: Make) -> None:
    """Spikes bit for bit, but for noise, which may differ by rounding; potentials and gradients to rounding."""
    found = []
    for device in ("cpu", "cuda"):
        neuron, x = make().to(device), drive().to(device).requires_grad_()
        out, state = neuron.run(x, stream=NOISE)
        (out.square().sum() + state.v.sum()).backward()
        found.append((neuron, out.cpu(), [value.grad.cpu() for value in (x, *neuron.parameters()) if value.grad is not None]))
    (neuron, here, gradients), (_, there, others) = found
    if getattr(neuron, "membrane_noise", 0):
        assert (here == there).float().mean() > 0.99
    else:
        rounding = 1e-5 if isinstance(neuron, ns.LI) else 0.0
        torch.testing.assert_close(here, there, rtol=rounding, atol=rounding)
        for a, b in zip(gradients, others, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)

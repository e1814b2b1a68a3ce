"""What every registered loss and regularizer answers, whatever it is."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim import losses
from neurosim.config.kinds import arguments_model, check_arguments
from neurosim.errors import ConfigError
from tests.losses.cases import BATCH, CLASSES, LOSS_CASES, REGULARIZER_CASES, STEPS, potentials, some_labels, spikes

LOSSES = [pytest.param(*case, id=", ".join(case)) for case in LOSS_CASES]
REGULARIZERS = [pytest.param(*case, id=", ".join(case)) for case in REGULARIZER_CASES]
ENTRIES: list[tuple[ns.Registry[Any], str]] = [(ns.LOSSES, name) for name in ns.LOSSES] + [
    (ns.REGULARIZERS, name) for name in ns.REGULARIZERS
]


def loss_of(name: str, kind: str, reduction: losses.Reduction = "mean") -> losses.Loss:
    return LOSS_CASES[name, kind](reduction)


def labels_for(kind: str) -> Tensor:
    return some_labels(2 if kind == "groups" else CLASSES)


def value_and_gradient(module: nn.Module, x: Tensor, *targets: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    value = module(x, *targets)
    (grad,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), grad


def test_the_registries_hold_the_entries_and_each_has_its_cases_here() -> None:
    assert len(ns.LOSSES) >= 9
    assert {name for name, _ in LOSS_CASES} == set(ns.LOSSES)
    assert len(ns.REGULARIZERS) >= 3
    assert {name for name, _ in REGULARIZER_CASES} == set(ns.REGULARIZERS)


@pytest.mark.parametrize(("registry", "name"), ENTRIES)
def test_every_argument_is_annotated_described_and_can_be_read_back(registry: ns.Registry[Any], name: str) -> None:
    fields = arguments_model(registry[name], name).model_fields.values()
    module = loss_of(name, "plain") if registry is ns.LOSSES else REGULARIZER_CASES[name, "plain"]()
    assert fields
    assert [field.alias for field in fields if not field.description or field.annotation is Any] == []
    assert [field.alias for field in fields if not hasattr(module, str(field.alias))] == []


def test_a_config_can_name_a_loss_and_is_told_what_does_not_hold() -> None:
    registry: Any = ns.LOSSES
    given = check_arguments(registry, "first_spike_cross_entropy", {"tau": 2, "class_weights": [1, 2]}, ())
    assert losses.FirstSpikeCrossEntropy(**given).tau == 2
    for wrong in ({"tau": 0}, {"gradient": "flop"}, {"label_smoothing": 1.0}, {"taus": 1}):
        with pytest.raises(ValueError, match="validation error"):
            check_arguments(registry, "first_spike_cross_entropy", wrong, ())


# --- losses ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "kind"), LOSSES)
def test_reductions_are_those_of_the_losses_of_the_samples(name: str, kind: str) -> None:
    x, y = spikes(), labels_for(kind)
    each = loss_of(name, kind, "none")(x, y)
    assert each.shape == (BATCH,)
    torch.testing.assert_close(loss_of(name, kind, "sum")(x, y), each.sum())
    weight = torch.tensor([1.0, 2.0, 0.5, 3.0])[y].sum() if kind == "weighted" else BATCH
    torch.testing.assert_close(loss_of(name, kind)(x, y), each.sum() / weight)


@pytest.mark.parametrize(("name", "kind"), LOSSES)
def test_samples_of_a_batch_do_not_see_each_other(name: str, kind: str) -> None:
    x, y = spikes(), labels_for(kind)
    loss = loss_of(name, kind, "none")
    torch.testing.assert_close(loss(x[:, 2:4], y[2:4]), loss(x, y)[2:4])


@pytest.mark.parametrize(("name", "kind"), LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_losses_have_at_least_32_bits_and_gradients_the_type_of_the_output(name: str, kind: str, dtype: torch.dtype) -> None:
    value, grad = value_and_gradient(loss_of(name, kind), spikes(dtype=dtype), labels_for(kind))
    exact, exact_grad = value_and_gradient(loss_of(name, kind), spikes(dtype=torch.float64), labels_for(kind))
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert value.shape == ()
    assert grad.dtype == dtype
    torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(grad.double(), exact_grad, rtol=2 * torch.finfo(dtype).eps, atol=1e-6)
    assert grad.abs().sum() > 0


@pytest.mark.parametrize(("name", "kind"), LOSSES)
def test_a_loss_leaves_output_and_targets_as_they_are(name: str, kind: str) -> None:
    x, y = spikes(), labels_for(kind)
    kept = x.clone(), y.clone()
    loss_of(name, kind)(x, y)
    assert torch.equal(x, kept[0])
    assert torch.equal(y, kept[1])


@pytest.mark.parametrize(("name", "kind"), LOSSES)
def test_compiled_without_a_break_it_gives_the_same(name: str, kind: str) -> None:
    loss, y = loss_of(name, kind), labels_for(kind)
    torch.compiler.reset()
    compiled: Any = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for got, expected in zip(value_and_gradient(compiled, spikes(), y), value_and_gradient(loss, spikes(), y), strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize(("name", "kind"), LOSSES)
def test_wrong_outputs_and_targets_are_refused_in_our_words(name: str, kind: str) -> None:
    loss: Any = loss_of(name, kind)
    x, y = spikes(), labels_for(kind)
    classes = 2 if kind == "groups" else CLASSES
    for output, message in (
        ([1.0], "must be a tensor, got list"),
        (x[0], r"must be \(time, batch, (classes|units)\), got shape \(6, 4\)"),
        (x[..., None], r"must be \(time, batch, (classes|units)\), got shape \(9, 6, 4, 1\)"),
        (x.long(), r"must be floating point, got torch\.int64; spikes as numbers are x\.float\(\)"),
        (x[:0], r"must have one step or more, got shape \(0, 6, 4\)"),
    ):
        with pytest.raises(ConfigError, match=rf"^{name}: (output|spikes|v): {message}"):
            loss(output, y)
    for targets, message in (
        ([1], "targets must be a tensor, got list"),
        (y.to("meta"), "targets must be on the device of the output, cpu, got meta"),
        (y[:-1], r"targets must be labels, int64 of shape \(6,\), got torch\.int64 of shape \(5,\)"),
        (y.int(), r"targets must be labels, int64 of shape \(6,\), got torch\.int32 of shape \(6,\)"),
        (y + 1, rf"targets must be classes from 0 to {classes - 1}, got {classes}"),
        (y - 1, rf"targets must be classes from 0 to {classes - 1}, got -1"),
    ):
        with pytest.raises(ConfigError, match=rf"^{name}: {message}"):
            loss(x, targets)


@pytest.mark.parametrize("name", [name for name in ns.LOSSES if name not in ("count_mse", "first_spike_margin")])
def test_targets_that_are_numbers_have_the_shape_of_a_step(name: str) -> None:
    loss = loss_of(name, "plain")
    target = torch.full((BATCH, CLASSES), 1 / CLASSES)
    assert loss(spikes(), target).isfinite()
    with pytest.raises(ConfigError, match=rf"^{name}: (probabilities|potentials|times) must have the shape \(6, 4\).*, got \(6, 3\)$"):
        loss(spikes(), target[:, :3])


# --- regularizers ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "kind"), REGULARIZERS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_penalties_have_at_least_32_bits_and_gradients_the_type_of_the_activity(name: str, kind: str, dtype: torch.dtype) -> None:
    x = spikes(2, 3, dtype=dtype)
    value, grad = value_and_gradient(REGULARIZER_CASES[name, kind](), x)
    exact, exact_grad = value_and_gradient(REGULARIZER_CASES[name, kind](), x.double())
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert value.shape == ()
    assert value > 0
    torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(grad.double(), exact_grad, rtol=2 * torch.finfo(dtype).eps, atol=1e-6)


@pytest.mark.parametrize(("name", "kind"), REGULARIZERS)
def test_penalties_of_smooth_points_have_the_gradients_of_finite_differences(name: str, kind: str) -> None:
    x = potentials(5).requires_grad_()
    assert torch.autograd.gradcheck(REGULARIZER_CASES[name, kind](), x)


@pytest.mark.parametrize(("name", "kind"), REGULARIZERS)
def test_strength_multiplies_the_penalty(name: str, kind: str) -> None:
    weak = REGULARIZER_CASES[name, kind]()
    strong = copy.deepcopy(weak)
    strong.strength = 3 * weak.strength
    torch.testing.assert_close(strong(spikes(7)), 3 * weak(spikes(7)))


@pytest.mark.parametrize(("name", "kind"), REGULARIZERS)
def test_compiled_without_a_break_a_penalty_is_the_same(name: str, kind: str) -> None:
    regularizer = REGULARIZER_CASES[name, kind]()
    torch.compiler.reset()
    compiled = torch.compile(regularizer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled([spikes(7), spikes(2, 3)]), regularizer([spikes(7), spikes(2, 3)]))


@pytest.mark.parametrize(("name", "kind"), REGULARIZERS)
def test_wrong_activity_is_refused_in_our_words(name: str, kind: str) -> None:
    regularizer: Any = REGULARIZER_CASES[name, kind]()
    for activity, message in (
        (None, "must be a tensor or a sequence of tensors, one per layer, got None"),
        ([], r"must be a tensor or a sequence of tensors, one per layer, got \[\]"),
        (spikes()[0], r"must be \(time, batch, \*units\), got shape \(6, 4\)"),
        ([spikes(), spikes().bool()], r"must be floating point, got torch\.bool"),
    ):
        with pytest.raises(ConfigError, match=rf"^{name}: (spikes|v): {message}"):
            regularizer(activity)


# --- both ------------------------------------------------------------------------------------------------------------------------------

MODULES: list[Any] = [
    *[pytest.param(LOSS_CASES[case]("mean"), (labels_for(case[1]),), id=", ".join(case)) for case in LOSS_CASES],
    *[pytest.param(REGULARIZER_CASES[case](), (), id=", ".join(case)) for case in REGULARIZER_CASES],
]


@pytest.mark.parametrize(("module", "targets"), MODULES)
def test_copies_and_pickles_give_the_same(module: nn.Module, targets: tuple[Tensor, ...]) -> None:
    saved = io.BytesIO()
    torch.save(module, saved)
    saved.seek(0)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module)), torch.load(saved, weights_only=False)):
        assert torch.equal(other(spikes(), *targets), module(spikes(), *targets))
    assert module.state_dict() == {}


@pytest.mark.parametrize(("module", "targets"), MODULES)
def test_under_autocast_it_still_computes_in_32_bits(module: nn.Module, targets: tuple[Tensor, ...]) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = module(spikes(dtype=torch.bfloat16), *targets)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, module(spikes(), *targets))


@pytest.mark.parametrize(("module", "targets"), MODULES)
def test_what_is_printed_makes_the_same(module: nn.Module, targets: tuple[Tensor, ...]) -> None:
    again = eval(repr(module), {type(module).__name__: type(module)})
    assert torch.equal(again(spikes(), *targets), module(spikes(), *targets))


def test_a_loss_of_ones_own_is_used_like_the_others() -> None:
    class Mine(losses.Loss):
        def forward(self, output: Tensor, targets: Tensor) -> Tensor:
            return output.sum() + targets.sum()

    assert Mine()(torch.ones(STEPS, 1, 1), torch.ones(1)) == STEPS + 1
    with pytest.raises(ConfigError, match=r"Mine\.reduction: must be one of 'mean', 'sum', 'none', got 'avg'"):
        Mine("avg")  # type: ignore[arg-type]  # a wrong word is the point

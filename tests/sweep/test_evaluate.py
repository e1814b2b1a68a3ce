import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.errors import ConfigError, DataError
from neurosim.sweep.evaluate import FORWARDS_A_READ, evaluate_baseline, evaluate_task, metric_facts
from neurosim.sweep.plan import Task
from neurosim.sweep.results import FAILED, NON_FINITE, OK, TrialRow
from neurosim.training.metrics import METRICS
from tests.sweep import tiny

TASK = Task(3, {}, "all", "", -1, 17, 0)


def state(model: nn.Module) -> list[Any]:
    """Everything of a model that an evaluation could leave changed."""
    found: list[Any] = [module.training for module in model.modules()]
    for layer in ns.analog_layers(model).values():
        chain = layer.chain
        found += [
            chain,
            chain.spec,
            chain.seed,
            dict(chain.modes),
            int(chain.draw),
            int(chain.held),
            chain.calls,
            chain.strength,
            chain.advances,
        ]
        found += [(name, buffer.tolist()) for name, buffer in chain.named_buffers()]
    return found


DATA = tiny.data()


def run(task: Task = TASK, model: nn.Module | None = None, metric: Any = "accuracy") -> TrialRow:
    row = evaluate_task(tiny.model() if model is None else model, DATA, task, metric)
    return row._replace(wall_s=0.0)


def mean_output(outputs: Tensor, targets: Tensor) -> float:
    return float(outputs.double().mean())


def explode(outputs: Tensor, targets: Tensor) -> float:
    raise ZeroDivisionError("a deep problem")


def test_a_row_says_what_it_is_of_and_counts_hits() -> None:
    row = run()
    assert row[:5] == (3, "all", -1, 17, 0)
    assert (row.status, row.error, row.n_total) == (OK, "", 20)
    assert row.value == row.n_correct / 20
    assert np.unpackbits(np.frombuffer(row.bits, np.uint8), count=20).sum() == row.n_correct


def test_the_same_task_gives_the_same_row_on_a_model_that_was_used_in_between() -> None:
    model = tiny.model()
    first = run(model=model)
    model(DATA[0][0])
    ns.program(model, 99)
    ns.set_draw(model, 12345)
    run(TASK._replace(chip=4, changes={"*.noise.leakage": 0.1}), model)
    assert run(model=model) == first


def test_the_row_is_that_of_the_chip_evaluated_by_hand() -> None:
    model = tiny.model()
    ns.program(model, 23)
    ns.override(model, {"*.noise.leakage": 0.3})
    ns.set_draw(model, FORWARDS_A_READ)
    with torch.no_grad():
        outputs = torch.cat([model(x) for x, _ in DATA])
    row = run(TASK._replace(chip=23, read=1, changes={"*.noise.leakage": 0.3}), metric=mean_output)
    assert row.value == mean_output(outputs, outputs)


@pytest.mark.parametrize("metric", ["accuracy", explode])
def test_the_model_is_left_as_it_was_also_after_an_error(metric: Any) -> None:
    model = tiny.model().train()
    model[1].eval()
    ns.override(model, {"weight.noise.scope": "device"}, layers="0")
    ns.set_noise_strength(model, 0.25)
    ns.redraw(model, "manual")
    ns.set_draw(model, 7)
    with ns.noise("off", model, layers="2"):
        before = state(model)
        run(TASK._replace(scope="each", layer="0", position=0, changes={"*.noise.leakage": 0.1}), model, metric)
        assert state(model) == before


def test_leftover_training_settings_do_not_change_what_is_measured() -> None:
    model = tiny.model().train()
    ns.set_noise_strength(model, 0.0)
    ns.redraw(model, "manual")
    with ns.noise("ideal", model):
        assert run(model=model) == run()


def test_gradients_are_not_recorded_and_the_global_generator_is_not_used() -> None:
    seen: list[bool] = []

    def look(outputs: Tensor, targets: Tensor) -> float:
        seen.append(outputs.requires_grad)
        return 0.0

    model = tiny.model()
    before = torch.get_rng_state()
    run(model=model, metric=look)
    assert seen == [False]
    assert torch.equal(torch.get_rng_state(), before)


def test_chips_and_reads_differ() -> None:
    rows = [run(TASK._replace(chip=chip, read=read), metric=mean_output).value for chip in (1, 2) for read in (0, 1)]
    assert len(set(rows)) == 4


def test_points_share_the_random_numbers_of_a_chip() -> None:
    """Noise of σ and of σ/10 on the outputs alone: with common random numbers, the deviations are in the ratio 10."""
    model, still = tiny.model(), {f"{slot}.noise": None for slot in ("input", "weight", "bias")}
    still |= {
        f"{path}.{slot}": None for path, slot in (("output", "normalize"), ("output", "adc"), ("input", "dac"), ("weight", "quantize"))
    }
    values = []
    for scale in (0.0, 0.001, 0.01):
        noise = {"kind": "noise", "distribution": "gaussian", "scale": scale, "scope": "read"}
        values.append(
            run(TASK._replace(changes=still | {"output.noise": noise}, scope="each", layer="2", position=1), model, mean_output).value
        )
    assert values[2] - values[0] == pytest.approx(10 * (values[1] - values[0]), rel=1e-3)
    assert values[1] != values[0]


def by_hand(noisy: list[str]) -> float:
    """The mean output with only these layers on hardware."""
    model = tiny.model()
    ns.set_draw(model, 0)
    with torch.no_grad(), ns.noise("ideal", model):
        for path in noisy:
            ns.analog_layers(model)[path].chain.modes = dict.fromkeys(ns.analog_layers(model)[path].chain.slots, "fresh")
        outputs = torch.cat([model(x) for x, _ in DATA])
    return mean_output(outputs, outputs)


@pytest.mark.parametrize(("scope", "noisy"), [("each", ["2"]), ("all_but_one", ["0"]), ("all", ["0", "2"])])
def test_a_scope_puts_the_right_layers_on_hardware(scope: Any, noisy: list[str]) -> None:
    layer, position = ("", -1) if scope == "all" else ("2", 1)
    assert run(TASK._replace(scope=scope, layer=layer, position=position), metric=mean_output).value == by_hand(noisy)


def test_a_layer_whose_name_looks_like_a_pattern_is_found_by_its_name() -> None:
    class Odd(nn.ModuleDict):
        def forward(self, x: Tensor) -> Any:
            return self["a[0]*"](x)

    odd = ns.to_analog(Odd({"a[0]*": nn.Linear(2, 2), "a0": nn.Linear(2, 2)}), "photonic_avnn", seed=0)
    row = evaluate_task(
        odd, [(torch.ones(1, 2), torch.zeros(1, dtype=torch.int64))], TASK._replace(scope="each", layer="a[0]*", position=0), "accuracy"
    )
    assert row.status == OK


def test_the_baseline_is_the_digital_model() -> None:
    outputs = torch.cat([ns.to_digital(tiny.model())(x) for x, _ in DATA]).detach()
    targets = torch.cat([y for _, y in DATA])
    found = evaluate_baseline(tiny.model(), DATA, "accuracy")
    assert (found.n_correct, found.n_total, found.value) == (16, 20, 0.8)  # every fifth target is wrong
    assert np.array_equal(np.unpackbits(found.bits, count=20), (outputs.argmax(1) == targets).numpy())
    assert found.loss == pytest.approx(float(nn.functional.cross_entropy(outputs, targets)), rel=1e-6)


class Brittle(nn.Module):
    """Answers NaN or raises when its inner layer is on hardware."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.inner, self.how = tiny.model()[0], how

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(x)
        if ns.analog_layers(self)["inner"].chain.bypassed:
            return y
        if self.how == "raise":
            raise RuntimeError("it broke\non two lines")
        return y * torch.tensor(math.nan)


def test_outputs_that_are_not_finite_give_status_2_and_no_value() -> None:
    row = run(model=Brittle("nan"))
    assert (row.status, row.error) == (NON_FINITE, "an output was not finite")
    assert math.isnan(row.value)


def test_a_model_that_raises_gives_status_1_and_the_text() -> None:
    row = run(model=Brittle("raise"))
    assert (row.status, row.error) == (FAILED, "RuntimeError: it broke\non two lines")
    assert math.isnan(row.value)


def test_what_no_chip_can_change_is_raised() -> None:
    with pytest.raises(ConfigError, match="names no parameter"):
        run(TASK._replace(changes={"nothing.here": 1}))
    with pytest.raises(DataError, match="outputs of the digital model must be finite"):
        evaluate_baseline(nn.Sequential(tiny.model(), nn.Threshold(1e9, math.nan)), DATA, "accuracy")


def hits(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs.argmax(1) == targets


def margins(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs.gather(1, targets[:, None])[:, 0]


def test_a_function_that_gives_bools_gives_hits() -> None:
    assert run(metric=hits) == run()


def test_a_function_that_gives_one_number_a_sample_is_averaged() -> None:
    row = run(metric=margins)
    assert row.bits == b""
    assert -1 <= row.value <= 1


def test_a_metric_object_is_used_as_its_name_would_be() -> None:
    assert run(metric=METRICS["loss"]) == run(metric="loss")
    assert run(metric="loss").value == pytest.approx(run().loss, rel=1e-6)


def test_a_metric_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"must give one number, or one for each of 20 samples, got a tensor of shape \(20, 3\)"):
        run(metric=lambda outputs, targets: outputs)


def test_a_model_that_returns_no_tensor_is_refused() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = tiny.model()

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, x

    with pytest.raises(ConfigError, match="the model must return one tensor, got tuple"):
        evaluate_baseline(Pair(), DATA, "accuracy")


def test_without_class_labels_there_is_no_cross_entropy() -> None:
    batches = [(x, torch.zeros(len(x), 3)) for x, _ in DATA]
    row = evaluate_task(tiny.model(), batches, TASK, lambda outputs, targets: float((outputs - targets).square().mean()))
    assert row.status == OK
    assert math.isnan(row.loss)


def test_a_metric_says_whether_more_is_better() -> None:
    def error(outputs: Tensor, targets: Tensor) -> float:
        return 0.0

    assert metric_facts(error) == ("error", True)
    vars(error)["higher_is_better"] = False
    assert metric_facts(error) == ("error", False)
    assert metric_facts("loss") == ("loss", False)
    with pytest.raises(ConfigError, match="did you mean 'accuracy'"):
        metric_facts("acuracy")


def test_a_copy_of_the_model_gives_the_same_row() -> None:
    model = tiny.model()
    assert run(model=copy.deepcopy(model)) == run(model=model)


@pytest.mark.parametrize("answer", [None, "0.5", np.zeros(20), torch.tensor(1j)])
def test_a_metric_that_gives_no_number_is_refused(answer: Any) -> None:
    with pytest.raises(ConfigError, match="metric: must give one number, or one for each of 20 samples, got"):
        evaluate_baseline(tiny.model(), tiny.data(), lambda outputs, targets: answer)

"""Spiking networks that draw at random, by their encoder and their neurons, through training, resuming, evaluation and studies."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import neurosim as ns
from neurosim.datasets import batches
from neurosim.sweep.evaluate import FORWARDS_A_READ, as_chip, as_digital, evaluate_baseline, evaluate_task
from neurosim.sweep.plan import Task
from neurosim.training.checkpoint import digest, load_checkpoint
from neurosim.training.loop import Loop
from neurosim.training.noise import EVALUATION_DRAW
from tests.training.crashes import crash

Make = Callable[..., dict[str, Any]]
MODEL: dict[str, Any] = {
    "kind": "spiking_mlp",
    "sizes": [64, 12, 10],
    "time_steps": 3,
    "encoder": {"kind": "rate"},
    "neuron": {"kind": "lif", "tau_mem": 2e-3, "dt": 1e-3, "membrane_noise": 0.2},
}
STEPS_PER_EPOCH = 8


@pytest.fixture
def config(make_digital: Make) -> dict[str, Any]:
    found = make_digital(model=None, train={"checkpoint": {"every_steps": 3}})
    return {**found, "model": MODEL}


def end_state(folder: Path) -> dict[str, Any]:
    """Everything the last checkpoint holds, wall-clock time apart."""
    content = load_checkpoint(sorted((folder / "checkpoints").glob("step-*.pt"))[-1])
    content["state"].pop("seconds")
    return content


def test_a_run_that_died_in_an_epoch_goes_on_to_the_last_bit(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed = ns.train(config)
    assert end_state(undisturbed.path)["draws"] == {"clock": 2 * STEPS_PER_EPOCH}  # one a step; validations left it alone
    folder = crash(config, STEPS_PER_EPOCH + 4, monkeypatch)
    resumed = ns.train(resume=folder)
    assert resumed.metrics == undisturbed.metrics
    assert digest(end_state(resumed.path)) == digest(end_state(undisturbed.path))


def test_the_seed_of_the_run_is_that_of_its_draws(config: dict[str, Any]) -> None:
    def first_loss(**changes: Any) -> float:
        seen: list[float] = []

        class Enough(Exception):
            pass

        def seeing(loop: Loop, loss: Tensor, *_: Tensor) -> None:
            seen.append(float(loss.detach()))
            for module in loop.model.modules():
                if isinstance(module, ns.nn.Clock):
                    assert module.seed == loop.config.seed
            raise Enough

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Loop, "update", seeing)
            with pytest.raises(Enough):
                ns.train({**config, **changes})
        return seen[0]

    assert first_loss() == first_loss()
    assert first_loss() != first_loss(seed=6)


def test_a_trained_model_is_evaluated_with_the_same_draws_by_everybody_who_loads_it(config: dict[str, Any]) -> None:
    run = ns.train({**config, "train": {**config["train"], "epochs": 1}})
    test = list(batches(ns.load_dataset("digits").test, batch_size=150))
    model, other = ns.load(run.path), ns.load(run.path)
    assert ns.get_draws(model) == {"clock": 0}
    first = ns.evaluate(model, test, "loss")
    assert ns.evaluate(other, test, "loss") == first == run.metrics["test_loss"]
    assert ns.evaluate(model, test, "loss") != first  # another reading
    ns.set_draw(model, 0)
    assert ns.evaluate(model, test, "loss") == first


def test_every_validation_draws_the_same_and_leaves_the_training_alone(make_digital: Make) -> None:
    model = ns.training.build_model(ns.load_config({**make_digital(model=None), "model": MODEL}).model, seed=5)
    x = torch.rand(4, 64, generator=torch.Generator().manual_seed(0))
    plan = ns.training.noise.NoisePlan(model)
    first = model(x)
    validations = []
    for _ in range(2):
        with plan.evaluation():
            validations.append(model(x))
            assert ns.get_draws(model) == {"clock": EVALUATION_DRAW + 1}
    second = model(x)
    assert torch.equal(*validations)
    ns.set_draw(model, 0)
    assert torch.equal(model(x), first)
    assert torch.equal(model(x), second)
    assert not plan.active  # there is no hardware, hence no strength to log


# --- studies of chips --------------------------------------------------------------------------------------------------------------------

X = ns.random.stream(1, "inputs").uniform((12, 64), like=torch.empty(0))
DATA = [(X[:8], torch.arange(8) % 10), (X[8:], torch.arange(4))]
TASK = Task(0, {}, "all", "", -1, 17, 1)


def chip() -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ns.MODELS["spiking_mlp"](**{name: value for name, value in MODEL.items() if name != "kind"})
    ns.nn.give_clocks(model, 5)
    return ns.to_analog(model, "photonic_avnn", seed=0)


def sum_of_outputs(outputs: Tensor, _targets: Tensor) -> float:
    return float(outputs.double().sum())


def measured(model: torch.nn.Module, task: Task = TASK) -> float:
    row = evaluate_task(model, DATA, task, sum_of_outputs)
    assert not row.error
    return row.value


def test_a_trial_is_the_same_whatever_the_model_was_used_for_and_leaves_it_alone() -> None:
    model = chip()
    found = measured(model)
    ns.set_draw(model, 123)
    ns.redraw(model, "manual")
    clock, draws = model.get_submodule("clock"), ns.get_draws(model)
    assert measured(model) == found
    assert model.get_submodule("clock") is clock
    assert ns.get_draws(model) == draws
    assert isinstance(clock, ns.nn.Clock)
    assert (clock.seed, clock.advances) == (5, False)


def test_a_trial_is_that_of_the_chip_and_the_read_by_hand() -> None:
    model = chip().eval()
    ns.program(model, 17)
    ns.set_draw(model, FORWARDS_A_READ)
    with torch.no_grad():
        outputs = torch.cat([model(x) for x, _ in DATA])
    assert measured(chip()) == sum_of_outputs(outputs, outputs)


def test_every_chip_and_every_read_has_draws_of_its_own() -> None:
    model = chip()
    seen = {}
    for number, read in ((1, 0), (1, 1), (2, 0)):
        with as_chip(model, TASK._replace(chip=number, read=read)), ns.noise("ideal", model):
            assert ns.get_draws(model)["clock"] == read * FORWARDS_A_READ
            seen[number, read] = model(X)
    assert not torch.equal(seen[1, 0], seen[1, 1])
    assert not torch.equal(seen[1, 0], seen[2, 0])


def test_the_digital_model_is_measured_with_its_first_draws() -> None:
    model = chip()
    found = evaluate_baseline(model, DATA, sum_of_outputs).value
    assert evaluate_baseline(model, DATA, sum_of_outputs).value == found
    used = copy.deepcopy(model)
    used(X)
    assert evaluate_baseline(used, DATA, sum_of_outputs).value == found
    with as_digital(model):
        assert ns.get_draws(model)["clock"] == 0


def test_a_study_in_worker_processes_is_that_in_this_one() -> None:
    plan = {"axes": {"leakage": {"*.noise.leakage": [0.0, 0.4]}}, "chips": 2, "engine": {"workers": 1}}
    one, other = (ns.sensitivity(chip(), DATA, plan, "loss", engine=engine).results for engine in ("serial", "process"))
    assert one.trials["value"].tolist() == other.trials["value"].tolist()
    assert one.spiking is not None
    assert other.spiking is not None
    assert one.spiking.hardware.values.tolist() == other.spiking.hardware.values.tolist()

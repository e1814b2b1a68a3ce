import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import neurosim as ns
from neurosim.cli.entry import Terminated
from neurosim.config.schema import SensitivityConfig
from neurosim.errors import CheckpointError, ConfigError, ConversionError, DataError
from neurosim.sweep.results import FAILED, OK, Results
from neurosim.training.interrupt import Interrupted
from tests.sweep import tiny
from tests.sweep.test_evaluate import state

FULL: dict[str, Any] = {"scopes": ["all", "each", "all_but_one"], "reads": 2}


def study(model: nn.Module | None = None, metric: Any = None, out: Path | None = None, engine: str | None = None, **plan: Any) -> Results:
    return ns.sensitivity(tiny.model() if model is None else model, tiny.data(), tiny.plan(**plan), metric, out=out, engine=engine).results


def test_a_study_has_a_trial_for_everything_that_was_planned() -> None:
    found = study(**FULL)
    assert found.meta["planned"] == len(found) == (2 + 2 + 2) * 3 * 2
    assert set(found.trials["status"].tolist()) == {OK}
    assert found.layers == [("0", "Linear", 6, 5), ("2", "Linear", 5, 3)]
    assert found.axes == {"leakage": [0.5, 0.0]}
    assert (found.baseline.value, found.baseline.n_total) == (0.8, 20)


def test_values_and_bits_of_every_trial_agree() -> None:
    found = study(**FULL)
    hits = np.unpackbits(found.bits, axis=1, count=20).sum(axis=1)
    assert np.array_equal(hits, found.trials["n_correct"])
    assert np.array_equal(found.trials["value"], found.trials["n_correct"] / found.trials["n_total"])


def test_the_callers_model_is_untouched() -> None:
    model = tiny.model().train()
    before = state(model)
    study(model, overrides={"0": {"output.adc.levels": 5}})
    assert state(model) == before


def test_results_are_equal_bit_for_bit_in_processes_serially_and_after_reading_them_back(tmp_path: Path) -> None:
    reference = study(**FULL, out=tmp_path / "serial")
    other = study(**FULL, engine="process", out=tmp_path / "process")
    assert other.same(reference, timing=False)
    assert ns.load_results(tmp_path / "serial").same(reference)
    assert ns.load_results(tmp_path / "process").same(other)


def test_the_thread_count_of_the_caller_does_not_change_results_and_is_restored() -> None:
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(study())
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert found[0].same(found[1], timing=False)


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study()
    assert list(tmp_path.iterdir()) == []


def test_a_finished_study_is_read_from_its_journal_when_it_is_asked_for_again(tmp_path: Path) -> None:
    first = study(out=tmp_path)
    with_times = study(out=tmp_path)
    assert np.array_equal(first.trials["wall_s"], with_times.trials["wall_s"])  # the times of the first run: nothing ran again


def test_a_larger_plan_keeps_what_a_smaller_one_has_found(tmp_path: Path) -> None:
    small = study(out=tmp_path, chips=2)
    large = study(out=tmp_path, chips=4, axes={"leakage": {"*.noise.leakage": [0.0, 0.2, 0.5]}}, scopes=["all", "each"])
    assert large.same(study(chips=4, axes={"leakage": {"*.noise.leakage": [0.0, 0.2, 0.5]}}, scopes=["all", "each"]), timing=False)
    kept = set(small.trials["wall_s"].tolist()) & set(large.trials["wall_s"].tolist())
    assert len(kept) == len(small)


def stop_at_the_fifth(outputs: Tensor, targets: Tensor) -> float:
    calls.append(1)
    if len(calls) == 6:  # the first is the digital model
        os.kill(os.getpid(), signal.SIGINT)
    return float(outputs.double().mean())


calls: list[int] = []


def test_ctrl_c_keeps_what_is_finished_and_the_same_call_goes_on(tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match="stopped by SIGINT, the state is saved; go on with: the same call or command"):
        study(metric=stop_at_the_fifth, out=tmp_path)
    assert len(calls) == 6
    found = study(metric=stop_at_the_fifth, out=tmp_path)
    assert len(calls) == 6 + 1 + 6 - 4
    assert found.same(study(metric=stop_at_the_fifth), timing=False)


def test_a_study_tells_which_signal_stopped_it(tmp_path: Path) -> None:
    seen: list[int] = []

    def terminated_at_the_third(outputs: Tensor, targets: Tensor) -> float:
        seen.append(1)
        if len(seen) == 3:
            raise Terminated
        return 0.0

    with pytest.raises(Interrupted, match="stopped by SIGTERM") as caught:
        study(metric=terminated_at_the_third, out=tmp_path)
    assert caught.value.exit_code == Terminated.exit_code == 143


def test_a_journal_of_other_batches_is_refused_with_what_differs(tmp_path: Path) -> None:
    model, data, plan = tiny.model(), tiny.data(), tiny.plan(chips=2)
    ns.sensitivity(model, data, plan, out=tmp_path)
    inputs, targets = data[0]
    halves = [(inputs[:3], targets[:3]), (inputs[3:], targets[3:]), *data[1:]]
    with pytest.raises(CheckpointError, match=rf"batch_size {len(targets)} -> 3, data .*choose another folder \(--out\)"):
        ns.sensitivity(model, halves, plan, out=tmp_path)
    with pytest.raises(CheckpointError, match=r"samples \d+ -> 3"):
        ns.sensitivity(model, halves[:1], plan, out=tmp_path)


def test_the_journal_of_another_model_is_refused(tmp_path: Path) -> None:
    study(out=tmp_path)
    other = tiny.model()
    with torch.no_grad():
        next(other.parameters()).mul_(2)
    with pytest.raises(CheckpointError, match=r"journal\.sqlite: must be the journal of this study, is that of another one \(model "):
        study(other, out=tmp_path)


def fail_on_some_chips(outputs: Tensor, targets: Tensor) -> Tensor:
    if float(outputs.sum()) > fail_above:
        raise ArithmeticError("too bright")
    return outputs.argmax(1) == targets


fail_above = float("inf")


def test_failures_are_rows_with_their_text_and_are_tried_again_next_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def total(outputs: Tensor, targets: Tensor) -> float:
        return float(outputs.sum())

    sums = study(metric=total, chips=6).trials["value"]
    digital = study(metric=total).baseline.value
    limit = max(digital, float(np.median(sums))) + 1e-6
    monkeypatch.setattr(sys.modules[__name__], "fail_above", limit)
    failed = study(metric=fail_on_some_chips, chips=6, out=tmp_path)
    bad = failed.trials["status"] == FAILED
    assert 0 < bad.sum() < len(failed)
    assert set(failed.trials["error"][bad].tolist()) == {"ArithmeticError: too bright"}
    assert np.isnan(failed.trials["value"][bad]).all()
    monkeypatch.setattr(sys.modules[__name__], "fail_above", float("inf"))
    assert set(study(metric=fail_on_some_chips, chips=6, out=tmp_path).trials["status"].tolist()) == {OK}


def test_a_loader_is_read_once_and_its_batches_are_measured() -> None:
    x, y = (torch.cat(parts) for parts in zip(*tiny.data(), strict=True))
    loader = DataLoader(TensorDataset(x, y), batch_size=8)
    found = ns.sensitivity(tiny.model(), loader, tiny.plan()).results
    assert found.same(study(), timing=False)
    assert found.meta["batch_size"] == 8


def test_samples_limits_what_is_measured() -> None:
    assert study(samples=11).baseline.n_total == 11
    assert study(samples=8).meta["n_samples"] == 8


def test_overrides_change_the_configured_hardware() -> None:
    found = study(overrides={"*": {"*.noise.leakage": 0.25}}, axes={"leakage": {"*.noise.leakage": [0.0, 0.25]}})
    assert found.meta["nominal"] == {"leakage": 0.25}
    assert found.axes == {"leakage": [0.25, 0.0]}


def test_chips_start_at_the_models_own() -> None:
    assert sorted(set(study(tiny.model(seed=40)).trials["chip"].tolist())) == [40, 41, 42]


def test_the_metric_of_the_plan_holds_unless_another_is_given() -> None:
    assert study(metric="loss").meta["metric"] == "loss"
    by_plan = ns.sensitivity(tiny.model(), tiny.data(), tiny.plan() | {"metric": "loss"}).results
    assert (by_plan.meta["metric"], by_plan.meta["higher_is_better"], by_plan.bits.shape[1]) == ("loss", False, 0)


def test_what_the_caller_knows_replaces_what_was_found() -> None:
    report = ns.sensitivity(tiny.model(), tiny.data(), tiny.plan(), meta={"name": "mine", "command": "neurosim sensitivity"})
    assert report.results.meta["name"] == "mine"
    assert report.results.meta["command"] == "neurosim sensitivity"


def test_the_report_has_a_verdict_and_can_be_saved(tmp_path: Path) -> None:
    report = ns.sensitivity(tiny.model(), tiny.data(), tiny.plan(**FULL))
    assert report.verdict in ("PASS", "FAIL", "NOT PROVEN")
    report.save(tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_the_plan_may_be_an_object_or_a_file(tmp_path: Path) -> None:
    plan = tiny.plan(chips=2)
    path = tmp_path / "run.yaml"
    path.write_text(
        "version: 1\nname: x\ndata: {kind: digits}\nmodel: {kind: mlp, sizes: [64, 10]}\n"
        "sensitivity:\n  chips: 2\n  axes: {leakage: {'*.noise.leakage': [0.0, 0.5]}}\n"
    )
    reference = study(chips=2)
    alone = tmp_path / "plan.yaml"
    alone.write_text("chips: 2\naxes: {leakage: {'*.noise.leakage': [0.0, 0.5]}}\n")
    for given in (SensitivityConfig.model_validate(plan), path, str(path), alone):
        assert ns.sensitivity(tiny.model(), tiny.data(), given).results.same(reference, timing=False)


def test_a_config_without_a_study_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("version: 1\nname: x\ndata: {kind: digits}\nmodel: {kind: mlp, sizes: [64, 10]}\n")
    with pytest.raises(ConfigError, match=r"run\.yaml:1: sensitivity: must be given for a sensitivity study, is missing"):
        ns.sensitivity(tiny.model(), tiny.data(), path)


def test_all_mistakes_of_a_plan_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        ns.sensitivity(tiny.model(), tiny.data(), {"chips": 0, "scope": ["all"], "reads": "two"})
    assert caught.value.problems == (
        "plan: chips: must be ≥ 1, got 0",
        "plan: reads: must be a whole number, got 'two'",
        "plan: scope: unknown key; did you mean 'scopes'?",
    )


def test_all_mistakes_of_overrides_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        study(overrides={"nosuch": {"output.adc.levels": 5}, "0": {"output.adc.level": 5}})
    assert len(caught.value.problems) == 2
    assert all(problem.startswith("sensitivity.overrides[") for problem in caught.value.problems)


def test_nothing_is_evaluated_when_the_plan_does_not_hold() -> None:
    def never(outputs: Tensor, targets: Tensor) -> float:
        raise AssertionError("evaluated")

    with pytest.raises(ConfigError, match="names no parameter"):
        study(metric=never, axes={"a": {"no.such.key": [1]}})


def test_a_digital_model_is_refused_with_the_way_to_convert_it() -> None:
    with pytest.raises(ConversionError, match=r"neurosim\.to_analog\(model, 'photonic_avnn', seed=0\)"):
        study(ns.to_digital(tiny.model()))


def test_a_model_that_cannot_be_copied_is_refused() -> None:
    model: Any = tiny.model()
    model.handle = (n for n in range(3))
    with pytest.raises(ConversionError, match="the model must be deep-copyable, got TypeError"):
        study(model)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "there must be at least one sample"),
        (3, "data must be batches of inputs and targets, got int"),
        ([torch.zeros(3)], "pairs of inputs and targets, got Tensor"),
        ([(torch.zeros(3, 6), torch.zeros(2))], "as many inputs as targets, got 3 and 2"),
    ],
)
def test_data_that_cannot_be_measured_are_refused(data: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ns.sensitivity(tiny.model(), data, tiny.plan())


def test_a_metric_that_cannot_reach_workers_is_refused_with_a_way_out() -> None:
    with pytest.raises(ConfigError, match="at the top level of a module"):
        study(metric=lambda outputs, targets: 0.0, engine="process")


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^sensitivity: engine: 'dask' is not there yet, .*; use process$"):
        study(engine="dask")
    with pytest.raises(ConfigError, match=r"^sensitivity: engine: must be 'serial' or 'process', got 'proces'; did you mean 'process'\?$"):
        study(engine="proces")


def test_the_folder_holds_the_journal_and_the_results(tmp_path: Path) -> None:
    study(out=tmp_path / "a" / "b")
    assert sorted(item.name for item in (tmp_path / "a" / "b").iterdir()) == ["journal.sqlite", "results.h5"]


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "report").write_text("mine")
    with pytest.raises(ConfigError, match=r"out must be a folder, .*report is a file"):
        study(out=tmp_path / "report")

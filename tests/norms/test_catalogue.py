"""The catalogue of norms as people see it."""

from __future__ import annotations

import json

import pytest

from neurosim.catalogue import NORMS, table_of_norms
from neurosim.cli import main
from neurosim.norms.base import Operations


def test_the_command_prints_a_row_for_every_norm(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalogue", "norms"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "kind", "formula", "statistics", "fold", "bounds", "operations", "source"]
    assert [line.split()[0] for line in lines[1:]] == list(NORMS)
    (bounded,) = (line for line in lines if line.startswith("dyt "))
    assert "F1" in bounded


def test_the_table_as_json_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalogue", "norms", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == table_of_norms()


def test_every_row_has_what_people_ask_for_and_says_why_where_nothing_is_counted() -> None:
    for row in table_of_norms():
        assert all(row[name] for name in ("formula", "statistics", "fold", "bounds", "operations", "source")), row["name"]
        counted = any(map(sum, NORMS[row["name"]].cost))
        assert row["operations"].startswith("none: ") is not counted, row["name"]
        assert counted or row["kind"] not in ("module", "wrapper"), row["name"]
    (alpha,) = (row for row in table_of_norms() if row["name"] == "batch_statistics")
    assert alpha["operations"] == "4+ 3× / 3+ 4× 1÷ 1√"  # those of the statistics of a batch are there in evaluation


def test_an_evonorm_costs_what_its_formula_computes() -> None:
    """A square, the products with the inverse and γ; of x σ(v x) two more, of SiLU one."""
    assert [NORMS[name].cost.per_element.multiplies for name in ("evonorm_s0", "evonorm_s1")] == [5, 4]
    assert NORMS["evonorm_s1"](16, activation="sigmoid").hw_ops().per_element == Operations(4, 3, 0, 0, 1)
    assert NORMS["evonorm_s1"](16, activation="relu").hw_ops().per_element == Operations(5, 3)


def test_norms_that_count_steps_say_where_they_fold() -> None:
    assert all("it folds where all steps" in NORMS[name].summary for name in ("bntt", "tebn"))

"""Saving and printing a report: every format says the same, files are whole, mistakes are explained."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neurosim.errors import ConfigError
from neurosim.sweep import pages
from neurosim.sweep.report import Report
from neurosim.sweep.results import COLUMNS
from neurosim.sweep.summary import judge, summarise
from tests.sweep.report_studies import study

GRID: dict[str, list[Any]] = {"leakage": [0.0, 0.2, 0.5], "precision": [4, 16]}
FILES = {"report.html", "report.md", "report.json", "trials.csv", "summary.csv"}


@pytest.fixture(scope="module")
def report() -> Report:
    failing = study(GRID, chips=4, reads=2, fail=lambda row: 'lost, "quoted"\nand broken' if (row.chip, row.point) == (101, 0) else "")
    return Report(failing, {"digitally trained": study(GRID, chips=4, answer=lambda *_: 0.1)})


@pytest.fixture(scope="module")
def folder(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report.save(tmp_path_factory.mktemp("report") / "all")


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_verdict_is_that_of_the_statistics(report: Report) -> None:
    assert report.verdict == judge(report.results).word
    assert report.summary()["verdict"]["reason"] == judge(report.results).reason


def test_a_folder_gets_every_format(folder: Path) -> None:
    assert {file.name for file in folder.iterdir()} == FILES


def test_the_json_file_is_the_summary_and_strict_json(report: Report, folder: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    found = json.loads((folder / "report.json").read_text(), parse_constant=refuse)
    assert found == report.summary()
    assert (found["format"], found["schema_version"]) == ("neurosim.report", 1)


def test_the_keys_of_the_summary_are_the_documented_ones(report: Report) -> None:
    from neurosim.sweep import digest

    assert digest.__doc__ is not None
    block = digest.__doc__.split(".. code-block:: text")[1]
    documented = {
        name.strip(",") for line in block.splitlines() if line.startswith("    ") for name in line[4:37].replace(",", " ").split()
    }
    assert set(report.summary()) <= documented


def test_the_summary_is_a_copy(report: Report) -> None:
    report.summary()["verdict"]["word"] = "changed"
    assert report.summary()["verdict"]["word"] == report.verdict


def test_the_trials_file_holds_every_trial_exactly(report: Report, folder: Path) -> None:
    rows, results = table(folder / "trials.csv"), report.results
    assert len(rows) == len(results)
    for name, kind in COLUMNS.items():
        found = np.array([row[name] for row in rows]).astype(kind)
        np.testing.assert_array_equal(found, results.trials[name])
    points = results.trials["point"].tolist()
    assert [float(row["axis.leakage"]) for row in rows] == [results.axes["leakage"][point] for point in points]
    names = [results.layers[layer].name if layer >= 0 else "" for layer in results.trials["layer"].tolist()]
    assert [row["layer_name"] for row in rows] == names


def test_the_summary_file_holds_every_interval_exactly(report: Report, folder: Path) -> None:
    rows, expected = table(folder / "summary.csv"), summarise(report.results)
    assert [(int(row["point"]), row["scope"], int(row["layer"])) for row in rows] == [(e.point, e.scope, e.layer) for e in expected]
    for row, e in zip(rows, expected, strict=True):
        for kind, interval in (
            ("value", e.value),
            ("drop", e.drop.over_chips),
            ("drop_over_samples", e.drop.over_samples),
            ("yield", e.share),
        ):
            assert interval is not None
            found = [float(row[f"{kind}.{end}"]) for end in ("value", "low", "high")]
            np.testing.assert_array_equal(found, interval[:3])
            assert row[f"{kind}.method"] == interval.method


def test_the_markdown_says_the_same_in_tables(report: Report, folder: Path) -> None:
    text, summary = (folder / "report.md").read_text(), report.summary()
    assert text.startswith(f"# digits_mlp: {report.verdict}\n")
    for title in (
        "What was simulated",
        "Accuracy against noise",
        "Which layers matter",
        "Two settings at once",
        "From chip to chip",
        "Reproduce this",
    ):
        assert f"\n## {title}\n" in text
    for row in summary["curves"][0]["series"][1]["rows"]:
        assert f"| {100 * row['value']['value']:.1f} % [{100 * row['value']['low']:.1f}, {100 * row['value']['high']:.1f}] |" in text
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) > 5
    for block in tables:
        widths = {line.replace("\\|", "").count("|") for line in block.strip().splitlines() if line.startswith("|")}
        assert len(widths) == 1


@pytest.mark.parametrize(("name", "start"), [("a.html", "<!DOCTYPE html>"), ("a.md", "# digits"), ("a.json", "{"), ("a.csv", "point,")])
def test_the_suffix_chooses_the_format(name: str, start: str, report: Report, folder: Path, tmp_path: Path) -> None:
    path = report.save(tmp_path / name)
    assert path == tmp_path / name
    text = path.read_text()
    assert text.startswith(start)
    assert text == (folder / {"a.csv": "trials.csv"}.get(name, f"report{path.suffix}")).read_text()


def test_a_folder_whose_name_has_a_dot_is_used_when_it_exists(report: Report, tmp_path: Path) -> None:
    (tmp_path / "run.2").mkdir()
    report.save(str(tmp_path / "run.2"))
    assert {file.name for file in (tmp_path / "run.2").iterdir()} == FILES


def test_an_unknown_suffix_is_refused_with_the_nearest(report: Report, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"must end in .html, .md, .json or .csv, got 'a.htm'; did you mean '.html'"):
        report.save(tmp_path / "a.htm")
    assert list(tmp_path.iterdir()) == []


def test_a_report_that_cannot_be_made_or_written_leaves_the_old_file(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")

    def stop(*_: Any) -> str:
        raise KeyboardInterrupt

    for module, name in ((pages, "html"), (os, "replace")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, stop)
            with pytest.raises(KeyboardInterrupt):
                report.save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    assert path.read_text() == "old"


def test_text_that_is_no_text_is_written_all_the_same(tmp_path: Path) -> None:
    broken = study(chips=2, layers=["a\x00b", "c\ud800d"], fail=lambda row: "bad byte \udcff" if row.chip == 101 else "")
    folder = Report(broken).save(tmp_path / "all")
    assert {file.name for file in folder.iterdir()} == FILES
    assert "\x00" not in (folder / "report.html").read_text(encoding="utf-8")
    assert "bad byte" in (folder / "report.html").read_text(encoding="utf-8")


def test_printing_gives_the_verdict_and_one_row_for_every_model(report: Report) -> None:
    text = str(report)
    lines = text.splitlines()
    assert lines[0].startswith(f"{report.verdict}  digits_mlp: accuracy ")
    assert len(lines) < 16
    rows = [line for line in lines if line.endswith(("PASS", "FAIL", "NOT PROVEN"))]
    assert [row.split("  ")[0] for row in rows] == ["digits_mlp", "digitally trained"]
    assert "2 of 96 trials did not finish" in text
    assert "\u00a0" not in text


def test_studies_of_another_metric_are_not_compared() -> None:
    with pytest.raises(ConfigError, match=r"compare\['b'\] must have measured 'accuracy' as the first study did, got 'loss'"):
        Report(study(chips=2), {"b": study(chips=2, metric="loss")})


def test_a_study_is_not_compared_under_its_own_name() -> None:
    with pytest.raises(ConfigError, match="another name"):
        Report(study(chips=2), {"digits_mlp": study(chips=2)})


def test_a_file_in_a_folder_that_is_not_there_is_refused_by_the_folders_name(report: Report, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"the folder {tmp_path / 'sub'} must exist"):
        report.save(tmp_path / "sub" / "rep.html")


def test_no_layer_is_called_the_most_sensitive_when_none_costs_anything() -> None:
    costly = str(Report(study(chips=3)))
    harmless = str(Report(study(chips=3, answer=lambda *_: 0.0)))
    assert "Most sensitive layer" in costly
    assert "Most sensitive layer" not in harmless

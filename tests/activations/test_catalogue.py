"""The catalogue as people see it: the command, the figure, the page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import neurosim as ns
from neurosim.activations.catalogue import panels, table_of_activations
from neurosim.cli import main
from tests.pages import run_page


def test_the_command_prints_a_row_for_every_entry(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalogue", "activations"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "formula", "bounds", "smoothness", "monotone", "fold", "operations", "hardware", "citation"]
    assert [line.split()[0] for line in lines[1:]] == list(ns.ACTIVATIONS)
    (gelu,) = (line for line in lines if line.startswith("gelu "))
    assert "−0.17 … ∞" in gelu
    assert re.search(r"smooth +no +none +1× 1f ", gelu)


def test_the_table_as_json_and_the_figure_are_whole(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "curves.svg"
    assert main(["catalogue", "activations", "--json", "--plot", str(file)]) == 0
    assert json.loads(capsys.readouterr().out) == table_of_activations()
    text = file.read_text(encoding="utf-8")
    assert text.count('id="axes_') == len(panels())
    assert [one.name for one in tmp_path.iterdir()] == ["curves.svg"]


def test_a_figure_that_is_no_figure_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalogue", "activations", "--plot", "curves.txt"]) == 2
    assert "must end in .png, .svg, .pdf, got curves.txt" in capsys.readouterr().err
    for what in ("activations", "norms"):
        assert main(["catalogue", what, "--plot", "not/there/curves.png"]) == 2
        said = capsys.readouterr()
        assert (said.out, "the folder not/there must exist" in said.err, ".tmp" in said.err) == ("", True, False)


def test_the_band_of_a_slope_is_that_of_the_noise() -> None:
    by_name = {panel.name: panel for panel in panels(sigma=0.5)}
    relu, line = by_name["relu"], by_name["identity"]
    middle = len(relu.x) // 2
    assert relu.x[middle] == pytest.approx(0.0)
    assert (relu.low[middle] + relu.high[middle]) / 2 == pytest.approx(0.5, abs=0.05)
    assert relu.high[middle] - relu.low[middle] == pytest.approx(1.0, abs=0.02)  # half of the draws are 0, half are 1
    assert line.low == pytest.approx(line.high)


def test_the_examples_of_the_page_run_as_written(tmp_path: Path) -> None:
    printed = run_page("docs/activations.md", tmp_path)
    assert "1 activations swapped, 0 left; the weights of 1 layers adjusted" in printed
    assert "smooth 0.425" in printed

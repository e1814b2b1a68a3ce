"""What the report shows of neurons: the same numbers in every format, in a page that stands alone, and nothing where there are none."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neurosim.sweep import pages, spiking_part
from neurosim.sweep.report import Report
from neurosim.sweep.results import Results
from neurosim.sweep.spiking import OF_LAYERS, NeuronFiring, NeuronInfo, Spiking
from neurosim.sweep.statistics import wilson
from tests.sweep import report_studies
from tests.sweep.test_report_page import LOADING, SCRIPT, Page

FIGURES = ["spiking-time", "spiking-rates", "spiking-raster-digital", "spiking-raster-hardware"]
SAMPLES = report_studies.SAMPLES


def firing(rates: list[float], values: list[float], rows: int, **changes: Any) -> NeuronFiring:
    """A side made from its rates: a tenth of the neurons is dead, a fifth saturated."""
    rate = np.array(rates)
    raster = np.array([[int((step * 7 + row * 3) % 10 < 4) for row in range(rows)] for step in range(5)], dtype=np.uint8)
    columns = dict(zip(OF_LAYERS, (rate, rate - 0.01, rate + 0.01, 0 * rate + 0.1, 0 * rate + 0.2, 40 * rate), strict=True))
    return NeuronFiring(**{**columns, "values": np.array(values), "raster": raster.reshape(5, rows), "error": "", **changes})


def broken(layers: int, steps: int, rows: int, text: str) -> NeuronFiring:
    nothing = np.full(layers, np.nan)
    empty = np.zeros((0, rows), dtype=np.uint8)
    return firing([0.0] * layers, [np.nan] * steps, rows, **dict.fromkeys(OF_LAYERS, nothing), raster=empty, error=text)


def spiking(names: tuple[str, ...] = ("body.1", "body.3"), **changes: Any) -> Spiking:
    """Layers of 100 and of 300 neurons, asked after 1, 2 and 4 steps."""
    layers = [NeuronInfo(name, "LIF", 100 + 200 * i, 1e-3) for i, name in enumerate(names)]
    shown = np.array([(i, unit) for i in range(len(names)) for unit in (0, 50, 99)], dtype=np.uint32)
    digital = firing([0.25 + 0.125 * i for i in range(len(names))], [0.5, 0.75, 0.9], len(shown))
    hardware = firing([0.125 + 0.125 * i for i in range(len(names))], [0.25, 0.5, 0.85], len(shown))
    given = {"layers": layers, "samples": SAMPLES, "chip": 2**63 - 1, "steps": np.array([1, 2, 4], dtype=np.uint32), "shown": shown}
    return Spiking(**{**given, "digital": digital, "hardware": hardware, **changes})


def report(found: Spiking | None = None, **options: Any) -> Report:
    results: Results = report_studies.study(chips=3, scopes=["all"], **options)
    return Report(dataclasses.replace(results, spiking=spiking() if found is None else found))


def text_of(html: str) -> str:
    return Page(html).text.replace("\u00a0", " ")


@pytest.fixture(scope="module")
def html() -> str:
    return pages.html(report().summary())


def test_the_section_has_its_figures_and_stands_alone(html: str) -> None:
    found = Page(html)
    ids = found.every("id")
    assert [ident for ident in ids if ident in ("noise", "spiking", "layers", *FIGURES)] == ["noise", "spiking", *FIGURES, "layers"]
    assert len(ids) == len(set(ids))
    references = [value for attribute in LOADING for value in found.every(attribute)]
    assert "#spiking" in references
    assert all(value.startswith("#") and value[1:] in ids for value in references)
    assert len(re.findall(r"<figure[^>]*><h3>[^<]+</h3><p>[^<]{20,}</p>\s*<svg", html)) == sum(tag == "svg" for tag, _ in found.tags)


def test_the_page_the_markdown_and_the_terminal_say_the_same(html: str, tmp_path: Path) -> None:
    chip = 2**63 - 1
    sentence = f"On chip {chip}, 400 neurons send 15.0 (25.0) spikes a sample; 10 % (10 %) of them are dead, 20 % (20 %) saturated"
    markdown = report().save(tmp_path / "report.md").read_text()
    assert sentence in text_of(html)
    assert sentence in markdown
    assert sentence in str(report())
    row = ["body.3", "LIF", "300", f"chip {chip}", "0.2500 [0.2400, 0.2600]", "250 Hz", "10 %", "20 %", "10.0"]
    assert f"| {' | '.join(row)} |" in markdown
    assert "".join(row) in text_of(html)
    after_two = [100 * x for x in wilson(SAMPLES // 2, SAMPLES)[:3]]
    cells = ["2", "75.0 % [70.3, 79.2]", "{:.1f} % [{:.1f}, {:.1f}]".format(*after_two)]
    assert f"| {' | '.join(cells)} |" in markdown
    assert "".join(cells) in text_of(html)


def test_the_summary_holds_the_numbers_and_only_documented_keys(tmp_path: Path) -> None:
    path = report().save(tmp_path / "report.json")
    found = json.loads(path.read_text(), parse_constant=pytest.fail)["spiking"]
    assert found == report().summary()["spiking"]
    first = found["layers"][0]
    assert first["hardware"]["rate"] == pytest.approx({"value": 0.125, "low": 0.115, "high": 0.135, "n": SAMPLES, "method": "t"})
    assert (first["hardware"]["rate_hz"], first["digital"]["spikes_per_sample"]) == (125.0, 10.0)
    assert found["over_time"]["steps"] == [1, 2, 4]
    assert [i["value"] for i in found["over_time"]["hardware"]] == [0.25, 0.5, 0.85]
    row = found["raster"][4]
    assert (row["layer"], row["unit"]) == ("body.3", 50)
    assert row["hardware"] == "".join(map(str, spiking().hardware.raster[:, 4]))
    assert spiking_part.__doc__ is not None
    block = spiking_part.__doc__.split(".. code-block:: text")[1]
    documented = {name.strip(",") for line in block.splitlines() if line[4:5].strip() for name in line[4:28].split()}
    assert set(found) == documented


def test_the_shares_of_all_neurons_weigh_layers_by_their_size() -> None:
    dead = spiking().hardware._replace(dead=np.array([1.0, 0.0]))
    assert report(spiking(hardware=dead)).summary()["spiking"]["total"]["hardware"]["dead"] == 0.25


@pytest.mark.parametrize("write", [pages.html, pages.markdown, pages.terminal])
def test_a_model_without_neurons_has_no_such_section(write: Any) -> None:
    plain = Report(report_studies.study(chips=3, scopes=["all"]))
    assert plain.summary()["spiking"] is None
    assert not re.search("spiking|neurons", write(plain.summary()), re.IGNORECASE)


def test_a_side_that_could_not_be_looked_at_says_why() -> None:
    for side, other in (("hardware", "digital"), ("digital", "hardware")):
        melted = broken(2, 3, 6, f"RuntimeError: {SCRIPT}")
        found = report(spiking(hardware=melted) if side == "hardware" else spiking(digital=melted))
        page = Page(pages.html(found.summary()))
        assert f"could not be looked at: RuntimeError: {SCRIPT}" in page.text
        assert "script" not in {tag for tag, _ in page.tags}
        assert [ident for ident in page.every("id") if ident in FIGURES] == [*FIGURES[:2], f"spiking-raster-{other}"]
        assert "n/a" in pages.markdown(found.summary())
        assert json.loads(json.dumps(found.summary(), allow_nan=False))["spiking"]["total"][side] is None


def test_where_neither_side_could_be_looked_at_there_are_two_sentences() -> None:
    nothing = broken(0, 0, 0, "boom")
    found = report(spiking((), digital=nothing, hardware=nothing, steps=np.zeros(0, np.uint32), shown=np.zeros((0, 2), np.uint32)))
    page = Page(pages.html(found.summary()))
    assert page.text.count("could not be looked at: boom") == 2
    assert not set(FIGURES) & set(page.every("id"))
    assert pages.markdown(found.summary()).count("could not be looked at: boom") == 2
    assert "time steps" not in page.text


def test_without_a_curve_over_time_the_page_says_so() -> None:
    sides = {side: getattr(spiking(), side)._replace(values=np.zeros(0)) for side in ("digital", "hardware")}
    found = report(spiking(steps=np.zeros(0, np.uint32), **sides)).summary()
    assert found["spiking"]["over_time"] is None
    assert "There is no curve over time steps" in text_of(pages.html(found))
    assert "There is no table over time steps" in pages.markdown(found)
    assert "spiking-time" not in Page(pages.html(found)).every("id")


def test_a_network_of_one_step_has_its_number_and_no_curve() -> None:
    sides = {side: getattr(spiking(), side)._replace(values=np.array([0.5])) for side in ("digital", "hardware")}
    found = report(spiking(steps=np.array([1], np.uint32), **sides)).summary()
    assert "spiking-time" not in Page(pages.html(found)).every("id")
    assert "There is no curve" not in text_of(pages.html(found))
    assert "| 1 | 50.0 % [44.9, 55.1] |" in pages.markdown(found)


def test_a_loss_has_no_interval_over_samples() -> None:
    found = report(metric="loss").summary()
    assert found["spiking"]["over_time"]["digital"][0] == {"value": 0.5, "low": None, "high": None, "n": SAMPLES, "method": "none"}
    assert "| 4 | 0.9000 | 0.8500 |" in pages.markdown(found)
    assert "the band is" not in text_of(pages.html(found)).partition("Spiking activity")[2].partition("Firing rate")[0]


def test_values_that_are_no_numbers_are_left_out() -> None:
    hardware = spiking().hardware._replace(values=np.full(3, np.nan), rate_low=np.full(2, np.nan), rate_high=np.full(2, np.nan))
    found = report(spiking(hardware=hardware)).summary()
    assert "after the last: digital 90.0 %, chip 9223372036854775807 n/a" in pages.html(found)
    assert "| 0.1250 | 125 Hz |" in pages.markdown(found)
    assert "nan" not in pages.markdown(found)


def test_hostile_names_of_layers_stay_text() -> None:
    names = (SCRIPT, "$\\frac{ <b>", "日本\n{{ 7 * 7 }}")
    found = report(spiking(names)).summary()
    page = Page(pages.html(found))
    assert "script" not in {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert SCRIPT in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert "<script" not in pages.markdown(found).split("```")[0]


def test_silent_neurons_are_drawn_as_such() -> None:
    silent = spiking().hardware._replace(raster=np.zeros((5, 6), np.uint8), rate=np.zeros(2))
    assert "no spikes" in text_of(pages.html(report(spiking(hardware=silent)).summary()))


def test_of_many_layers_the_figure_has_the_first_and_the_table_all() -> None:
    names = tuple(f"encoder.blocks.{i}.fire" for i in range(45))
    text = text_of(pages.html(report(spiking(names)).summary()))
    assert "The first 40 of 45 layers; all are in the table." in text
    assert "encoder.blocks.44.fire" in text
    assert "135 of 202,500 neurons, evenly spread over those of each layer that ever fire." in text

"""The HTML page: complete in itself, whatever the study and however hostile its names."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import matplotlib
import pytest

from neurosim.sweep import pages
from neurosim.sweep.report import Report
from tests.sweep.report_studies import study

GRID: dict[str, list[Any]] = {"leakage": [0.0, 0.2, 0.5], "precision": [4, 16, 64]}
SECTIONS = ["verdict", "effects", "noise", "layers", "pairs", "chips", "failures", "reproduce"]
VOID = {"meta", "br", "hr", "img", "input", "link"}
SCRIPT = '<script>alert("x")</script>'
LOADING = {"src", "href", "srcset", "action", "data", "poster", "background", "xlink:href", "formaction", "ping", "cite"}

STUDIES: dict[str, Callable[[], Report]] = {
    "one axis": lambda: Report(study(chips=5)),
    "two axes and another model": lambda: Report(study(GRID, chips=5), {"other": study(GRID, chips=5, answer=lambda *_: 0.2)}),
    "one chip": lambda: Report(study(chips=1)),
    "no scopes, no acceptance": lambda: Report(study(chips=3, scopes=["all"], accept={})),
    "one at a time, two reads": lambda: Report(study(GRID, chips=3, reads=2, cross=True)),
    "no axes": lambda: Report(study({}, chips=3, scopes=["all"], answer=lambda *_: 0.03)),
    "a loss": lambda: Report(study(GRID, chips=3, metric="loss")),
    "everything failed": lambda: Report(study(chips=2, fail=lambda row: "boom")),
    "nothing stored": lambda: Report(study(chips=2, drop_row=lambda row: True)),
    "layers only": lambda: Report(study(chips=3, scopes=["each"])),
    "no facts": lambda: Report(
        study(chips=2, profile=None, effects=None, config_yaml="", checkpoint=None, command=None, rerun=None, planned=None)
    ),
    "thirty layers": lambda: Report(
        study({"leakage": [0.1, 0.2]}, chips=3, layers=[f"encoder.blocks.{i}.attention.projection" for i in range(30)])
    ),
}


class Page(HTMLParser):
    """What a test asks about a page; refuses one whose tags do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.styles = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.styles += data
        else:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.texts))

    def every(self, attribute: str) -> list[str]:
        return [attributes[attribute] for _, attributes in self.tags if attribute in attributes]


@functools.cache
def html_of(name: str) -> str:
    return pages.html(STUDIES[name]().summary())


def page(report: Report) -> Page:
    return Page(pages.html(report.summary()))


@pytest.mark.parametrize("name", STUDIES)
def test_the_page_has_every_section_and_stands_alone(name: str) -> None:
    found = Page(html_of(name))
    ids = found.every("id")
    assert [ident for ident in ids if ident in SECTIONS] == SECTIONS
    assert len(ids) == len(set(ids))
    assert not {tag for tag, _ in found.tags} & {"script", "link", "iframe", "img", "object", "embed", "base", "form", "video", "audio"}
    references = [value for attribute in LOADING for value in found.every(attribute)]
    assert references
    assert all(value[1:] in ids if value.startswith("#") else value.startswith("data:image/png;base64,") for value in references)
    styles = found.styles + " ".join(found.every("style") + found.every("clip-path") + found.every("fill"))
    assert "@import" not in styles
    assert "http" not in styles
    assert all(target.startswith("#") and target[1:] in ids for target in re.findall(r"url\(([^)]*)\)", styles))


@pytest.mark.parametrize("name", STUDIES)
def test_every_figure_says_in_words_what_it_shows_and_how_to_read_it(name: str) -> None:
    found = Page(html_of(name))
    pictures = [attributes for tag, attributes in found.tags if tag == "svg"]
    assert all(picture["role"] == "img" and len(picture["aria-label"]) > 20 for picture in pictures)
    assert all("viewbox" in picture and "width" not in picture for picture in pictures)  # sized by the page
    assert len(re.findall(r"<figure[^>]*><h3>[^<]+</h3><p>[^<]{20,}</p>\s*<svg", html_of(name))) == len(pictures)


def test_the_numbers_of_the_page_are_those_of_the_summary() -> None:
    report = STUDIES["two axes and another model"]()
    summary, found = report.summary(), page(report)
    shown = [float(attributes["value"]) for tag, attributes in found.tags if tag == "data"]
    hardware = summary["hardware"]
    assert shown == [summary["digital"]["value"], hardware["value"]["value"], hardware["drop"]["value"], hardware["yield"]["value"]]
    text = found.text.replace("\u00a0", " ")
    low, high = (100 * hardware["value"][end] for end in ("low", "high"))
    assert f"over chips: [{low:.1f}, {high:.1f}]" in text
    low, high = (100 * hardware["value_over_samples"][end] for end in ("low", "high"))
    assert f"over test samples: [{low:.1f}, {high:.1f}]" in text
    for row in summary["curves"][0]["series"][0]["rows"]:
        assert f"{100 * row['value']['value']:.1f} % [{100 * row['value']['low']:.1f}, {100 * row['value']['high']:.1f}]" in text
    for layer in summary["layers"]["rows"]:
        assert f"{100 * layer['alone']['value']:.2f} [{100 * layer['alone']['low']:.2f}, {100 * layer['alone']['high']:.2f}]" in text


def test_hostile_names_stay_text() -> None:
    axes: dict[str, list[Any]] = {f"leak {SCRIPT} $\\frac{{": [0.0, 0.1, 0.2], "精度\n_x": [4, 8, 16]}
    facts: dict[str, Any] = dict.fromkeys(("name", "data", "platform", "device", "rerun", "packages", "git_commit", "created_utc"), SCRIPT)
    plain = study(
        axes,
        chips=3,
        layers=[SCRIPT, "$a_b$ ](http://evil.example)", "_" + "a" * 200, "日本\x00\ud800語"],
        answer=lambda values, scope, layer, chip: 0.02 + 0.001 * chip,
        fail=lambda row: SCRIPT + "\n" + "a" * 3000 if (row.chip, row.point) == (101, 1) else "",
        **facts,
        command="</pre>" + SCRIPT,
        config_yaml="</pre>" + SCRIPT + "{{ 7 * 7 }}",
        config_sha256=SCRIPT,
        checkpoint={"path": SCRIPT, "sha256": SCRIPT},
        profile={"name": SCRIPT, "summary": SCRIPT, "sha256": SCRIPT},
        effects={"simulated": [SCRIPT], "off": ["{% raw %}"], "not_modelled": ["' onload='x"]},
        versions={SCRIPT: SCRIPT},
        neurosim_version=SCRIPT,
    )
    report = Report(plain, {SCRIPT + "b": plain, "_c": plain})
    found = page(report)
    assert "script" not in {tag for tag, _ in found.tags}
    assert not [name for _, attributes in found.tags for name in attributes if name.startswith("on")]
    assert all(value.startswith(("#", "data:image/png;base64,")) for value in found.every("href"))
    assert found.text.count(SCRIPT) > 20
    assert "{{ 7 * 7 }}" in found.text
    assert "<script" not in pages.markdown(report.summary()).split("```")[0]


def test_equal_studies_make_equal_pages_in_every_process() -> None:
    code = (
        "import hashlib, sys; from tests.sweep.test_report_page import html_of\n"
        "print(hashlib.sha256(html_of('one axis').encode()).hexdigest())\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    here = hashlib.sha256(html_of("one axis").encode()).hexdigest()
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    there = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout.strip()
    assert there == here


def test_the_readers_own_matplotlib_style_changes_nothing() -> None:
    report = STUDIES["one axis"]()
    expected = html_of("one axis")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black", "svg.fonttype": "path", "text.usetex": False}):
        assert pages.html(report.summary()) == expected


@pytest.mark.parametrize(
    ("name", "sentences"),
    [
        (
            "no scopes, no acceptance",
            ["This plan did not look at layers one by one", "No acceptance was set", "No two settings were varied together"],
        ),
        ("one chip", ["Only one chip was simulated", "no band", "One chip says nothing about others", "Fewer than two chips"]),
        ("no axes", ["there is no curve to draw"]),
        ("one at a time, two reads", ["No two settings were varied together"]),
        ("layers only", ["The whole model was never measured on hardware", "there is no curve to draw"]),
        ("no facts", ["None recorded.", "No command was recorded.", "there is no command to repeat"]),
        ("everything failed", ["boom", "Fewer than two chips"]),
        ("nothing stored", ["missing"]),
    ],
)
def test_where_there_is_nothing_to_show_the_page_says_so_in_a_line(name: str, sentences: list[str]) -> None:
    text = Page(html_of(name)).text
    assert [sentence for sentence in sentences if sentence not in text] == []


def test_a_pass_a_fail_and_an_open_verdict_say_why() -> None:
    good = page(Report(study(accept={"drop_at_most": 0.5, "yield_at_least": 0.8}))).text.replace("\u00a0", " ")
    assert "PASS accuracy" in good
    assert "25 of 25 chips stay within 50 points" in good
    bad = page(Report(study(accept={"drop_at_most": 0.001, "yield_at_least": 0.8}))).text.replace("\u00a0", " ")
    assert "FAIL accuracy" in bad
    assert "0 of 25 chips stay within 0.1 points, a yield of [0.0, 13.3] %: below 80 %" in bad
    few = page(Report(study(chips=5, accept={"drop_at_most": 0.5, "yield_at_least": 0.9}))).text.replace("\u00a0", " ")
    assert "NOT PROVEN accuracy" in few
    assert "5 chips can prove 56.6 % at most; 90 % needs 35" in few

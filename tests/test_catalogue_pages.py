"""A page and a figure for every entry of the registries, as the code says it now."""

from __future__ import annotations

import importlib.util
import re
import sys
from types import ModuleType
from xml.etree import ElementTree

import pytest

import neurosim as ns
from neurosim.activations.facts import IN_MODELS
from neurosim.catalogue import NORMS
from tests.pages import ROOT, blocks, broken_links, text_of

FOLDER = ROOT / "docs/catalogue"


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    """The program that makes the pages."""
    spec = importlib.util.spec_from_file_location("make_catalogue", ROOT / "docs/make_catalogue.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = [*sys.path]
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


def test_every_page_says_what_the_code_says_and_no_other_is_there(maker: ModuleType) -> None:
    made = maker.pages()
    there = {file.relative_to(FOLDER).as_posix() for file in FOLDER.rglob("*") if file.is_file()}
    stale = [page for page, text in made.items() if page not in there or (FOLDER / page).read_text(encoding="utf-8") != text]
    assert stale == [], "run python docs/make_catalogue.py"
    drawn = {f"activations/{name}.svg" for name in ns.ACTIVATIONS} | {f"norms/{name}.svg" for name in NORMS}
    assert there == {*made, *drawn}
    assert all(f"![{name}]({name}.svg)\n\n*" in made[f"norms/{name}.md"] for name in NORMS)


def test_what_is_no_module_says_how_it_is_used_and_no_page_shows_markup(maker: ModuleType) -> None:
    made = maker.pages()
    for name in NORMS:
        assert NORMS[name].kind == "module" or f"Use {maker._escaped(NORMS[name].usage)}." in made[f"norms/{name}.md"]
    assert [page for page, text in made.items() if re.search(r":\w+:`|``", text.replace("```", ""))] == []
    assert 'NORMS["layer_scaling"](16, depth=4)' in made["norms/layer_scaling.md"]
    assert NORMS["layer_scaling"](16, depth=4).bounds() == NORMS["layer_scaling"].bounds  # which the page shows


def test_figures_are_small_and_whole() -> None:
    for file in sorted(FOLDER.glob("*/*.svg")):
        assert file.stat().st_size <= 8000, file.name
        root = ElementTree.fromstring(file.read_text(encoding="utf-8"))
        assert root.findtext("{http://www.w3.org/2000/svg}title") == file.stem
        assert len(root.findall("{http://www.w3.org/2000/svg}path")) > 8, file.name


REDRAWN = ["activations/smelu", "activations/stochastic", "activations/rela", "norms/layer", "norms/skip_init", "norms/sdd", "norms/gmp"]


@pytest.mark.parametrize("name", REDRAWN)
def test_a_figure_that_is_drawn_again_is_the_one_that_is_there(name: str, maker: ModuleType) -> None:
    """Digit for digit, but for the last one, which another processor may round the other way."""
    part, _, entry = name.partition("/")
    drawn = maker.of_activation(entry) if part == "activations" else maker.of_entry(entry)
    there = text_of(f"docs/catalogue/{name}.svg")
    pattern = r"-?\d+\.?\d*"
    assert re.sub(pattern, "0", drawn) == re.sub(pattern, "0", there)
    numbers = [[float(one) for one in re.findall(pattern, text)] for text in (drawn, there)]
    assert numbers[0] == pytest.approx(numbers[1], abs=0.11)


def test_links_of_the_pages_lead_somewhere() -> None:
    pages = [file.relative_to(ROOT).as_posix() for file in sorted(FOLDER.glob("*/*.md"))]
    assert {page: broken_links(page) for page in pages if broken_links(page)} == {}


def test_examples_of_the_pages_are_what_the_library_takes() -> None:
    for name in ns.ACTIVATIONS:
        code, *config = blocks(f"docs/catalogue/activations/{name}.md")
        exec(code.text.partition("\nother")[0])
        assert bool(config) is (ns.ACTIVATIONS[name].kind in IN_MODELS)
        for one in config:
            assert re.findall(r"^  activation: (?:\{kind: )?(\w+)", one.text, re.MULTILINE) == [name]
    for name in NORMS:
        exec(blocks(f"docs/catalogue/norms/{name}.md")[0].text.partition("\nother")[0])

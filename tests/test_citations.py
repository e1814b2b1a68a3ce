"""BibTeX that a bibliography program can read."""

from __future__ import annotations

import re

import pytest

import neurosim as ns
from neurosim.citations import CITATIONS, cite
from neurosim.errors import ConfigError


def test_there_is_something_to_cite() -> None:
    assert len(CITATIONS) > 0


@pytest.mark.parametrize("name", list(CITATIONS))
def test_every_entry_is_balanced_and_says_who_what_and_when(name: str) -> None:
    text = cite(name)
    depth = 0
    for sign in text:
        depth += {"{": 1, "}": -1}.get(sign, 0)
        assert depth >= 0
    assert depth == 0
    fields = CITATIONS[name].fields
    assert {"author", "title", "year"} <= set(fields)
    assert re.fullmatch(r"(19|20)\d\d", fields["year"])


@pytest.mark.parametrize("name", list(CITATIONS))
def test_every_entry_can_be_found_by_its_identifier_or_its_place(name: str) -> None:
    fields = CITATIONS[name].fields
    if "doi" in fields:
        assert re.fullmatch(r"10\.\d{4,5}/\S+", fields["doi"])
    elif "eprint" in fields:
        assert re.fullmatch(r"\d{4}\.\d{5}|\d{4}\.\d{4}", fields["eprint"])
    else:
        assert fields.keys() & {"booktitle", "institution", "journal"}


def test_no_two_entries_share_a_key() -> None:
    keys = [CITATIONS[name].key for name in CITATIONS]
    assert len(set(keys)) == len(keys)


def test_several_names_give_their_entries_in_that_order() -> None:
    assert re.findall(r"@\w+\{(\w+),", cite("philox", "analogvnn")) == [CITATIONS["philox"].key, CITATIONS["analogvnn"].key]


def test_no_name_gives_every_entry() -> None:
    assert cite().count("@") == len(CITATIONS)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'philox'"):
        cite("philos")


def test_every_citation_of_a_shipped_profile_exists() -> None:
    named = [name for profile in ns.list_profiles() for name in ns.load_profile(profile).citations]
    assert named
    assert cite(*named)

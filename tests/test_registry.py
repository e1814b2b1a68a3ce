"""Names for components."""

from __future__ import annotations

import pytest

from neurosim.errors import ConfigError
from neurosim.registry import Registry


@pytest.fixture
def colours() -> Registry[int]:
    registry: Registry[int] = Registry("colour")
    registry.add("red", 1)
    registry.add("blue", 2)
    return registry


def test_entries_are_found_by_name(colours: Registry[int]) -> None:
    assert colours["blue"] == 2


def test_a_name_is_given_once_only(colours: Registry[int]) -> None:
    with pytest.raises(ConfigError, match="colour: the name 'red' is already registered, to 1"):
        colours.add("red", 3)
    assert colours["red"] == 1


def test_an_unknown_name_is_answered_with_the_nearest(colours: Registry[int]) -> None:
    with pytest.raises(ConfigError, match="no colour is named 'bleu'; did you mean 'blue'"):
        colours["bleu"]


@pytest.mark.parametrize("name", [["red"], {"red": 1}, None, 3])
def test_what_is_no_name_at_all_is_the_same_error(colours: Registry[int], name: object) -> None:
    with pytest.raises(ConfigError, match="no colour is named"):
        colours[name]  # type: ignore[index]  # what a config may hold where a name should be


def test_names_come_in_alphabetical_order(colours: Registry[int]) -> None:
    assert list(colours) == ["blue", "red"]


def test_membership_and_length_count_the_entries(colours: Registry[int]) -> None:
    assert "red" in colours
    assert "green" not in colours
    assert len(colours) == 2


def test_a_decorated_class_stays_what_it_was() -> None:
    shapes: Registry[type] = Registry("shape")

    @shapes.register("circle")
    class Circle:
        pass

    assert shapes["circle"] is Circle

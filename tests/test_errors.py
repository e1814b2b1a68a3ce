"""Messages that help, and errors that survive a trip between processes."""

from __future__ import annotations

import pickle

import pytest

from neurosim.errors import CheckpointError, ConfigError, ConversionError, DataError, NeurosimError, RunError, nearest

ALL = [CheckpointError, ConfigError, ConversionError, DataError, RunError]


@pytest.mark.parametrize("kind", ALL)
def test_every_error_can_be_caught_as_ours_and_as_the_builtin_one(kind: type[NeurosimError]) -> None:
    assert issubclass(kind, NeurosimError)
    assert issubclass(kind, RuntimeError if kind is RunError else ValueError)


@pytest.mark.parametrize("kind", ALL)
def test_every_error_survives_pickling(kind: type[NeurosimError]) -> None:
    again = pickle.loads(pickle.dumps(kind("seed: must be positive, got -1")))
    assert type(again) is kind
    assert str(again) == "seed: must be positive, got -1"


def test_the_lines_of_a_config_error_are_its_problems() -> None:
    assert ConfigError("one\ntwo").problems == ("one", "two")


def test_problems_that_are_given_are_kept_as_they_are_and_survive_pickling() -> None:
    error = ConfigError("two problems", ["a: one\n  and its second line", "b: two"])
    assert pickle.loads(pickle.dumps(error)).problems == ("a: one\n  and its second line", "b: two")


def test_a_misspelt_name_gets_the_nearest_one_and_not_all() -> None:
    assert nearest("optimser", ["optimizer", "scheduler"]) == "; did you mean 'optimizer'?"


def test_a_strange_name_gets_the_valid_ones_when_they_are_few() -> None:
    assert nearest("zzz", ["b", "a", "a"]) == "; valid: 'a', 'b'"


def test_a_strange_name_gets_no_list_when_it_would_be_long() -> None:
    assert nearest("zzz", [f"name_{number}" for number in range(13)]) == ""


def test_nothing_is_suggested_where_nothing_is_valid() -> None:
    assert nearest("zzz", []) == ""

"""Checks of settings: what passes, and what the others are told."""

from __future__ import annotations

import math

import numpy as np
import pytest

from neurosim.checks import number, one_of, whole
from neurosim.errors import ConfigError


def test_whole_numbers_of_any_kind_pass_as_plain_ones() -> None:
    assert [type(whole("it", value, 1, 7)) for value in (1, 7, np.int64(3))] == [int, int, int]


@pytest.mark.parametrize("value", [0, 8, 2.0, True, "3", None])
def test_what_is_no_whole_number_of_the_range_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match=r"^it: must be a whole number, from 1 to 7, got "):
        whole("it", value, 1, 7)


def test_numbers_of_any_kind_pass_as_plain_ones() -> None:
    assert [number("it", value, ge=0, lt=1) for value in (0, 0.5, np.float32(0.25))] == [0.0, 0.5, 0.25]
    assert number("it", -1e300) == -1e300


@pytest.mark.parametrize("value", [0, 1, -1, math.nan, math.inf, True, "0.5", None])
def test_what_is_no_number_of_the_range_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match=r"^it: must be a finite number > 0 and < 1, got "):
        number("it", value, gt=0, lt=1)


def test_a_word_that_is_not_allowed_is_answered_with_the_nearest() -> None:
    assert one_of("it", "rate", ["rate", "latency"]) == "rate"
    with pytest.raises(ConfigError, match="must be one of 'rate', 'latency', got 'latncy'; did you mean 'latency'"):
        one_of("it", "latncy", ["rate", "latency"])
    with pytest.raises(ConfigError, match=r"must be one of 'rate', 'latency', got 'zzz'$"):
        one_of("it", "zzz", ["rate", "latency"])

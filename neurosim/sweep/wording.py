"""How a report writes its numbers: accuracies in percent, drops in percentage points, losses as they are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neurosim.plot import number

Numbers = Mapping[str, Any]  #: an interval of a digest: value, low, high, n, method; numbers or ``None``

_METHODS = {
    "t": "Student's t",
    "bca": "BCa bootstrap",
    "t+bca": "the wider of Student's t and BCa bootstrap",
    "wilson": "Wilson score",
    "mover": "Newcombe's paired score",
    "constant": "all values equal",
    "none": "too few for an interval",
}


def decimal(x: float) -> str:
    """A number with four digits behind the point, or with its first three where those would hide them.

    >>> decimal(0.25), decimal(0.0), decimal(0.00312), decimal(-1.2e-7)
    ('0.2500', '0.0000', '0.00312', '-1.2e-07')
    """
    return f"{x:.4f}" if x == 0 or not abs(x) < 0.01 else f"{x:.3g}"


@dataclass(frozen=True)
class Wording:
    """Texts for the numbers of one metric.

    Args:
        metric: Its name.
        higher_is_better: Whether more is better.
        percent: Whether it is a share of samples, written in percent.
    """

    metric: str
    higher_is_better: bool = True
    percent: bool = True

    @property
    def scale(self) -> float:
        """What numbers are multiplied by to be in the unit they are written in."""
        return 100.0 if self.percent else 1.0

    @property
    def name(self) -> str:
        """The metric as an axis names it."""
        return f"{self.metric} (%)" if self.percent else self.metric

    @property
    def worse(self) -> str:
        """What getting worse is called."""
        return "drop" if self.higher_is_better else "rise"

    @property
    def worse_by(self) -> str:
        """The difference as an axis names it."""
        return f"{self.metric} {self.worse} (points)" if self.percent else f"{self.metric} {self.worse}"

    def value(self, x: float | None) -> str:
        """A value of the metric.

        >>> Wording("accuracy").value(0.9612), Wording("loss", percent=False).value(0.25)
        ('96.1 %', '0.2500')
        """
        if x is None:
            return "n/a"
        return f"{self.bare(x)} %" if self.percent else self.bare(x)

    def bare(self, x: float) -> str:
        """A value of the metric without its unit."""
        return f"{100 * x:.1f}" if self.percent else decimal(x)

    def points(self, x: float | None) -> str:
        """A difference of two values, with its unit.

        >>> Wording("accuracy").points(0.0071), Wording("loss", percent=False).points(0.25)
        ('0.71 points', '0.2500')
        """
        if x is None:
            return "n/a"
        return f"{self.difference(x)} points" if self.percent else self.difference(x)

    def limit(self, x: float) -> str:
        """An accepted difference, as it was asked for.

        >>> Wording("accuracy").limit(0.02), Wording("loss", percent=False).limit(0.05)
        ('2 points', '0.05')
        """
        return f"{100 * x:.4g} points" if self.percent else f"{x:.4g}"

    def interval(self, i: Numbers | None) -> str:
        """Both ends of the interval of a value, in the unit of `value`.

        >>> Wording("accuracy").interval({"low": 0.958, "high": 0.964})
        '[95.8, 96.4]'
        """
        if i is None or i["low"] is None:
            return "no interval"
        return f"[{self.bare(i['low'])}, {self.bare(i['high'])}]"

    def interval_of_points(self, i: Numbers | None) -> str:
        """Both ends of the interval of a difference, in the unit of `points`."""
        if i is None or i["low"] is None:
            return "no interval"
        return f"[{self.difference(i['low'])}, {self.difference(i['high'])}]"

    def bare_points(self, i: Numbers | None) -> str:
        """A difference and its interval, without the unit: for a column whose head names it."""
        if i is None or i["value"] is None:
            return "n/a"
        return self.difference(i["value"]) + (f" {self.interval_of_points(i)}" if i["low"] is not None else "")

    def bare_value(self, i: Numbers | None) -> str:
        """A value and its interval."""
        if i is None or i["value"] is None:
            return "n/a"
        return self.value(i["value"]) + (f" {self.interval(i)}" if i["low"] is not None else "")

    def difference(self, x: float | None) -> str:
        """A difference of two values, without its unit."""
        if x is None:
            return "n/a"
        text = f"{100 * x:.2f}" if self.percent else decimal(x)
        return text[1:] if text.startswith("-") and not float(text) else text


def share(i: Numbers | None) -> str:
    """A share and its interval in percent.

    >>> share({"value": 0.96, "low": 0.8046, "high": 0.9929})
    '96 % [80.5, 99.3]'
    """
    if i is None or i["value"] is None:
        return "n/a"
    return percent(i["value"]) + (f" {ends(i)}" if i["low"] is not None else "")


def ends(i: Numbers | None) -> str:
    """Both ends of the interval of a share, in percent.

    >>> ends({"low": 0.8046, "high": 0.9929})
    '[80.5, 99.3]'
    """
    return "no interval" if i is None or i["low"] is None else f"[{100 * i['low']:.1f}, {100 * i['high']:.1f}]"


def percent(x: float | None) -> str:
    """A share in percent, with as many digits as it needs, one at most."""
    return "n/a" if x is None else f"{100 * x:.1f}".removesuffix(".0") + " %"


def method(i: Numbers | None) -> str:
    """What kind of interval it is, in words."""
    return _METHODS.get(i["method"], str(i["method"])) if i else "no interval"


def duration(seconds: float | None) -> str:
    """A time in the two units that matter.

    >>> duration(7.25), duration(200.0), duration(7300.0), duration(None)
    ('7.2 s', '3 min 20 s', '2 h 1 min', 'n/a')
    """
    if seconds is None:
        return "n/a"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def settings(values: Mapping[str, Any]) -> str:
    """Settings in one line.

    >>> settings({"leakage": 0.2, "precision": 16})
    'leakage = 0.2, precision = 16'
    """
    return ", ".join(f"{axis} = {number(value)}" for axis, value in values.items())


def date(text: str | None) -> str | None:
    """A time stamp as people read it.

    >>> date("2026-01-02T03:04:05Z"), date("yesterday")
    ('2026-01-02 03:04 UTC', 'yesterday')
    """
    found = re.fullmatch(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(:\d\d(\.\d+)?)?(Z|\+00:00)", text or "")
    return f"{found[1]} {found[2]} UTC" if found else text


def count(n: int, what: str) -> str:
    """A number of things, singular where it is one.

    >>> count(1, "chip"), count(25, "chip")
    ('1 chip', '25 chips')
    """
    return f"{n} {what}" if n == 1 else f"{n} {what}s"

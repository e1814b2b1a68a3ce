"""From trials to what they mean: one row of intervals for every point, scope and layer, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neurosim.sweep.results import OK, Results, Scope, unpack
from neurosim.sweep.statistics import (
    LEVEL,
    ROUNDING,
    Drop,
    Floats,
    Interval,
    accuracy_interval,
    by_chip,
    chips_needed,
    drop_over_samples,
    mean_interval,
    provable_yield,
    yield_interval,
)


class Verdict(NamedTuple):
    """The answer to "is it good enough?", and why in one sentence."""

    word: Literal["PASS", "FAIL", "NOT PROVEN"]
    reason: str


class Summary(NamedTuple):
    """All trials of one point, scope and layer, reads averaged within each chip first."""

    point: int
    scope: Scope
    layer: int
    value: Interval  #: the metric, over chips
    value_over_samples: Interval | None  #: the metric, over test samples; ``None`` where it is not made of hits
    drop: Drop  #: against the digital model, positive is worse
    share: Interval | None  #: yield: share of chips within the accepted drop; ``None`` where none was set
    chips: NDArray[np.uint64]  #: chip seeds, ascending, (n,)
    values: Floats  #: the metric of each of them, (n,); NaN where a read failed
    unfinished: int  #: trials that failed or were not finite


def summarise(results: Results, *, level: float = LEVEL, seed: int = 0) -> list[Summary]:
    """Intervals of every combination of point, scope and layer, in that order.

    Args:
        results: A study.
        level: Confidence of the intervals, 0..1.
        seed: Seed of the resampling.
    """
    rank = {"all": 0, "each": 1, "all_but_one": 2}
    cells = {(int(p), str(s), int(k)) for p, s, k in zip(*(results.trials[c] for c in ("point", "scope", "layer")), strict=True)}
    return [summarise_one(results, *cell, level=level, seed=seed) for cell in sorted(cells, key=lambda c: (c[0], rank[c[1]], c[2]))]


def summarise_one(results: Results, point: int, scope: Any, layer: int, *, level: float = LEVEL, seed: int = 0) -> Summary:
    """Intervals of one combination of point, scope and layer, as in `summarise`."""
    mask, trials = results.where(point=point, scope=scope, layer=layer), results.trials
    finished = mask & (trials["status"] == OK)
    chips, values = by_chip(trials["chip"][mask], np.where(finished, trials["value"], np.nan)[mask])
    sign = 1.0 if results.meta.get("higher_is_better", True) else -1.0
    drops = sign * (results.baseline.value - values)
    value, over_samples, drop_samples = mean_interval(values, level=level, seed=seed), None, None
    n = results.baseline.n_total
    if results.bits.shape[1] and finished.any():
        value = value.within(0.0, 1.0)
        hits = by_chip(trials["chip"][finished], unpack(results.bits[finished], n))[1].mean(axis=0)
        over_samples = accuracy_interval(hits, level=level, seed=seed)
        drop_samples = drop_over_samples(unpack(results.baseline.bits, n), hits, level=level, seed=seed)
    limit = (results.meta.get("accept") or {}).get("drop_at_most")
    share = yield_interval(drops, float(limit), level=level) if limit is not None else None
    drop = Drop(mean_interval(drops, level=level, seed=seed), drop_samples)
    return Summary(point, scope, layer, value, over_samples, drop, share, chips, values, int(np.sum(mask & ~finished)))


def judge(results: Results, *, level: float = LEVEL, seed: int = 0) -> Verdict:
    """The verdict on the configured hardware: scope ``all`` at the nominal point, against ``meta["accept"]``."""
    point, accept = results.meta.get("nominal_point"), results.meta.get("accept")
    if point is None or not results.where(point=point, scope="all").any():
        return verdict(accept, None)
    row = summarise_one(results, point, "all", -1, level=level, seed=seed)
    return verdict(accept, row.drop, row.share, row.unfinished)


def verdict(accept: Mapping[str, Any] | None, drop: Drop | None, share: Interval | None = None, unfinished: int = 0) -> Verdict:
    """Judge: PASS only if every whole interval satisfies the acceptance, FAIL only if a whole interval violates it.

    Args:
        accept: ``drop_at_most`` and ``yield_at_least`` (share of chips whose drop is at most that); either may be missing or ``None``.
        drop: The drop at the hardware that was asked about.
        share: Its yield, from `yield_interval`.
        unfinished: Trials that failed or were not finite; with any of them nothing is proven good.

    Returns:
        The word, and one sentence.
    """
    limit, target = (accept or {}).get("drop_at_most"), (accept or {}).get("yield_at_least")
    if limit is None:
        return Verdict("NOT PROVEN", "No acceptance was set.")
    if drop is None:
        return Verdict("NOT PROVEN", "Nothing was measured at the configured hardware.")
    parts = [_judge_drop(drop, float(limit))]
    if target is not None and share is not None:
        parts.append(_judge_yield(share, float(limit), float(target)))
    words = [part.word for part in parts]
    word: Literal["PASS", "FAIL", "NOT PROVEN"] = "FAIL" if "FAIL" in words else "NOT PROVEN" if "NOT PROVEN" in words else "PASS"
    if word == "PASS" and unfinished:
        return Verdict("NOT PROVEN", f"Of the trials {unfinished} did not finish, and the rest cannot speak for them.")
    reason = "; ".join(part.reason for part in parts if part.word == word)
    return Verdict(word, reason[0].upper() + reason[1:] + ".")


def _judge_drop(drop: Drop, limit: float) -> Verdict:
    sides = [(drop.over_chips, "chips")] + ([(drop.over_samples, "samples")] if drop.over_samples is not None else [])
    text = f"the mean drop is {_show(drop.value)}"
    if not drop.over_chips.known:
        few = drop.over_chips.n < 2
        return Verdict("NOT PROVEN", f"{text}: {'one chip says nothing about others' if few else 'some chips gave no number'}")
    text += ", " + " and ".join(f"[{_show(side.low)}, {_show(side.high)}] over {side.n} {what}" for side, what in sides)
    if all(side.high <= limit + ROUNDING for side, _ in sides):
        return Verdict("PASS", f"{text}, within {_show(limit)}")
    if all(side.low > limit + ROUNDING for side, _ in sides):
        return Verdict("FAIL", f"{text}, above {_show(limit)}")
    return Verdict("NOT PROVEN", f"{text}, not wholly on one side of {_show(limit)}")


def _judge_yield(share: Interval, limit: float, target: float) -> Verdict:
    good = round(share.value * share.n) if share.n else 0
    chips = "chip stays" if share.n == 1 else "chips stay"
    text = f"{good} of {share.n} {chips} within {_show(limit)}, a yield of [{_show(share.low)}, {_show(share.high)}]"
    if share.known and share.low >= target - ROUNDING:
        return Verdict("PASS", f"{text}, at least {_show(target)}")
    if share.known and share.high < target - ROUNDING:
        return Verdict("FAIL", f"{text}, below {_show(target)}")
    needed = chips_needed(target)
    if needed is not None and share.n < needed:
        return Verdict(
            "NOT PROVEN", f"{text}; {share.n} chips can prove {_show(provable_yield(share.n))} at most, {_show(target)} needs {needed}"
        )
    return Verdict("NOT PROVEN", f"{text}, not wholly on one side of {_show(target)}")


def _show(x: float) -> str:
    return f"{x:.4f}".rstrip("0").rstrip(".") if np.isfinite(x) else "unknown"

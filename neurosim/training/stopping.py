"""Which epoch was the best so far, and when to give up."""

from __future__ import annotations

from typing import NamedTuple


class Watch(NamedTuple):
    """The course of the validation metric; a tie leaves the earlier epoch the best."""

    best: float | None = None  #: best value seen
    best_epoch: int = 0  #: its epoch, counted from 1; 0 before the first
    mark: float | None = None  #: the value that has to be beaten by more than ``min_delta``
    since: int = 0  #: epochs since it was


def observe(watch: Watch, value: float, epoch: int, *, higher_is_better: bool, min_delta: float = 0.0) -> Watch:
    """The watch after one more epoch.

    Args:
        watch: Before it.
        value: Of the metric, finite.
        epoch: Counted from 1.
        higher_is_better: Of the metric.
        min_delta: How much better than the mark counts as progress, ≥ 0.

    >>> observe(Watch(0.5, 1, 0.5, 0), 0.6, 2, higher_is_better=True)
    Watch(best=0.6, best_epoch=2, mark=0.6, since=0)
    """
    sign = 1.0 if higher_is_better else -1.0
    if watch.best is None or sign * value > sign * watch.best:
        watch = watch._replace(best=value, best_epoch=epoch)
    if watch.mark is None or sign * (value - watch.mark) > min_delta:
        return watch._replace(mark=value, since=0)
    return watch._replace(since=watch.since + 1)


def is_over(watch: Watch, patience: int | None) -> bool:
    """Whether there was no progress for ``patience`` epochs; ``None`` never gives up."""
    return patience is not None and watch.since >= patience

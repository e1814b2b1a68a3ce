"""Best epoch and early stopping."""

from __future__ import annotations

from neurosim.training.stopping import Watch, is_over, observe


def run(values: list[float], *, higher: bool = True, delta: float = 0.0) -> list[Watch]:
    watch, course = Watch(), []
    for epoch, value in enumerate(values, 1):
        watch = observe(watch, value, epoch, higher_is_better=higher, min_delta=delta)
        course.append(watch)
    return course


def test_the_best_epoch_is_the_earliest_of_the_best() -> None:
    last = run([0.2, 0.6, 0.5, 0.6])[-1]
    assert (last.best, last.best_epoch) == (0.6, 2)


def test_lower_may_be_better() -> None:
    last = run([2.0, 1.0, 1.5], higher=False)[-1]
    assert (last.best, last.best_epoch, last.since) == (1.0, 2, 1)


def test_patience_counts_the_epochs_without_progress() -> None:
    assert [is_over(watch, 2) for watch in run([0.5, 0.6, 0.6, 0.5, 0.7])] == [False, False, False, True, False]


def test_no_patience_never_gives_up() -> None:
    assert not any(is_over(watch, None) for watch in run([0.5] * 50))


def test_small_gains_are_no_progress_but_may_be_the_best() -> None:
    last = run([0.50, 0.51, 0.52, 0.53], delta=0.1)[-1]
    assert last == Watch(best=0.53, best_epoch=4, mark=0.50, since=3)


def test_many_small_gains_together_are_progress() -> None:
    assert [watch.since for watch in run([0.0, 0.25, 0.5, 0.75], delta=0.375)] == [0, 1, 0, 1]

"""Events, each with a time and a unit, counted on a grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def bin_events(
    times: NDArray[np.floating],
    units: NDArray[np.integer],
    lengths: NDArray[np.integer],
    *,
    time_steps: int,
    dt: float,
    inputs: int,
    pool: int = 1,
) -> NDArray[np.int64]:
    r"""How many events of each sample fall into each step and input.

    .. math:: y_{n,t,u} = \#\{\text{events of } n:\ \lfloor \mathrm{time} / \Delta t \rfloor = t,\ \lfloor \mathrm{unit} / p \rfloor = u\}

    Events at :math:`T \Delta t` or later are left out. Times are divided as float64: in float16, as they are often stored, quotients of a
    second by a small step overflow.

    Args:
        times: Of the events, seconds, ≥ 0, one sample after the other, in any order within a sample.
        units: Which unit each event belongs to, from 0 to ``inputs`` - 1.
        lengths: How many events each sample has, in the order of the samples.
        time_steps: Length of the grid T.
        dt: Length of a step, seconds, > 0.
        inputs: Number of units; a multiple of ``pool``.
        pool: How many neighbouring units share an input p.

    Shapes:
        times, units ``(events,)``; lengths ``(samples,)``; result ``(samples, time_steps, inputs / pool)``.

    >>> bin_events(np.array([0.1, 0.1, 0.35]), np.array([2, 3, 0]), np.array([3]), time_steps=2, dt=0.2, inputs=4, pool=2).tolist()
    [[[0, 2], [1, 0]]]
    """
    step = np.floor(times.astype(np.float64) / dt)
    within = step < time_steps
    sample = np.repeat(np.arange(len(lengths)), lengths)[within]
    shape = len(lengths), time_steps, inputs // pool
    place = np.ravel_multi_index((sample, step[within].astype(np.int64), units[within].astype(np.int64) // pool), shape)
    return np.bincount(place, minlength=shape[0] * shape[1] * shape[2]).reshape(shape)

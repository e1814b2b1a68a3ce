"""Begin a run to see whether it can be, and how long its steps take."""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from dataclasses import replace
from typing import NamedTuple

from neurosim.config import RunConfig
from neurosim.errors import DivergenceError
from neurosim.training.folder import create_folder
from neurosim.training.recipe import load_recipe
from neurosim.training.run import carry_out


class Rehearsal(NamedTuple):
    """What the first steps of a run told; a run that trains nothing is one step."""

    seconds_per_step: float  #: NaN where no step was finished
    steps: int  #: of the whole run; 0 where no step was finished

    @property
    def seconds(self) -> float:
        """The time that all steps of the run take; evaluation between the epochs and at the end comes on top."""
        return self.seconds_per_step * self.steps


class _Curtain(BaseException):
    """Ends a rehearsal; no error, so that no recipe handles it as one."""


def rehearse(config: RunConfig, steps: int = 3) -> Rehearsal:
    """Begin a run with its own recipe and stop it after a few steps; nothing is left of it.

    What the recipe checks before it trains is checked: data, model, hardware.

    Args:
        config: Of the run.
        steps: How many to take. The first is not timed where there are others.

    Raises:
        ConfigError: The configuration does not hold.
        DataError: The data cannot be had.
    """
    moments: list[float] = []
    whole = 0

    def watch(done: int, total: int) -> None:
        nonlocal whole
        moments.append(time.perf_counter())
        whole = total
        if done >= steps:
            raise _Curtain

    with tempfile.TemporaryDirectory(prefix="neurosim-") as place, contextlib.redirect_stderr(io.StringIO()):
        elsewhere = config.model_copy(update={"log": config.log.model_copy(update={"dir": place, "tensorboard": False})})
        folder = replace(create_folder(elsewhere, {}), after_step=watch)
        program = load_recipe(config.recipe)
        started = time.perf_counter()
        with contextlib.suppress(_Curtain, DivergenceError):  # that it diverges is for the run itself to find
            carry_out(program, elsewhere, folder)
            if not moments:
                return Rehearsal(time.perf_counter() - started, 1)
    if not moments:
        return Rehearsal(float("nan"), 0)
    timed = moments if len(moments) > 1 else [started, *moments]
    return Rehearsal((timed[-1] - timed[0]) / (len(timed) - 1), whole)

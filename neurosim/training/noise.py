"""How much noise a model is trained with, and how often it is drawn anew."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

from torch import nn

from neurosim.convert import analog_layers, get_draws, redraw, set_draw, set_draws, set_noise_strength
from neurosim.errors import ConfigError, nearest

SCHEDULES: Final = ("constant", "linear_ramp")
REDRAWS: Final = ("step", "epoch")
EVALUATION_DRAW: Final = 1 << 31  #: noise counters from here on belong to the validations of a run; training never gets there


class NoisePlan:
    """Sets strength and draw of a model's noise before every step; does nothing to a model that draws no random numbers.

    Noise is that of hardware, and what encoders and neurons of spiking networks draw by the network's seed; the strength is of hardware.

    A validation sees the full noise whatever the ramp says, the same draws in every epoch (so that epochs are compared on equal terms), and
    leaves the draws of the training as they were.

    Args:
        model: The model that is trained.
        schedule: ``constant``: full strength; ``linear_ramp``: from 0 to full strength over ``ramp_steps``.
        ramp_steps: Steps of the ramp, ≥ 0.
        redraw_every: ``step``: new noise in every forward; ``epoch``: one draw is held for an epoch.

    Raises:
        ConfigError: No such schedule or policy.
    """

    def __init__(self, model: nn.Module, schedule: str = "constant", *, ramp_steps: int = 0, redraw_every: str = "step") -> None:
        if schedule not in SCHEDULES:
            raise ConfigError(f"train.noise.schedule: no schedule is named {schedule!r}{nearest(schedule, SCHEDULES)}")
        if redraw_every not in REDRAWS:
            raise ConfigError(f"train.noise.redraw: no policy is named {redraw_every!r}{nearest(redraw_every, REDRAWS)}")
        self._model = model
        self._ramp_steps = ramp_steps if schedule == "linear_ramp" else 0
        self._hold = redraw_every == "epoch"
        self.active = bool(analog_layers(model))  #: whether the model has any analog layer
        self._draws = bool(get_draws(model))

    def strength(self, step: int) -> float:
        r"""The factor of every random error at step :math:`t` (the first is 0): :math:`\min(1, (t + 1)/r)` over a ramp of :math:`r`."""
        return min(1.0, (step + 1) / max(self._ramp_steps, 1))

    def before_step(self, step: int, epoch: int) -> None:
        """Make the model's noise that of ``step`` in ``epoch`` (counted from 0)."""
        if not self._draws:
            return
        set_noise_strength(self._model, self.strength(step))
        if self._hold:
            redraw(self._model, "manual")
            set_draw(self._model, epoch)

    @contextlib.contextmanager
    def evaluation(self) -> Iterator[None]:
        """Full noise and draws of its own, for a validation between two steps."""
        if not self._draws:
            yield
            return
        draws = get_draws(self._model)
        set_noise_strength(self._model, 1.0)
        redraw(self._model, "forward")
        set_draw(self._model, EVALUATION_DRAW)
        try:
            yield
        finally:
            set_draws(self._model, draws)  # strength and policy are set again before the next step

    def end(self) -> None:
        """Leave the model with full noise that is new in every forward."""
        if self._draws:
            set_noise_strength(self._model, 1.0)
            redraw(self._model, "forward")

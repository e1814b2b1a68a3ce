"""Temperature: conductances at another temperature than the one they were programmed at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from neurosim.hardware.devices import at_temperature
from neurosim.hardware.stage import STAGES, Context, Params, Spec, Stage, Unit
from neurosim.random import Stream


class Temperature(Spec):
    """Multiplies each conductance by what the chain's temperature makes of it."""

    kind: Literal["temperature"] = "temperature"
    temperature_coefficient_per_kelvin: float = 0.0
    """Relative change of conductance with temperature."""
    activation_ev: float = 0.0
    """Activation energy of the conductance, for devices that follow the law of Arrhenius."""
    reference_kelvin: Annotated[float, Field(gt=0)] = 300.0
    """The temperature at which conductances are what was programmed."""
    spread: Annotated[float, Field(ge=0), Unit("1")] = 0.0
    """Standard deviation of coefficient and activation energy between devices, relative to them."""
    scope: Literal["device"] = "device"
    """How long that difference between devices lives: with the chip."""

    @model_validator(mode="after")
    def _something_to_do(self) -> Self:
        if self.temperature_coefficient_per_kelvin == 0 and self.activation_ev == 0:
            raise ValueError("give temperature_coefficient_per_kelvin, activation_ev or both")
        return self


class FrozenSensitivity(NamedTuple):
    """What a chip keeps."""

    standard: Tensor  #: standard normal numbers, in the shape that was programmed


def _program(spec: Temperature, params: Params, shape: Sequence[int], stream: Stream) -> FrozenSensitivity | None:
    return FrozenSensitivity(stream.normal(shape, like=torch.empty(0))) if spec.spread > 0 else None


def _apply(x: Tensor, spec: Temperature, params: Params, device: FrozenSensitivity | None, ctx: Context) -> Tensor:
    coefficient: Tensor | float = spec.temperature_coefficient_per_kelvin
    energy: Tensor | float = spec.activation_ev
    if ctx.stream is not None and device is not None:
        own = 1 + ctx.strength * spec.spread * device.standard.to(x.dtype)
        coefficient, energy = coefficient * own, energy * own
    return at_temperature(x, ctx.kelvin, spec.reference_kelvin, coefficient=coefficient, activation_ev=energy)


def _describe(spec: Temperature) -> str:
    parts = [f"{100 * spec.temperature_coefficient_per_kelvin:.3g} % per kelvin"] if spec.temperature_coefficient_per_kelvin else []
    parts += [f"activation energy {spec.activation_ev:.3g} eV"] if spec.activation_ev else []
    spread = f", a spread of {100 * spec.spread:.3g} % between devices" if spec.spread else ""
    return f"conductance changes with temperature: {' and '.join(parts)} around {spec.reference_kelvin:g} K{spread}"


STAGES.add(
    "temperature",
    Stage(Temperature, _apply, _describe, program=_program, device=FrozenSensitivity, random=lambda spec: spec.spread > 0),
)

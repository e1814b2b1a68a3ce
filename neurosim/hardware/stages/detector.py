"""Photodetection: shot, thermal and source noise of a summed signal, from physical units."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from pydantic import Field
from torch import Tensor

from neurosim.hardware.gradient import straight_through
from neurosim.hardware.link import rin_variance, shot_variance, thermal_variance
from neurosim.hardware.stage import STAGES, Context, Params, Spec, Stage


class Detector(Spec):
    """A photodiode, or a balanced pair, at the end of each output.

    A signal of 1 is one input of full scale times one weight of full scale: ``power_w`` on the detector. The sum of n inputs lies in
    [-n, n], and its current is that many times larger. A negative sum is the current of the other diode of a pair.
    """

    kind: Literal["detector"] = "detector"
    power_w: Annotated[float, Field(gt=0)]
    """Optical power on the detector for a signal of 1."""
    responsivity_a_per_w: Annotated[float, Field(gt=0)]
    """Photocurrent for the optical power."""
    bandwidth_hz: Annotated[float, Field(gt=0)]
    """Noise bandwidth."""
    load_ohm: Annotated[float, Field(gt=0)]
    """Load resistor, whose thermal noise at the chip's temperature is added."""
    dark_current_a: Annotated[float, Field(ge=0)] = 0.0
    """Of all diodes of one output together."""
    background_w: Annotated[float, Field(ge=0)] = 0.0
    """Light on the diodes that is no signal and makes shot noise: what a balanced pair subtracts, the dark state of modulators."""
    rin_db_per_hz: float | None = None
    """Intensity noise of the source as each detector sees it by itself. A source whose noise is common to several outputs or inputs
    belongs into ``input.noise`` instead (stage ``source``)."""
    saturation_a: Annotated[float | None, Field(gt=0)] = None
    """Largest photocurrent of a diode: larger signals are cut there; null for no limit."""
    grad: Literal["through", "ste"] = "through"
    """Gradient rule: ``through`` is the derivative of the noisy value, that of the noise's strength included; ``ste`` is 1."""

    def coefficients(self, kelvin: float) -> NoiseTerms:
        """Variance at that temperature, in units of the signal squared."""
        current, bandwidth = self.responsivity_a_per_w * self.power_w, self.bandwidth_hz
        constant = shot_variance(self.dark_current_a + self.responsivity_a_per_w * self.background_w, bandwidth)
        constant += thermal_variance(kelvin, self.load_ohm, bandwidth)
        return NoiseTerms(
            constant / current**2, shot_variance(current, bandwidth) / current**2, rin_variance(1.0, self.rin_db_per_hz, bandwidth)
        )

    @property
    def largest(self) -> float | None:
        """The signal at which a diode saturates."""
        return None if self.saturation_a is None else self.saturation_a / (self.responsivity_a_per_w * self.power_w)


class NoiseTerms(NamedTuple):
    """Variance of a signal y: ``constant + linear |y| + square y²``."""

    constant: float
    linear: float
    square: float


def detect(x: Tensor, standard: Tensor | None, terms: NoiseTerms, *, largest: float | None = None, strength: float = 1.0) -> Tensor:
    r"""A signal as a detector reports it.

    .. math:: y = c + s\,\xi\sqrt{\sigma_0^2 + \sigma_1^2 |c| + \sigma_2^2 c^2}, \qquad c = \min(\max(x, -x_{max}), x_{max})

    Shot noise grows with the root of the light, thermal noise not at all, that of the source like the light itself.

    Args:
        x: Summed signals, any shape.
        standard: ξ, standard normal numbers of that shape; ``None`` is noiseless.
        terms: The three variances; the first is > 0.
        largest: x_max; ``None`` for no limit.
        strength: s.

    Returns:
        Same shape and dtype as ``x``.

    Source:
        :mod:`neurosim.hardware.link`.

    >>> import torch
    >>> detect(torch.tensor([0.0, 1.0, -4.0]), torch.ones(3), NoiseTerms(0.01, 0.03, 0.0), largest=2.0)
    tensor([ 0.1000,  1.2000, -1.7354])
    """
    kept = x if largest is None else x.clamp(-largest, largest)
    if standard is None:
        return kept
    variance = terms.constant + terms.linear * kept.abs() + terms.square * kept.square()
    return kept + variance.sqrt() * standard * strength


def _apply(x: Tensor, spec: Detector, params: Params, device: None, ctx: Context) -> Tensor:
    standard = None if ctx.stream is None or ctx.strength == 0 else ctx.stream.normal(x.shape, like=x)
    terms = spec.coefficients(ctx.kelvin)
    if spec.grad == "through":
        return detect(x, standard, terms, largest=spec.largest, strength=ctx.strength)
    return straight_through(x, detect(x.detach(), standard, terms, largest=spec.largest, strength=ctx.strength))


def _describe(spec: Detector) -> str:
    at_one = sum(spec.coefficients(300.0)) ** 0.5
    text = f"detector, {spec.responsivity_a_per_w:g} A/W, {spec.bandwidth_hz:.3g} Hz, {1e6 * spec.power_w:.4g} uW at a signal of 1"
    cut = f", saturating at a signal of {spec.largest:.4g}" if spec.largest is not None else ""
    return f"{text}: noise σ = {at_one:.3g} there (300 K){cut}"


STAGES.add("detector", Stage(Detector, _apply, _describe, random=lambda spec: True))

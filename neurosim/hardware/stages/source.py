"""Light source and modulator: from a drive signal to optical power, with the intensity noise of the source."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor

from neurosim.errors import ConfigError
from neurosim.hardware.link import ratio, rin_variance
from neurosim.hardware.stage import STAGES, Context, Params, Spec, Stage, Unit
from neurosim.random import Stream

Transfer = Literal["linear", "sin2"]
Arms = Literal["differential", "single"]


class Source(Spec):
    """Lasers whose light modulators turn into the inputs; one laser may feed many inputs, which then share its noise."""

    kind: Literal["source"] = "source"
    rin_db_per_hz: float | None = None
    """Relative intensity noise of a source; null for none."""
    bandwidth_hz: Annotated[float | None, Field(gt=0)] = None
    """Bandwidth over which that noise counts: the detector's. Needed with ``rin_db_per_hz``."""
    channels_per_source: Annotated[int | None, Field(ge=1), Unit("1")] = None
    """How many neighbouring inputs one source feeds; null: one source feeds them all."""
    extinction_ratio_db: Annotated[float | None, Field(gt=0)] = None
    """Bright over dark power of a modulator; null: dark is without light."""
    insertion_loss_db: Annotated[float, Field(ge=0)] = 0.0
    """Of the modulator in its bright state. Full scale is the light before it, so that the signal is that much smaller."""
    transfer: Transfer = "linear"
    """Power for the drive x: ``linear`` (predistorted), or ``sin2``: sin²(πx/2), an interferometer driven without correction."""
    arms: Arms = "differential"
    """``differential``: a positive and a negative arm whose dark light cancels, inputs in [-1, 1]; ``single``: one arm, inputs in [0, 1],
    whose dark light stays in the signal."""

    @model_validator(mode="after")
    def _bandwidth(self) -> Source:
        if self.rin_db_per_hz is not None and self.bandwidth_hz is None:
            raise ValueError("intensity noise needs bandwidth_hz beside rin_db_per_hz")
        return self

    @property
    def relative_noise(self) -> float:
        """Standard deviation of a source's power, in units of it."""
        return math.sqrt(rin_variance(1.0, self.rin_db_per_hz, self.bandwidth_hz or 0.0))

    def fed_by_one(self, inputs: int) -> int:
        """How many of so many inputs one source feeds."""
        return self.channels_per_source or max(inputs, 1)


def modulate(
    x: Tensor,
    *,
    transfer: Transfer = "linear",
    arms: Arms = "differential",
    extinction_ratio_db: float | None = None,
    insertion_loss_db: float = 0.0,
) -> Tensor:
    r"""Optical signal for a drive.

    .. math:: y = 10^{-L/10}\,\big((1 - e)\,m(x) + e\,[\text{single arm}]\big), \qquad e = 10^{-\mathrm{ER}/10}, \qquad
        m(x) = x \;\text{or}\; \mathrm{sign}(x)\sin^2\tfrac{\pi x}{2}

    Args:
        x: Drive, in full scales.
        transfer, arms, extinction_ratio_db, insertion_loss_db: See :class:`Source`.

    Returns:
        Same shape and dtype, in units of the full light before the modulator.

    >>> modulate(torch.tensor([0.0, 0.5, 1.0]), transfer="sin2", arms="single", extinction_ratio_db=10.0)
    tensor([0.1000, 0.5500, 1.0000])
    """
    dark = 0.0 if extinction_ratio_db is None else ratio(-extinction_ratio_db)
    bright = ratio(-insertion_loss_db)
    light = x if transfer == "linear" else x.sign() * torch.sin(0.5 * math.pi * x).square()
    return light * (bright * (1.0 - dark)) + (bright * dark if arms == "single" else 0.0)


class Wiring(NamedTuple):
    """Which light goes where."""

    source: Tensor  #: index of the source that feeds each input, int64, shape of one sample with 1 for every spatial axis


def _program(spec: Source, params: Params, shape: Sequence[int], stream: Stream) -> Wiring:
    return Wiring((torch.arange(math.prod(shape)) // spec.fed_by_one(math.prod(shape))).reshape(tuple(shape)))


def shared(x: Tensor, source: Tensor, sources: int, stream: Stream) -> Tensor:
    """Standard normal numbers for a signal, one for each source at every sample and place, shared by the inputs that it feeds.

    Args:
        x: Signals, shape ``(..., *inputs, *places)``.
        source: Index of each input's source, int64, shape ``(*inputs, 1, …)`` with a 1 for every place.
        sources: How many there are.
        stream: Random numbers.

    Returns:
        Same shape and dtype as ``x``.

    Raises:
        ConfigError: ``x`` has not the inputs of ``source``.
    """
    before, axes = x.dim() - source.dim(), source.dim()
    while axes > 1 and source.shape[axes - 1] == 1:
        axes -= 1
    if before < 0 or x.shape[before : before + axes] != source.shape[:axes]:
        raise ConfigError(f"source: the signal must have inputs of the shape {tuple(source.shape)}, got the shape {tuple(x.shape)}")
    drawn = stream.normal((*x.shape[:before], sources, *x.shape[before + axes :]), like=x)
    return drawn.index_select(before, source.flatten()).reshape(x.shape)


def _apply(x: Tensor, spec: Source, params: Params, device: Wiring | None, ctx: Context) -> Tensor:
    y = modulate(
        x,
        transfer=spec.transfer,
        arms=spec.arms,
        extinction_ratio_db=spec.extinction_ratio_db,
        insertion_loss_db=spec.insertion_loss_db,
    )
    noise = spec.relative_noise * ctx.strength
    if ctx.stream is None or noise == 0:
        return y
    wiring = _program(spec, params, x.shape[-1:], ctx.stream) if device is None else device
    inputs = wiring.source.numel()
    return y * (1.0 + noise * shared(x, wiring.source, -(-inputs // spec.fed_by_one(inputs)), ctx.stream))


def _describe(spec: Source) -> str:
    parts = [f"{'two arms' if spec.arms == 'differential' else 'one arm'}, {'sin²' if spec.transfer == 'sin2' else 'linear'} modulator"]
    parts += [f"extinction {spec.extinction_ratio_db:g} dB"] if spec.extinction_ratio_db is not None else []
    parts += [f"insertion loss {spec.insertion_loss_db:g} dB"] if spec.insertion_loss_db else []
    if spec.relative_noise:
        share = "all channels" if spec.channels_per_source is None else f"{spec.channels_per_source} channels"
        parts.append(f"intensity noise of {100 * spec.relative_noise:.3g} % common to {share} of a source")
    return ", ".join(parts)


STAGES.add("source", Stage(Source, _apply, _describe, program=_program, device=Wiring, random=lambda spec: spec.rin_db_per_hz is not None))

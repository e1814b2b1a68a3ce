"""Noise of a signal or a weight, from any two of scale, leakage and precision."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from neurosim.errors import ConfigError
from neurosim.hardware.fuse import run
from neurosim.hardware.gradient import straight_through, through_forward
from neurosim.hardware.leakage import Distribution, equivalent_sigma, leakage_from, precision_from, scale_from
from neurosim.hardware.stage import LIVES, STAGES, Context, Params, Scope, Spec, Stage, Unit
from neurosim.ops.quantize import Distribution as Additive
from neurosim.ops.quantize import Error, convert
from neurosim.random import Stream

_FEW_COUNTS = 3  #: how far the approximate Poisson quantile may be from the exact one, verified over rates of 1e-6 … 1e6
_RARE = 0.05  #: below this rate every 24-bit quantile is less than 2 _FEW_COUNTS + 1


class Noise(Spec):
    """Random error of each element; its strength is given by ``scale`` alone or by any two of scale, leakage and precision."""

    kind: Literal["noise"] = "noise"
    distribution: Distribution
    """``gaussian``, ``laplacian`` and ``uniform`` add to the signal; ``poisson`` counts λ|x| quanta and grows with it."""
    scale: Annotated[float | None, Field(ge=0), Unit("fs", "lsb", "wmax")] = None
    """Standard deviation (gaussian), b (laplacian), full width (uniform), counts per unit and step (poisson), in ``reference``."""
    leakage: Annotated[float | None, Field(ge=0, lt=1), Unit("1")] = None
    """Probability that a symbol changes its level; for poisson at full scale."""
    precision: Annotated[float | None, Field(gt=0), Unit("steps/fs")] = None
    """Steps per unit of the levels that leakage speaks of."""
    reference: Literal["fs", "lsb", "wmax"] = "fs"
    """What ``scale`` is measured in: half of the signal range, one step 1 / precision, or the largest magnitude of the tensor."""
    scope: Scope = "read"
    """How long a draw lives: ``device`` (the chip), ``hold`` (until time or temperature changes), ``batch`` (forward), ``read`` (use)."""
    grad: Literal["through", "mean", "ste", "forward"] = "through"
    """Gradient rule. ``through`` differentiates the noisy value (for poisson: its mean, the same as ``mean``)."""

    @model_validator(mode="after")
    def _two_of_three(self) -> Self:
        given = [name for name in ("scale", "leakage", "precision") if getattr(self, name) is not None]
        if len(given) == 3 or given in (["leakage"], ["precision"], []):
            raise ValueError(f"give scale alone or two of scale, leakage and precision, got {', '.join(given) or 'none'}")
        if self.distribution == "poisson" and given == ["scale"]:
            raise ValueError("poisson noise needs precision or leakage beside scale: it counts scale * precision quanta at full scale")
        if (self.reference == "lsb" and given not in (["scale"], ["scale", "precision"])) or (
            self.reference == "lsb" and self.precision is None
        ):
            raise ValueError("reference 'lsb' needs scale and precision: one step is 1 / precision")
        if self.reference == "wmax" and (self.leakage is not None or self.distribution == "poisson"):
            raise ValueError("reference 'wmax' needs scale alone: leakage and poisson counts refer to full scale")
        try:
            if self.distribution == "poisson" and self.leakage != 0 and (rate := self.rate) < 1:
                raise ValueError(f"poisson noise needs at least one count at full scale, got scale * precision = {rate:g}")
            self.level  # noqa: B018  # computing it checks that a solution exists
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return self

    @cached_property
    def level(self) -> float:
        """The scale in units of the signal (of the tensor's largest magnitude for ``wmax``)."""
        if self.scale is None:
            return scale_from(self.distribution, self.leakage or 0.0, self.precision or 1.0) if self.leakage else 0.0
        return self.scale / self.precision if self.reference == "lsb" and self.precision else self.scale

    @cached_property
    def rate(self) -> float:
        """Poisson counts at full scale."""
        precision = self.precision
        if precision is None:
            precision = precision_from("poisson", self.scale or 0.0, self.leakage or 0.0)
        return self.level * precision


def add_noise(x: Tensor, distribution: Distribution, scale: float | Tensor, stream: Stream, *, strength: float = 1.0) -> Tensor:
    r"""A noisy copy of a signal.

    .. math:: y = x + s\,\sigma\xi, \qquad y = x + s\,(\mathrm{sign}(x)\,K/\lambda - x),\; K \sim \mathrm{Poisson}(\lambda|x|)

    Args:
        x: Signal, any shape; the noise is independent for every element.
        distribution: Which noise.
        scale: As in :mod:`neurosim.hardware.leakage`; for ``poisson`` the counts λ at full scale, > 0.
        stream: Random numbers.
        strength: Multiplier s in [0, 1] of the error.

    Returns:
        Same shape and dtype as ``x``; its mean is ``x``. The derivative to ``x`` is 1.

    Source:
        Leakage and scales: Shah and Youngblood 2023. The Laplace draw inverts the distribution function; Poisson counts are exact quantiles
            of a uniform number.

    >>> from neurosim.random import stream
    >>> add_noise(torch.zeros(3), "gaussian", 0.0, stream(0, "x"))
    tensor([0., 0., 0.])
    """
    if distribution == "poisson":
        with torch.no_grad():
            error = x.sign() * poisson_quantile(stream.uniform(x.shape, like=x), x.abs() * scale) / scale - x
        return x + strength * error
    return convert(x, before=Error(distribution, "additive", scale * strength, stream, "through"))


def standard_noise(distribution: Additive, shape: Sequence[int], like: Tensor, stream: Stream) -> Tensor:
    """Zero-mean noise of scale 1 (not poisson), of that shape, with dtype and device of ``like``."""
    return convert(like.new_zeros(tuple(shape)), before=Error(distribution, "additive", 1.0, stream))


def poisson_quantile(u: Tensor, rate: Tensor) -> Tensor:
    r"""The smallest count K with :math:`P(\mathrm{Poisson}(\lambda) \le K) \ge u`: an exact Poisson draw for uniform u.

    Args:
        u: Numbers in (0, 1).
        rate: λ ≥ 0, same shape; a rate of 0 gives 0.

    Returns:
        Counts, in the type of ``u``.

    Source:
        Start: E. A. Cornish, R. A. Fisher, "Moments and cumulants in the specification of distributions" (1938), to second order. The
            distribution function is
        the regularised incomplete gamma function Q(K + 1, λ); the counts next to the start are tested exactly in float64.
    """
    u64, rate64 = u.double(), rate.double()
    z = torch.special.ndtri(u64)
    start = (rate64 + rate64.sqrt() * z + (z * z - 1.0) / 6.0).floor() - _FEW_COUNTS
    lowest = torch.where(rate64 > _RARE, start.clamp_(min=0.0), torch.zeros_like(start))  # the expansion fails for rare counts
    count = lowest.clone()
    for step in range(2 * _FEW_COUNTS + 1):
        count += torch.special.gammaincc(lowest + (step + 1.0), rate64) < u64
    return torch.where(rate64 > 0, count, torch.zeros_like(count)).to(u.dtype)


class FrozenNoise(NamedTuple):
    """The error that a chip keeps."""

    standard: Tensor  #: noise of scale 1 (for poisson: the uniform number that decides the count), in the shape that was programmed


def _program(spec: Noise, params: Params, shape: Sequence[int], stream: Stream) -> FrozenNoise | None:
    if spec.scope != "device":
        return None
    like = torch.empty(0)
    if spec.distribution == "poisson":
        return FrozenNoise(stream.uniform(shape, like=like))
    return FrozenNoise(standard_noise(spec.distribution, shape, like, stream))


def _pieces(spec: Noise, params: Params, device: FrozenNoise | None, ctx: Context) -> tuple[Error] | tuple[()] | None:
    if ctx.stream is None or ctx.strength == 0 or (spec.level == 0 and spec.distribution != "poisson") or spec.leakage == 0:
        return ()
    if spec.distribution == "poisson" or spec.reference == "wmax" or spec.grad == "forward":
        return None
    source = ctx.stream if device is None else device.standard
    return (Error(spec.distribution, "additive", spec.level * ctx.strength, source, "ste" if spec.grad == "ste" else "through"),)


def _apply(x: Tensor, spec: Noise, params: Params, device: FrozenNoise | None, ctx: Context) -> Tensor:
    pieces, stream = _pieces(spec, params, device, ctx), ctx.stream
    if pieces is not None:
        return run(x, pieces)
    if stream is None:  # a silent stage has no pieces
        return x
    if spec.grad in ("through", "mean"):
        return _noisy(x, spec, device, ctx, stream)
    with torch.no_grad():
        value = _noisy(x, spec, device, ctx, stream)
    if spec.grad == "forward":
        child = stream.child("backward")
        return through_forward(x, value, lambda g: _noisy(g, spec, device, ctx, child))
    return straight_through(x, value)


def _noisy(x: Tensor, spec: Noise, device: FrozenNoise | None, ctx: Context, stream: Stream) -> Tensor:
    if spec.distribution == "poisson":
        if device is None:
            return add_noise(x, "poisson", spec.rate, stream, strength=ctx.strength)
        with torch.no_grad():
            u = device.standard.to(x.dtype).expand_as(x)
            error = x.sign() * poisson_quantile(u, x.abs() * spec.rate) / spec.rate - x
        return x + ctx.strength * error
    scale: float | Tensor = spec.level * ctx.strength
    if spec.reference == "wmax":
        scale = x.detach().abs().amax() * scale if x.numel() else scale
    return convert(x, before=Error(spec.distribution, "additive", scale, stream if device is None else device.standard, "through"))


def _describe(spec: Noise) -> str:
    if spec.leakage == 0 or spec.level == 0:
        return f"no {spec.distribution} noise"
    unit = {"fs": "of full scale", "lsb": "of full scale", "wmax": "of the largest magnitude"}[spec.reference]
    sigma = equivalent_sigma(spec.distribution, spec.level, spec.rate / spec.level if spec.distribution == "poisson" else 1.0)
    leak = spec.leakage
    if leak is None and spec.precision is not None and spec.reference != "wmax":
        leak = leakage_from(spec.distribution, spec.level, spec.precision)
    steps = f", leakage {leak:.3g} at {spec.precision:g} steps per unit" if leak is not None and spec.precision is not None else ""
    return f"{spec.distribution} noise, σ = {sigma:.4g} {unit}{steps}, {LIVES[spec.scope]}"


STAGES.add(
    "noise",
    Stage(
        Noise,
        _apply,
        _describe,
        program=_program,
        device=FrozenNoise,
        random=lambda spec: spec.leakage != 0 and spec.level != 0,
        pieces=_pieces,
    ),
)

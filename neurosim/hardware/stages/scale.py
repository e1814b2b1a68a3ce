"""Scale management: a digital factor brings signals into the range of the converters, and is put back behind them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Final, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from neurosim.hardware.stage import STAGES, Context, Params, Spec, Stage, Unit, unchanged

Per = Literal["tensor", "vector", "input"]
_AXIS: Final = {"vector": -2, "input": -1}  #: of a matrix (groups, outputs, inputs), along which it has one factor after the other


class Scale(Spec):
    """Divides a signal by a factor before the converters and multiplies outputs with it behind."""

    kind: Literal["scale"] = "scale"
    mode: Literal["absmax", "constant", "learned", "average"] = "absmax"
    """The largest magnitude now; a number; a number that training moves; a running average of the largest magnitude."""
    value: Annotated[float | None, Field(gt=0), Unit("fs")] = None
    """The factor of ``constant``, and what ``learned`` and ``average`` start from, in the units of the digital signal. Where weights learn
    several factors, null starts each from the largest magnitude that it is for."""
    full: Annotated[float | None, Field(gt=0), Unit("fs")] = None
    """What ``absmax`` and ``average`` make of the largest magnitude where signals are counted in steps; null for one full scale."""
    per: Per = "tensor"
    """One factor for the whole tensor, or one for each vector: of inputs, what enters the array at once; of weights, one output's. Of
    outputs: one for each partial sum (of a pass, a tile, a plane of conductances, a group) over all vectors, or for each vector of it.
    ``input``, of weights: one for each input, which is multiplied with it before it is sent. Factors that are learned are several for
    weights only."""
    limit: Annotated[float | None, Field(gt=0), Unit("fs")] = None
    """Largest factor; signals beyond it are clipped by what follows."""
    momentum: Annotated[float | None, Field(gt=0, le=1), Unit("1")] = None
    """How far ``average`` goes towards the present value at each forward in training."""
    retries: Annotated[int | None, Field(ge=0, le=20), Unit("1")] = None
    """How often an input vector is sent again at half its size while its outputs leave the range of the output converter; null: never."""

    @model_validator(mode="after")
    def _one_number_is_for_all(self) -> Self:
        if self.per != "tensor" and self.mode not in ("absmax", "learned"):
            raise ValueError(f"one number is for the whole tensor: mode must be 'absmax' or 'learned' per {self.per}, got '{self.mode}'")
        if self.largest != 1 and self.mode not in ("absmax", "average"):
            raise ValueError(f"full is what the largest magnitude becomes: mode must be 'absmax' or 'average', got '{self.mode}'")
        if self.value is None and self.mode != "absmax" and not self.several:
            raise ValueError(f"mode '{self.mode}' needs value, the factor that it {'is' if self.mode == 'constant' else 'starts from'}")
        if self.momentum is None and self.mode == "average":
            raise ValueError("mode 'average' needs momentum, how far each forward in training moves it")
        return self

    @property
    def several(self) -> bool:
        """Whether it learns one factor for each output, or input, of a matrix."""
        return self.mode == "learned" and self.per != "tensor"

    @property
    def start(self) -> float:
        """The factor that is given; 1 where the mode takes it from the signal."""
        return 1.0 if self.value is None else self.value

    @property
    def largest(self) -> float:
        """What the largest magnitude becomes, in full scales."""
        return 1.0 if self.full is None else self.full


def scale_of(x: Tensor, spec: Scale, params: Params, ctx: Context) -> Tensor:
    r"""The factor of a signal.

    .. math:: \alpha = \frac{1}{f}\max_i |x_i|,\quad \frac{1}{f} \text{ if that is } 0

    Args:
        x: Vectors, ``(…, n)``.
        spec: Which factor.
        params: ``value`` of a learned or averaged one; an average moves if ``ctx.training``.
        ctx: Where the layer stands.

    Returns:
        ``(…, 1)`` per vector, ``(…, 1, n)`` per input of the matrices ``(…, outputs, n)``, else a number as a 0-dim
        tensor; without gradient unless it is learned.

    Source:
        M. J. Rasch et al., "A flexible and fast PyTorch toolkit for simulating training and inference on analog crossbar arrays",
        AICAS 2021, section III ("noise management").

    >>> scale_of(torch.tensor([[1.0, -4.0], [0.0, 0.0]]), Scale(per="vector"), {}, Context(None)).squeeze(-1)
    tensor([4., 1.])
    """
    if spec.mode == "constant":
        return torch.full((), spec.start, dtype=x.dtype, device=x.device)
    if spec.mode == "learned":
        value = params["value"].abs().to(x.dtype)
        return spread(value, x, spec) if spec.several else value
    largest = _largest(x.detach(), spec.per)
    if spec.limit is not None:
        largest = largest.clamp(max=spec.limit)
    if spec.mode == "absmax":
        return largest / spec.largest
    if ctx.training and spec.momentum is not None:
        with torch.no_grad():
            params["value"].lerp_(largest.to(params["value"].dtype), spec.momentum)
    return params["value"].detach().to(x.dtype) / spec.largest


def _largest(x: Tensor, per: Per) -> Tensor:
    if x.numel() == 0:
        return x.new_ones(())
    axis = {"vector": -1, "input": -2}.get(per)
    return or_one(x.abs().amax() if axis is None else x.abs().amax(axis, keepdim=True))


def or_one(largest: Tensor) -> Tensor:
    """Largest magnitudes as factors: 1 where there is nothing but zeros."""
    return torch.where(largest > 0, largest, torch.ones_like(largest))


def spread(value: Tensor, matrix: Tensor, spec: Scale) -> Tensor:
    """One factor for each output, or input, of a layer, for those of a matrix: complex ones have two rows, or columns, with one factor.

    >>> spread(torch.tensor([[[1.0], [2.0]]]), torch.ones(1, 4, 4), Scale(mode="learned", per="vector")).flatten()
    tensor([1., 1., 2., 2.])
    """
    axis = _AXIS[spec.per]
    return value.repeat_interleave(matrix.shape[axis] // value.shape[axis], axis)


def gathered(matrix: Tensor, value: Tensor, spec: Scale) -> Tensor:
    """What each of several factors is for, ``(factors, numbers)``: of matrices ``(groups, outputs, inputs)``, in the order of ``value``."""
    each = matrix.movedim(_AXIS[spec.per], 1)
    return each.reshape(value.numel(), -1)


def _init(spec: Scale, shape: Sequence[int]) -> dict[str, Tensor]:
    if spec.several:
        factors = [1 if axis - len(shape) not in (-3, _AXIS[spec.per]) else size for axis, size in enumerate(shape)]
        return {"value": torch.full(factors, math.nan if spec.value is None else spec.value)}
    return {"value": torch.tensor(spec.start)} if spec.mode in ("learned", "average") else {}


def _of_each(spec: Scale) -> str:
    if not spec.several:
        return f", {spec.start:g}"
    largest = "its largest magnitude" if spec.value is None else f"{spec.value:g}"
    return f" of each {'output' if spec.per == 'vector' else 'input'}, {largest}"


def _describe(spec: Scale) -> str:
    of = {"tensor": "the whole tensor", "vector": "each vector", "input": "each input"}[spec.per]
    what = {
        "absmax": f"by the largest magnitude of {of}",
        "constant": f"by {spec.start:g}",
        "learned": f"by a learned factor{_of_each(spec)} at first",
        "average": f"by a running average of the largest magnitude, {spec.start:g} at first",
    }[spec.mode]
    limit = f", at most {spec.limit:g}" if spec.limit is not None and spec.mode in ("absmax", "average") else ""
    full = f" to {spec.largest:g}" if spec.largest != 1 else ""
    return f"scaled {what}{limit}{full}" + (f"; up to {spec.retries} retries at half the size" if spec.retries else "")


STAGES.add("scale", Stage(Scale, unchanged, _describe, init=_init, structural=True))

"""What a stage of the signal chain is: a frozen specification and pure functions.

A stage answers four functions, each of the specification and explicit arguments:

- ``init(spec, shape) -> params``: the tensors that training may change (learned ranges, …), by name;
- ``program(spec, params, shape, stream) -> device``: this chip's frozen errors, a NamedTuple of tensors, or ``None``;
- ``apply(x, spec, params, device, ctx) -> y``: the effect itself;
- ``describe(spec) -> str``: one line for people;

and, where it is an error, limits or levels of each element by itself, a fifth one that saves a pass over memory:

- ``pieces(spec, params, device, ctx)``: what it does as pieces of one pass (:mod:`neurosim.hardware.fuse`), or ``None`` if ``apply`` must.

A converter, whatever its kind, says two things more, for calibration and for sending vectors again that saturate:

- ``code(spec, params)``: which levels it gives, between which ends; ``None`` for what is no converter, or has no ends;
- ``fit(spec, low, high)``: the parameters that make these its ends, or the next wider ones that it can have.

To add one, write a file in ``neurosim/hardware/stages`` that ends in ``STAGES.add("name", Stage(...))``; a profile then says ``kind:
name``.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from pydantic import ConfigDict
from torch import Tensor

from neurosim.described import Described
from neurosim.hardware.fuse import Piece
from neurosim.hardware.memory import Memory
from neurosim.hardware.ranges import Code
from neurosim.random import Stream
from neurosim.registry import Registry

Scope = Literal["device", "hold", "batch", "read"]
Mode = Literal["fresh", "fixed", "off", "ideal"]
Params = Mapping[str, Tensor]

#: how long a draw lives, in words
LIVES: Final[Mapping[Scope, str]] = {
    "device": "frozen in the chip",
    "hold": "redrawn when time or temperature changes",
    "batch": "redrawn at every forward",
    "read": "fresh at every read",
}


def moment(seconds: float, kelvin: float) -> int:
    """A 32-bit word for a time and a temperature: what a ``hold`` draw lives for."""
    return int.from_bytes(hashlib.blake2b(struct.pack("<dd", seconds, kelvin), digest_size=4).digest(), "little")


def tensor_name(slot: str, name: str) -> str:
    """What a parameter or a frozen error of a stage is called in its chain: ``weight_scale__value``."""
    return f"{slot.replace('.', '_')}__{name}"


@dataclass(frozen=True)
class Unit:
    """Field metadata: units in which a profile may give a number: SI, or a reference such as ``fs`` (half of the signal range, ±1)."""

    names: tuple[str, ...]

    def __init__(self, *names: str) -> None:
        object.__setattr__(self, "names", names)


#: unit of a number within a law (:mod:`neurosim.hardware.devices.laws`): that of the field which holds the law
RESULT = Unit("of the result")


class Spec(Described):
    """Base of all stage specifications: immutable, unknown keys refused, finite numbers only, told apart by ``kind``."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    kind: str


class Context(NamedTuple):
    """What a stage may know besides its input.

    Args:
        stream: Source of this stage's random numbers in its scope; ``None`` means noiseless, frozen errors included.
        seconds: Time since the chip was programmed, s.
        kelvin: Temperature, K.
        mode: Noise mode; ``ideal`` never reaches a stage.
        strength: Multiplier of every random effect, in [0, 1]: training ramps it up.
        training: Whether the layer is in training mode: running averages move then, and nothing else depends on it.
        memory: What the layer keeps of results that take long; None for nothing.
    """

    stream: Stream | None
    seconds: float = 0.0
    kelvin: float = 300.0
    mode: Mode = "fresh"
    strength: float = 1.0
    training: bool = False
    memory: Memory | None = None


def no_params(spec: Any, shape: Sequence[int]) -> dict[str, Tensor]:
    """``init`` of a stage with nothing to train."""
    return {}


def unchanged(x: Tensor, spec: Any, params: Params, device: Any, ctx: Context) -> Tensor:
    """``apply`` of a structural stage."""
    return x


def no_pieces(spec: Any, params: Params, device: Any, ctx: Context) -> None:
    """``pieces`` of a stage that is no part of a shared pass."""


def no_code(spec: Any, params: Params) -> None:
    """``code`` of a stage that is no converter."""


def low_and_high(spec: Any, low: float, high: float) -> dict[str, float]:
    """``fit`` of a converter whose ends are its parameters."""
    return {"low": low, "high": high}


def no_device(spec: Any, params: Params, shape: Sequence[int], stream: Stream) -> None:
    """``program`` of a stage without frozen errors."""


@dataclass(frozen=True)
class Stage:
    """One entry of :data:`STAGES`; the functions are those of the module's docstring.

    Args:
        spec: The specification class; its ``kind`` has the registered name as only value.
        apply: The effect.
        describe: One line for people.
        init: Trainable tensors; ``shape`` is that of the weight, or of the layer's inputs or outputs with 1 for every spatial axis.
        program: Frozen errors of one chip.
        device: The NamedTuple class that ``program`` returns, where it returns one.
        random: Whether this specification draws random numbers at all.
        pieces: The same effect as pieces of one pass, in order; empty if it does nothing, ``None`` if only ``apply`` can do it.
        structural: Whether it says how the product is built instead of changing a signal: the layer reads its specification, and its
            ``apply`` is never called.
        code: The levels and ends of a converter, by its specification and its trainable tensors.
        fit: Parameters of the specification, or trainable tensors, by name, with their values for other ends.
        coherent: Whether it holds a complex matrix as well as a real one, as a circuit in which light interferes does.
    """

    spec: type[Spec]
    apply: Callable[[Tensor, Any, Params, Any, Context], Tensor]
    describe: Callable[[Any], str]
    init: Callable[[Any, Sequence[int]], dict[str, Tensor]] = no_params
    program: Callable[[Any, Params, Sequence[int], Stream], Any] = no_device
    device: type[Any] | None = None
    random: Callable[[Any], bool] = lambda spec: False
    pieces: Callable[[Any, Params, Any, Context], Sequence[Piece] | None] = no_pieces
    code: Callable[[Any, Params], Code | None] = no_code
    fit: Callable[[Any, float, float], dict[str, float]] = low_and_high
    structural: bool = False
    coherent: bool = False


STAGES: Registry[Stage] = Registry("stage")

"""What the neuron ops have in common: parameters, rules, their packing into the arguments of an op, and the checks.

An op of torch takes tensors, lists of numbers and a string. A parameter is either a tensor of its own or a place in the list of numbers, so
that a layer with plain numbers creates no tensors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any, Final, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from neurosim.errors import ConfigError, nearest
from neurosim.ops.neuron_layout import compute_dtype
from neurosim.random import Stream
from neurosim.surrogate import SURROGATES, Surrogate, surrogate

Value = float | Tensor
Reset = Literal["none", "soft", "hard", "soft_next", "soft_next_decayed", "hard_next", "hard_next_erasing", "soft_both"]

RESETS: Final[tuple[Reset, ...]] = get_args(Reset)  #: the position of a name is its number in the kernels
_SOFT: Final = ("soft", "soft_next", "soft_next_decayed", "soft_both")


class Parameters(NamedTuple):
    """The parameters of a layer, in the order in which the ops take them; a tensor broadcasts to one time step of the input."""

    decay: Value
    threshold: Value
    reset_by: Value
    gain: Value
    bias: Value
    v_reset: Value
    sign: Value
    syn_decay: Value = 0.0
    w_in: Value = 1.0


_COUNT: Final = len(Parameters._fields)
_NO_SYNAPSE: Final = (0.0, 1.0)
_INFINITE: Final = (math.inf, -math.inf)


class Rule(NamedTuple):
    """Everything else that defines the step."""

    reset: Reset
    strict: bool
    detach_reset: bool
    spikes: bool  #: whether there are any: a leaky integrator has none
    record: bool
    follows: bool  #: the reset subtracts the threshold itself
    surrogate: Surrogate
    input_noise: float
    membrane_noise: float
    streams: tuple[Stream, Stream] | None  #: of the input noise and of the membrane noise
    step: int | Tensor = 0  #: steps before the first one, which noise counts on from


class Packed(NamedTuple):
    """The arguments of an op but for the input and the state."""

    tensors: tuple[Tensor | None, ...]
    counter: Tensor | None
    numbers: list[float]
    settings: list[int]
    surrogate: str


def pack(where: str, x: Tensor, parameters: tuple[Value, ...], rule: Rule, stream: Stream | None = None) -> Packed:
    """Check everything and pack it.

    Args:
        where: Name of the op, for messages.
        x: The input.
        parameters: As in :class:`Parameters`, all of them or the first seven.
        rule: The rest, without its ``streams``: their keys are hashes, which compiled code must not contain, so :func:`unpack` makes them.
        stream: Where noise comes from, if there is any.

    Raises:
        ConfigError: Something does not fit.
    """
    reset, strict, detach_reset, spikes, record, follows, shape, input_noise, membrane_noise, _, step = rule
    if reset not in RESETS:
        raise ConfigError(f"{where}: reset must be one of {', '.join(RESETS)}, got {reset!r}{nearest(str(reset), RESETS)}")
    tensors: list[Tensor | None] = []
    numbers: list[float] = []
    for value in parameters:
        if type(value) is float:  # the quick way
            tensors.append(None)
            numbers.append(value)
        elif isinstance(value, Tensor):
            _check_tensor(where, Parameters._fields[len(tensors)], value, x)
            tensors.append(value)
            numbers.append(0.0)
        else:
            numbers.append(_number(where, Parameters._fields[len(tensors)], value))
            tensors.append(None)
    if follows and numbers[1] in _INFINITE:
        _check_threshold(where, rule, numbers[1])
    if len(numbers) < _COUNT:
        numbers += _NO_SYNAPSE
    numbers += (input_noise, membrane_noise, *shape.parameters)
    settings = [RESETS.index(reset), strict, detach_reset, spikes, record, follows]
    counter = None
    if stream is not None:
        settings += stream.key
        place = (*stream[1:], step)
        if any(isinstance(word, Tensor) for word in place) or torch.compiler.is_compiling():
            counter = torch.stack([_word(word, x.device) for word in place])
        else:
            settings += [int(word) for word in place]
    return Packed(tuple(tensors), counter, numbers, settings, shape.name)


def unpack(
    dtype: torch.dtype,
    tensors: Sequence[Tensor | None],
    counter: Tensor | None,
    numbers: Sequence[float],
    settings: Sequence[int],
    name: str,
) -> tuple[Parameters, Rule]:
    """What :func:`pack` packed, with every tensor in the type that an input of ``dtype`` computes in."""
    compute = compute_dtype(dtype)
    given = (*tensors, *(None,) * (len(Parameters._fields) - len(tensors)))
    values: list[Any] = [number if tensor is None else tensor.to(compute) for tensor, number in zip(given, numbers, strict=False)]
    reset, strict, detach_reset, spikes, record, follows, *keys = settings
    if follows:
        values[2] = values[1]
    count = len(Parameters._fields)
    drawn = None
    step: int | Tensor = 0
    if keys:
        *place, step = counter.unbind(0) if counter is not None else keys[2:]
        stream = Stream((keys[0], keys[1]), *place)
        drawn = stream.child("input"), stream.child("membrane")
    shape = Surrogate(name, tuple(numbers[count + 2 :]))
    input_noise, membrane_noise = numbers[count : count + 2]
    flags = bool(strict), bool(detach_reset), bool(spikes), bool(record), bool(follows)
    rule = Rule(RESETS[reset], *flags, shape, input_noise, membrane_noise, drawn, step)
    return Parameters(*values), rule


def check_input(where: str, x: Any) -> None:
    """An input has time as its first axis.

    Raises:
        ConfigError: It has none, or is no dense floating-point tensor.
    """
    if not isinstance(x, Tensor) or x.dim() == 0 or not x.dtype.is_floating_point or x.layout is not torch.strided:
        raise ConfigError(f"{where}: x must be a dense floating-point tensor with time as its first axis, got {_what(x)}")


def check_surrogate(where: str, given: Any) -> Surrogate:
    """A surrogate, given as such or by its name.

    Raises:
        ConfigError: It is neither, or has another number of parameters than its formula.
    """
    if isinstance(given, str):
        return surrogate(given)
    if not isinstance(given, Surrogate):
        raise ConfigError(f"{where}: surrogate must be a name or what neurosim.surrogate.surrogate(name) gives, got {given!r}")
    names = SURROGATES[given.name].defaults
    if len(given.parameters) != len(names):
        raise ConfigError(f"{where}: surrogate {given.name} has the parameters {', '.join(names)}, got {given.parameters}")
    return given


def check_noise(where: str, x: Tensor, input_noise: Any, membrane_noise: Any, stream: Any, step: Any) -> Stream | None:
    """Where noise comes from; None if there is none.

    Raises:
        ConfigError: A level is negative or no number, noise is wanted and there is no stream, or the stream is too short.
    """
    for name, level in (("input_noise", input_noise), ("membrane_noise", membrane_noise)):
        if isinstance(level, Tensor) or not 0 <= _number(where, name, level) < math.inf:
            raise ConfigError(f"{where}: {name} must be a finite number >= 0, got {level!r}")
    if not input_noise and not membrane_noise:
        return None
    if not isinstance(stream, Stream):
        given = f"stream={stream!r}, input_noise={input_noise}, membrane_noise={membrane_noise}"
        raise ConfigError(f"{where}: noise needs a stream to come from, got {given}")
    if not isinstance(step, int | Tensor) or isinstance(step, bool):
        raise ConfigError(f"{where}: step must be an integer, got {step!r}")
    if not isinstance(step, Tensor) and (step < 0 or (step + len(x)) * x.shape[1:].numel() > 1 << 34):
        given = f"{len(x)} steps of {x.shape[1:].numel()} elements from step {step}"
        raise ConfigError(f"{where}: one stream holds elements 0 to 2^34 - 1, got {given}")
    return stream


def check_state(where: str, name: str, state: Any, x: Tensor) -> None:
    """A state has the shape of one time step.

    Raises:
        ConfigError: It has not.
    """
    if state is None:
        return
    fits = isinstance(state, Tensor) and state.shape == x.shape[1:] and state.dtype.is_floating_point and state.device == x.device
    if not fits or state.layout is not torch.strided:
        wanted = f"floating point, of shape {tuple(x.shape[1:])}, on {x.device}"
        raise ConfigError(f"{where}: {name} must be {wanted}, got {_what(state)}")


def _check_tensor(where: str, name: str, value: Tensor, x: Tensor) -> None:
    if not value.dtype.is_floating_point or value.device != x.device:
        raise ConfigError(f"{where}: {name} must be floating point on {x.device}, got {value.dtype} on {value.device}")
    units = x.shape[1:]
    shape = value.shape
    if len(shape) > len(units) or any(size not in (1, wanted) for size, wanted in zip(reversed(shape), reversed(units), strict=False)):
        raise ConfigError(f"{where}: {name} must broadcast to one time step, {tuple(units)}, got shape {tuple(shape)}")


def _check_threshold(where: str, rule: Rule, threshold: float) -> None:
    if rule.reset in _SOFT and (
        threshold < 0 or not rule.detach_reset
    ):  # inf · 0 is NaN: in the membrane, or in the gradient through the reset
        raise ConfigError(
            f"{where}: a threshold of {threshold} with reset={rule.reset!r} needs reset_by, which is the threshold by default"
        )


def _word(word: int | Tensor, device: torch.device) -> Tensor:
    """As a tensor, in such a way that compiled code does not depend on its value."""
    return word.to(device, torch.int64) if isinstance(word, Tensor) else torch.full((), word, dtype=torch.int64, device=device)


def _what(value: object) -> str:
    return f"{value.dtype} of shape {tuple(value.shape)} on {value.device}" if isinstance(value, Tensor) else type(value).__name__


def _number(where: str, name: str, value: object) -> float:
    if isinstance(value, float):
        return value
    if isinstance(value, Real) and not isinstance(value, bool):
        return float(value)
    raise ConfigError(f"{where}: {name} must be a number or a tensor, got {type(value).__name__}")

r"""Delta inference: a network whose linear layers receive changes and keep sums.

A linear layer that was told :math:`n_{t-1}` need only be told what has changed:

.. math:: z_t = z_{t-1} + V\,(n_t - n_{t-1}) = V n_t, \qquad y_t = g z_t + b

Here :math:`n_t` are the integer levels of the :class:`~neurosim.nn.DeltaActivation` before the layer, and :math:`V` the weights times its
step, as integer multiples of a power of two g. **What is exact**: levels, changes, weights and sums are integers below 2⁵³ in float64, so
the sum of the changes is :math:`V n_t` bit for bit, in whatever order it is added up and after however many frames; the network gives the
same bits as :meth:`DeltaNetwork.dense`, which is told everything at every frame. **What is rounded**: the weights, once, each by at most
:math:`2^{-\mathrm{bits}}` of the layer's largest. The outputs differ from the original network's by that rounding and by that network's
own arithmetic, except where an activation lies so close to the border between two levels that the difference decides between them.

Source:
    A. Yousefzadeh, M. Sifalakis, "Training for temporal sparsity in deep neural networks, application in video processing",
    arXiv:2107.07305 (2021): delta inference.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, Self

import torch
from torch import Tensor, nn

from neurosim.activations.rectifiers import PReLU
from neurosim.checks import whole
from neurosim.errors import ConfigError, ConversionError
from neurosim.nn.arguments import number
from neurosim.nn.delta import DeltaActivation
from neurosim.nn.delta_linear import AddUp, SumPool, Unit, unit_of
from neurosim.nn.time import SpikingModule, SpikingSequential, TimeFold
from neurosim.norms import BatchNorm
from neurosim.random import Stream

_LINEAR: Final = (nn.Linear, nn.Conv1d, nn.Conv2d)
_NOTHING: Final = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d)
#: what may stand between a linear layer and the next quantiser: functions of one frame
_PER_FRAME: Final = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, PReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid),
    *(nn.Softplus, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool2d),
    *(nn.BatchNorm1d, nn.BatchNorm2d, BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.Flatten),
)


class Accumulated(NamedTuple):
    """What one linear layer keeps."""

    levels: Tensor  #: n, of the last frame, ``(batch, *inputs)``
    sums: Tensor  #: z, ``(batch, *outputs)``
    drift: Tensor  #: sum of the accumulators' noise since the last refresh, in units of the output, ``(batch, *outputs)``


class DeltaState(NamedTuple):
    """What one frame hands to the next."""

    layers: tuple[Accumulated, ...]  #: in the order of :attr:`DeltaNetwork.paths`
    frame: int  #: frames since the beginning


class DeltaTrace(NamedTuple):
    """A run with its events."""

    y: Tensor  #: ``(time, batch, *)``
    state: DeltaState  #: to go on from
    events: Tensor  #: changes that arrive at each linear layer, of the whole batch, int64 ``(time, layers)``
    operations: Tensor  #: multiply-accumulate operations that they cause, int64 ``(time, layers)``
    dense_operations: Tensor  #: the same when every input counts at every frame, int64 ``(layers,)``


class DeltaNetwork(SpikingModule):
    """A feed-forward network that computes with changes; made by :func:`delta_inference`.

    Its first frame is a change from nothing. ``network(x)`` begins with it; :meth:`run` goes on from a state.

    Attributes:
        paths: Of the linear layers in the original network.
        noise: Standard deviation of what every accumulator gains in every frame, in units of the layer's output. Noise sums up: after t
            frames the error has standard deviation noise × √t.
        refresh_every: Frames after which all levels are sent anew and the sums are begun anew, which ends their drift; None is never.
    """

    def __init__(self, pieces: list[nn.Module], paths: list[str], noise: float, refresh_every: int | None) -> None:
        super().__init__()
        self.pieces = nn.ModuleList(pieces)
        self.paths = tuple(paths)
        self.noise, self.refresh_every = noise, refresh_every

    def run(self, x: Tensor, state: Any = None, *, stream: Stream | None = None) -> tuple[Tensor, DeltaState]:
        """The outputs of every frame, float64, and the state to hand to the next chunk; ``None`` begins.

        Args:
            x: ``(time, batch, *)``, time ≥ 1.
            state: What the chunk before returned.
            stream: Source of the noise, if there is any. Cutting a sequence does not change what is drawn.

        Raises:
            ConfigError: Noise without a stream, a state or an input that does not fit, levels too large for exact sums.
        """
        y, after = self._run(x, state, stream, None)
        return y, after

    def trace(self, x: Tensor, state: DeltaState | None = None, *, stream: Stream | None = None) -> DeltaTrace:
        """As :meth:`run`, with the events and the operations counted."""
        seen: list[list[tuple[Tensor, Tensor]]] = []
        y, after = self._run(x, state, stream, seen)
        events, operations = (torch.stack([torch.stack([pair[i] for pair in frame]) for frame in seen]) for i in (0, 1))
        dense = torch.stack(
            [layer.operations(torch.ones_like(kept.levels)) for layer, kept in zip(self._layers(), after.layers, strict=True)]
        )
        return DeltaTrace(y, after, events, operations, dense)

    def dense(self, x: Tensor) -> Tensor:
        """The outputs of the same network when every layer is told everything at every frame: what :meth:`run` gives without noise.

        Args:
            x: ``(time, batch, *)``.
        """
        self._check(x)
        return torch.stack([self._forward(frame, lambda layer, levels: layer.read(layer(levels), None)) for frame in x.double().unbind(0)])

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"noise={self.noise:g}, refresh_every={self.refresh_every}"

    def _run(
        self, x: Tensor, state: object, stream: Stream | None, seen: list[list[tuple[Tensor, Tensor]]] | None
    ) -> tuple[Tensor, DeltaState]:
        self._check(x)
        if self.noise and stream is None:
            how = "stream=neurosim.random.stream(seed, 'a name')"
            raise ConfigError(f"DeltaNetwork: noise needs a stream at every call, {how}, got noise={self.noise:g} and no stream")
        if state is not None and (not isinstance(state, DeltaState) or len(state.layers) != len(self.paths)):
            raise ConfigError(f"DeltaNetwork: state must be what run returned, for {len(self.paths)} layers, got {type(state).__name__}")
        before: DeltaState | None = state
        outputs = []
        for frame in x.double().unbind(0):
            counts: list[tuple[Tensor, Tensor]] | None = None if seen is None else []
            y, after = self._frame(frame, before, stream, counts)
            before = after
            outputs.append(y)
            if seen is not None and counts is not None:
                seen.append(counts)
        return torch.stack(outputs), after

    def _check(self, x: Tensor) -> None:
        if x.dim() < 3 or len(x) == 0:
            raise ConfigError(f"DeltaNetwork: x must be (time, batch, *units) with at least one frame, got shape {tuple(x.shape)}")

    def _frame(
        self, frame: Tensor, before: DeltaState | None, stream: Stream | None, counts: list[tuple[Tensor, Tensor]] | None
    ) -> tuple[Tensor, DeltaState]:
        at = 0 if before is None else before.frame
        anew = before is None or (self.refresh_every is not None and at % self.refresh_every == 0)
        known = (None,) * len(self.paths) if before is None or anew else before.layers
        kept: list[Accumulated] = []

        def add_up(layer: AddUp, levels: Tensor) -> Tensor:
            path, old = self.paths[len(kept)], known[len(kept)]
            if old is not None and old.levels.shape != levels.shape:
                must = tuple(old.levels.shape)
                raise ConfigError(f"DeltaNetwork: {path}: levels must have the shape they had, {must}, got {tuple(levels.shape)}")
            change = levels if old is None else levels - old.levels
            gained = layer(change)
            sums = gained if old is None else old.sums + gained
            drift = torch.zeros_like(sums) if old is None else old.drift
            if stream is not None and self.noise:
                drift = drift + self.noise * stream.child(path).normal(sums.shape, like=sums, offset=at * sums.numel())
            kept.append(Accumulated(levels, sums, drift))
            if counts is not None:
                events = change != 0
                counts.append((events.sum(), layer.operations(events)))
            return layer.read(sums, drift if self.noise else None)

        y = self._forward(frame, add_up)
        return y, DeltaState(tuple(kept), at + 1)

    def _forward(self, y: Tensor, add_up: Callable[[AddUp, Tensor], Tensor]) -> Tensor:
        """One frame, ``(batch, *)``; what a linear layer makes of its levels is ``add_up``'s business."""
        for piece in self.pieces:
            if isinstance(piece, AddUp):
                piece.check(y)
                y = add_up(piece, y)
            else:
                y = piece(y)
        return y

    def _layers(self) -> list[AddUp]:
        return [piece for piece in self.pieces if isinstance(piece, AddUp)]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Moves between devices; numbers stay float64, in which integers are exact."""
        return super()._apply(lambda value: value.to(fn(value).device), recurse)  # type: ignore[no-untyped-call, no-any-return]  # torch does not type it


def delta_inference(model: nn.Module, *, bits: int = 24, noise: float = 0.0, refresh_every: int | None = None) -> DeltaNetwork:
    """The network that computes with changes what ``model`` computes with activations, in evaluation mode.

    Args:
        model: ``nn.Sequential`` or :class:`~neurosim.nn.SpikingSequential`, nested as they may be, of linear layers and convolutions with a
            :class:`~neurosim.nn.DeltaActivation` before each, and functions of one frame: activations, norms, pooling, flattening. It is
            left as it is.
        bits: Of the integer weights, 2 to 32; float32 has 24.
        noise: See :class:`DeltaNetwork`, ≥ 0.
        refresh_every: See :class:`DeltaNetwork`, ≥ 1.

    Raises:
        ConversionError: The model has a layer that delta inference cannot have, or has it at the wrong place.
        ConfigError: An argument is out of its domain.

    >>> from neurosim.nn import DeltaActivation
    >>> model = nn.Sequential(DeltaActivation(0.25), nn.Linear(3, 2))
    >>> network, x = delta_inference(model), torch.rand(5, 2, 3)
    >>> torch.equal(network(x), network.dense(x)), torch.allclose(network(x).float(), model(x), atol=1e-6)
    (True, True)
    """
    whole("delta_inference: bits", bits, 2, 32)
    if refresh_every is not None:
        whole("delta_inference: refresh_every", refresh_every, 1)
    level = number("delta_inference: noise", noise, "0 or more and finite")
    pieces: list[nn.Module] = []
    paths: list[str] = []
    unit: Unit | None = None  # of the levels at this place; None where values are no levels
    for path, module in _leaves(model, ""):
        piece, unit = _piece(path, module, unit, bits)
        if piece is not None:
            pieces.append(piece)
        if isinstance(piece, AddUp):
            paths.append(path)
    if not paths or unit is not None:
        raise ConversionError("delta_inference: the model must have a linear layer, and none of its DeltaActivation after the last one")
    return DeltaNetwork(pieces, paths, level, refresh_every)


class _ToLevels(nn.Module):
    step: Tensor

    def __init__(self, step: Tensor) -> None:
        super().__init__()
        self.register_buffer("step", step.detach().double().clone())

    def forward(self, y: Tensor) -> Tensor:
        return (y / self.step).round()


def _leaves(module: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    if isinstance(module, TimeFold):
        yield from _leaves(module.module, f"{path}.module".lstrip("."))
    elif isinstance(module, nn.Sequential | SpikingSequential):
        for name, child in module.named_children():
            yield from _leaves(child, f"{path}.{name}".lstrip("."))
    else:
        yield path, module


def _piece(path: str, module: nn.Module, unit: Unit | None, bits: int) -> tuple[nn.Module | None, Unit | None]:
    """What stands for a module (nothing, if it does nothing), and the unit of the levels behind it."""
    where, kind = f"delta_inference: {path or 'model'}", type(module).__name__
    if type(module) in _NOTHING:
        return None, unit
    if isinstance(module, DeltaActivation):
        if unit is not None:
            raise ConversionError(f"{where}: a DeltaActivation must not follow another one without a linear layer between them")
        return _ToLevels(module.step), unit_of(module.step)
    if type(module) in _LINEAR:
        if unit is None:
            raise ConversionError(f"{where}: {kind} must have a DeltaActivation before it, which says what a change is; insert one")
        return AddUp(module, unit, bits, where), None  # type: ignore[arg-type]  # it is one of them
    if isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) != (1, -1):
        raise ConversionError(f"{where}: must flatten all axes but the batch, got {module}")
    if unit is not None and type(module) is nn.Flatten:
        return nn.Flatten(), unit.flattened()
    if unit is not None and type(module) is nn.AvgPool2d and unit.form in ("all", "maps"):
        pool = SumPool(module, where)
        return pool, Unit(unit.value / pool.divisor, unit.form)
    if unit is None and type(module) in _PER_FRAME:
        return copy.deepcopy(module).double().eval().requires_grad_(False), None
    if type(module) in _PER_FRAME:
        raise ConversionError(f"{where}: {kind} must stand before the DeltaActivation, or after the linear layer that follows it")
    raise ConversionError(f"{where}: must be a linear layer, a DeltaActivation or a function of one frame, such as nn.ReLU, got {kind}")

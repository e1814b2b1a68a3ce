"""Recurrent layers on simulated hardware: the products with their weights are, gates and states are digital."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from neurosim.errors import ConfigError
from neurosim.nn.composed import AnalogProduct, ComposedLayer, Matrix
from neurosim.nn.kept import one_forward

State = tuple[Tensor, ...]  #: (h,), or (h, c) of an LSTM


class _Gated(ComposedLayer, ABC):
    """What sequences and cells share."""

    @staticmethod
    def matrices(layer: nn.Module) -> dict[str, Matrix]:
        """Every parameter ``weight_<name>`` with ``bias_<name>``."""
        own: Any = layer
        known = own._flat_weights_names if isinstance(layer, nn.RNNBase) else ("weight_ih", "weight_hh")
        names = [name.removeprefix("weight_") for name in known if name.startswith("weight_")]
        return {name: Matrix(getattr(layer, f"weight_{name}"), getattr(layer, f"bias_{name}", None)) for name in names}

    @abstractmethod
    def step(self, given: Tensor, recalled: Tensor, state: State) -> State:
        """The state after a step, from the products with the input and with the last output."""


class _Elman(_Gated):
    nonlinearity: str

    def step(self, given: Tensor, recalled: Tensor, state: State) -> State:
        """``h = tanh(W x + V h)``, or with a ReLU."""
        return ((torch.tanh if self.nonlinearity == "tanh" else torch.relu)(given + recalled),)


class _LongShortTerm(_Gated):
    def step(self, given: Tensor, recalled: Tensor, state: State) -> State:
        """``c = f c + i g``, ``h = o tanh c``."""
        i, f, g, o = (given + recalled).chunk(4, -1)
        c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class _GatedUnit(_Gated):
    def step(self, given: Tensor, recalled: Tensor, state: State) -> State:
        """``n = tanh(n_x + r n_h)``, ``h = (1 - z) n + z h``."""
        (r_x, z_x, n_x), (r_h, z_h, n_h) = given.chunk(3, -1), recalled.chunk(3, -1)
        n = torch.tanh(n_x + torch.sigmoid(r_x + r_h) * n_h)
        return (n + torch.sigmoid(z_x + z_h) * (state[0] - n),)


class _Sequence(_Gated, nn.RNNBase):
    def forward(self, input: Any, hx: Any = None) -> Any:
        """Inputs and outputs as in the digital layer, whose errors it has for inputs that do not fit."""
        if self.bypassed or not _is_sequence(input, hx):
            return super().forward(input, hx)
        if isinstance(input, PackedSequence):
            return self._packed(input, hx)
        batched, batch = input.dim() == 3, 0 if self.batch_first else 1
        x = input if batched else input.unsqueeze(batch)
        parts = self._parts(x, x.shape[batch], hx, batched)
        self.check_forward_args(x, self._whole(parts), None)
        y, parts = self._run(x.transpose(0, 1) if self.batch_first else x, parts, None)
        y = y.transpose(0, 1) if self.batch_first else y
        if not batched:
            y, parts = y.squeeze(batch), tuple(part.squeeze(1) for part in parts)
        return y, self._whole(parts)

    def _packed(self, input: PackedSequence, hx: Any) -> Any:
        """Sequences of several lengths, the longest first: states stand still behind the end of one."""
        x, lengths = pad_packed_sequence(PackedSequence(input.data, input.batch_sizes))
        start = self._whole(self._parts(x, x.shape[1], hx, True))
        start = start if hx is None else self.permute_hidden(start, input.sorted_indices)
        self.check_forward_args(input.data, start, input.batch_sizes)
        inside = torch.arange(x.shape[0]).unsqueeze(1) < lengths
        parts = start if isinstance(start, tuple) else (start,)
        y, parts = self._run(x, parts, inside.unsqueeze(-1).to(x.device))
        data, sizes = pack_padded_sequence(y, lengths)[:2]
        last = self.permute_hidden(self._whole(parts), input.unsorted_indices)
        return PackedSequence(data, sizes, input.sorted_indices, input.unsorted_indices), last

    def _parts(self, x: Tensor, batch: int, hx: Any, batched: bool) -> State:
        """The state to begin with, each part ``(layers · directions, batch, units)``."""
        if hx is None:
            sizes = (self.proj_size or self.hidden_size, self.hidden_size)[: 2 if self.mode == "LSTM" else 1]
            return tuple(x.new_zeros(self.num_layers * (1 + self.bidirectional), batch, size) for size in sizes)
        parts = tuple(hx) if self.mode == "LSTM" else (hx,)
        return parts if batched else tuple(part.unsqueeze(1) for part in parts)

    def _whole(self, parts: State) -> Any:
        return parts if self.mode == "LSTM" else parts[0]

    def _run(self, x: Tensor, start: State, inside: Tensor | None) -> tuple[Tensor, State]:
        """All layers over ``(time, batch, inputs)``; ``inside`` says which steps each sequence has, ``(time, batch, 1)``."""
        chains = [part.chain for part in self.children() if isinstance(part, AnalogProduct)]
        with nullcontext() if torch.compiler.is_compiling() else one_forward(chains):
            return self._layers(x, start, inside)

    def _layers(self, x: Tensor, start: State, inside: Tensor | None) -> tuple[Tensor, State]:
        matrices = self.matrices(self)
        last: list[State] = []
        for layer in range(self.num_layers):
            if layer and self.dropout:
                x = F.dropout(x, self.dropout, self.training)
            found = []
            for direction in range(1 + self.bidirectional):
                state = tuple(part[len(last)] for part in start)
                y, state = self._one_way(f"l{layer}{'_reverse' * direction}", matrices, x, state, inside, backwards=bool(direction))
                found.append(y)
                last.append(state)
            x = torch.cat(found, -1)
        return x, tuple(torch.stack(part) for part in zip(*last, strict=True))

    def _one_way(
        self, name: str, matrices: dict[str, Matrix], x: Tensor, state: State, inside: Tensor | None, *, backwards: bool
    ) -> tuple[Tensor, State]:
        given = self.product(f"ih_{name}", x, matrices[f"ih_{name}"]).unbind(0)
        there = (None,) * len(given) if inside is None else inside.unbind(0)
        outputs = []
        for now, here in list(zip(given, there, strict=True))[:: -1 if backwards else 1]:
            after = self.step(now, self.product(f"hh_{name}", state[0], matrices[f"hh_{name}"]), state)
            if self.proj_size:
                after = (self.product(f"hr_{name}", after[0], matrices[f"hr_{name}"]), *after[1:])
            state = after if here is None else tuple(torch.where(here, new, old) for new, old in zip(after, state, strict=True))
            outputs.append(state[0] if here is None else torch.where(here, state[0], 0.0))
        return torch.stack(outputs[:: -1 if backwards else 1]), state


def _is_sequence(input: Any, hx: Any) -> bool:
    """Whether it has steps that a recurrent layer can take one by one, and a state, if there is one, as many axes as it."""
    if isinstance(input, PackedSequence):
        return True
    parts = hx if isinstance(hx, tuple) else () if hx is None else (hx,)
    return input.dim() in (2, 3) and input.numel() > 0 and all(part.dim() == input.dim() for part in parts)


class _Cell(_Gated, nn.RNNCellBase):
    def forward(self, input: Tensor, hx: Any = None) -> Any:
        """Inputs and outputs as in the digital cell, whose errors it has for inputs that do not fit."""
        keeps_two = isinstance(self, nn.LSTMCell)
        if self.bypassed or input.dim() not in (1, 2):
            digital: Any = super().forward
            return digital(input, hx)
        x = input if input.dim() == 2 else input.unsqueeze(0)
        shape = (x.shape[0], self.hidden_size)
        if hx is None:
            parts: State = (x.new_zeros(shape),) * (1 + keeps_two)
        else:
            parts = tuple(part if input.dim() == 2 else part.unsqueeze(0) for part in (hx if keeps_two else (hx,)))
        if len(parts) != 1 + keeps_two or any(part.shape != shape for part in parts):
            found = ", ".join(str(tuple(part.shape)) for part in parts)
            raise ConfigError(f"{self.digital_class.__name__}: hx must be {1 + keeps_two} of shape {shape} for this input, got {found}")
        matrices = self.matrices(self)
        given, recalled = self.product("ih", x, matrices["ih"]), self.product("hh", parts[0], matrices["hh"])
        after = tuple(part if input.dim() == 2 else part.squeeze(0) for part in self.step(given, recalled, parts))
        return after if keeps_two else after[0]


class AnalogRNN(_Elman, _Sequence, nn.RNN):
    """``nn.RNN`` on simulated hardware: its arguments, and ``profile``, ``seed``, ``path`` as in :class:`AnalogLinear`."""

    digital_class = nn.RNN


class AnalogLSTM(_LongShortTerm, _Sequence, nn.LSTM):
    """``nn.LSTM`` on simulated hardware: its arguments, and ``profile``, ``seed``, ``path`` as in :class:`AnalogLinear`."""

    digital_class = nn.LSTM


class AnalogGRU(_GatedUnit, _Sequence, nn.GRU):
    """``nn.GRU`` on simulated hardware: its arguments, and ``profile``, ``seed``, ``path`` as in :class:`AnalogLinear`."""

    digital_class = nn.GRU


class AnalogRNNCell(_Elman, _Cell, nn.RNNCell):
    """``nn.RNNCell`` on simulated hardware: its arguments, and ``profile``, ``seed``, ``path`` as in :class:`AnalogLinear`."""

    digital_class = nn.RNNCell


class AnalogLSTMCell(_LongShortTerm, _Cell, nn.LSTMCell):
    """``nn.LSTMCell`` on simulated hardware: its arguments, and ``profile``, ``seed``, ``path`` as in :class:`AnalogLinear`."""

    digital_class = nn.LSTMCell


class AnalogGRUCell(_GatedUnit, _Cell, nn.GRUCell):
    """``nn.GRUCell`` on simulated hardware: its arguments, and ``profile``, ``seed``, ``path`` as in :class:`AnalogLinear`."""

    digital_class = nn.GRUCell

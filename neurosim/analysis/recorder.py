"""Recording what the layers of a model do while it runs."""

from __future__ import annotations

import contextlib
import datetime
import platform
import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neurosim import __version__
from neurosim.analysis.layer import SIGNALS, Along, Chosen, LayerRecording, Signal, chosen
from neurosim.analysis.observe import watching
from neurosim.analysis.recording import Recording
from neurosim.convert.select import Selection, as_list, check_globs, matches
from neurosim.errors import ConfigError, nearest
from neurosim.neurons import LI, is_neurons
from neurosim.nn.time import takes_time
from neurosim.nn.wrappers import named_unwrapped, unwrapped


@contextlib.contextmanager
def record(
    model: nn.Module,
    layers: Selection = None,
    what: Signal | Sequence[Signal] = SIGNALS,
    *,
    along: Along = "batch",
    units: Chosen = None,
    samples: Chosen = None,
    device: torch.device | str | None = "cpu",
) -> Iterator[Recording]:
    """Record spikes, membranes and outputs of layers for as long as the block lasts.

    The model computes what it computes otherwise: the same results, bit for bit, and the same gradients. What is kept are copies without
    gradients. When the block ends, by an error too, nothing is left behind in the model. Blocks may be nested. Compiled models run
    uncompiled within the block.

    Args:
        model: Any model with neurons, converted or not, or a neuron alone.
        layers: Globs over module paths, types, or a list of both; None records all neurons. Containers have outputs too: ``"*"`` records
            every module. A layer that is used under several paths has its first one. Neurons within a layer of neurons, such as
            ``MPBN`` or ``Recurrent``, are recorded as that layer.
        what: Of each layer, what there is of ``"spikes"`` and ``"membrane"`` (neurons) and ``"output"`` (all other layers; of a tuple, its
            first tensor). A leaky integrator has a membrane only.
        along: How several forwards are joined: ``"batch"``, each brings other samples; ``"time"``, each goes on where the last one ended.
            Where a model runs a layer step by step within one forward, the steps are joined in time in both cases.
        units: Which units to keep, to bound memory, as indices into the flattened units: a list, a slice, or how many.
        samples: Which samples of every forward to keep, likewise.
        device: Where to keep the tensors; None leaves each where it is.

    Yields:
        A :class:`Recording`, which fills as the model runs.

    Raises:
        ConfigError: A layer or a signal is not there, or an index is out of range.

    >>> import neurosim as ns
    >>> net = ns.nn.SpikingSequential(nn.Linear(3, 4), ns.LIF(tau_mem=5e-3, dt=1e-3), nn.Linear(4, 2))
    >>> with record(net) as recording:
    ...     y = net(torch.rand(10, 5, 3))
    >>> recording["1"].spikes.shape, recording["1"].membrane.shape
    (torch.Size([10, 5, 4]), torch.Size([10, 5, 4]))
    """
    signals: list[Signal] = [what] if isinstance(what, str) else list(what)
    if unknown := [str(name) for name in signals if name not in SIGNALS]:
        raise ConfigError(f"record: no signal is named {unknown[0]!r}{nearest(unknown[0], SIGNALS)}")
    if along not in ("batch", "time"):
        raise ConfigError(f"record: along must be 'batch' or 'time', got {along!r}")
    for argument, choice in (("units", units), ("samples", samples)):
        chosen(choice if isinstance(choice, int) else None, 1, f"record: {argument}")
    found = _select(model, layers)
    wanted = {path: module for path, module in found.items() if _kinds(module) & {*signals}}
    if not wanted:
        there = " and ".join(sorted(set[str]().union(*map(_kinds, found.values()))))
        raise ConfigError(f"record: {', '.join(path or '(model)' for path in found):.60} must have {' or '.join(signals)}, has {there}")
    recorder = _Recorder(signals, units, samples, device)
    recorder.tapes = {module: _tape(path, module, along) for path, module in wanted.items()}
    folded = not all(map(is_neurons, recorder.tapes))
    around = [module for module in model.modules() if folded and takes_time(module)]
    with watching(dict.fromkeys([unwrapped(model), *recorder.tapes, *around]), recorder):
        yield Recording({tape.path: tape for tape in recorder.tapes.values()}, meta=_meta())


class _Recorder:
    """Takes down what the modules that it watches give."""

    def __init__(self, signals: Sequence[Signal], units: Chosen, samples: Chosen, device: torch.device | str | None) -> None:
        self.signals, self.units, self.samples, self.device = signals, units, samples, device
        self.tapes: dict[nn.Module, LayerRecording] = {}
        self.sizes: list[tuple[int, ...]] = []  #: (time, batch) of the modules that are running, innermost last; () where they take no time
        self.pieces: dict[nn.Module, int] = {}  #: how many calls within this one of the outermost module were pieces of a sequence

    def wants_membrane(self, module: nn.Module) -> bool:
        return "membrane" in self.signals and module in self.tapes and "spikes" in _kinds(module)

    def enter(self, module: nn.Module, x: Any) -> None:
        self.sizes.append(tuple(x.shape[:2]) if takes_time(module) and isinstance(x, Tensor) else ())

    def leave(self, module: nn.Module, result: Any, membrane: Tensor | None) -> None:
        size = self.sizes.pop()
        try:
            if result is not None and module in self.tapes:
                self._take(module, result, membrane, size)
        finally:
            if not self.sizes:
                for one, pieces in self.pieces.items():
                    self.tapes[one].merge(pieces)
                self.pieces.clear()

    def _take(self, module: nn.Module, result: Any, membrane: Tensor | None, size: tuple[int, ...]) -> None:
        if not is_neurons(module):
            value, timed = self._output(self.tapes[module], result, size)
            self._add(module, {"output": value}, timed)
            return
        found = {"membrane": result if isinstance(module, LI) else membrane, "spikes": None if isinstance(module, LI) else result}
        values = {name: value for name, value in found.items() if name in self.signals and value is not None}
        if values:
            self._add(module, values, timed=True)

    def _add(self, module: nn.Module, values: dict[str, Tensor], timed: bool) -> None:
        """Take values down; those of fewer steps than the outermost module was given continue what the layer gave within the same call."""
        steps = next(iter(values.values())).shape[0]
        piece = timed and bool(self.sizes) and (steps < self.sizes[0][0] if self.sizes[0] else steps == 1)
        before = self.pieces.get(module, 0)
        self.tapes[module].take(values, timed, self.units, self.samples, self.device, goes_on=piece and before > 0)
        if piece:
            self.pieces[module] = before + 1

    def _output(self, tape: LayerRecording, result: Any, size: tuple[int, ...]) -> tuple[Tensor, bool]:
        """What a layer gave, unfolded, and whether it has a time axis."""
        value = result[0] if isinstance(result, tuple | list) and result else result
        if not isinstance(value, Tensor) or value.dim() == 0:
            got = "a number" if isinstance(value, Tensor) else type(value).__name__
            raise ConfigError(f"record: {tape.path or '(model)'} ({tape.type}) gives {got}, not samples; leave it out of layers")
        around = next((one for one in reversed(self.sizes) if len(one) == 2), ())
        if size or not around:
            return value, tuple(value.shape[:2]) == size
        time, batch = around
        rows = value.shape[0]
        if rows != time * batch and tuple(value.shape[:2]) == around:
            return value, True
        if batch and rows % batch == 0:  # it was folded over time: over all steps, or in a loop over some
            return value.reshape(rows // batch, batch, *value.shape[1:]), True
        return value, False


def _kinds(module: nn.Module) -> set[str]:
    """The signals that a module has."""
    if not is_neurons(module):
        return {"output"}
    return {"membrane"} if isinstance(module, LI) else {"spikes", "membrane"}


def _select(model: nn.Module, layers: Selection) -> dict[str, nn.Module]:
    """The modules to record, by path, each once, without what wraps them to compile or to run in parallel, and neurons within neurons."""
    if not isinstance(model, nn.Module):
        raise ConfigError(f"record: model must be a torch.nn.Module, got {type(model).__name__}")
    known = dict(named_unwrapped(model))
    neurons = {path for path, module in known.items() if is_neurons(module)}
    inner = {path for path in neurons if any(around in neurons for around in _around(path))}
    known = {path: module for path, module in known.items() if path not in inner}
    if layers is None:
        if not neurons:
            raise ConfigError("record: the model has no neurons; name the layers to record, as in layers='fc*'")
        return {path: module for path, module in known.items() if path in neurons}
    globs = as_list(layers)
    if not globs:
        raise ConfigError("record: layers must name some layers, got none; leave it out to record all neurons")
    check_globs("record", globs, known, "layer")
    found = {path: module for path, module in known.items() if matches(path, module, globs)}
    if not found:
        raise ConfigError(f"record: the model has no layer {' or '.join(getattr(one, '__name__', repr(one)) for one in globs)}")
    return found


def _around(path: str) -> list[str]:
    """The paths of the modules that hold the one of this path: ``a.b.c`` is in ``""``, ``a`` and ``a.b``."""
    parts = path.split(".") if path else []
    return [".".join(parts[:count]) for count in range(len(parts))]


def _tape(path: str, module: nn.Module, along: Along) -> LayerRecording:
    tape = LayerRecording(path, type(module).__name__, along=along)
    if is_neurons(module):
        values = (getattr(module, name, None) for name in ("v_threshold", "v_reset"))
        tape.v_threshold, tape.v_reset = (value.detach().cpu().clone() if isinstance(value, Tensor) else value for value in values)
        tape.dt = getattr(module, "dt", None)
    return tape


def _meta() -> dict[str, Any]:
    """When, with what and by which command."""
    return {
        "created_utc": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "neurosim_version": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "platform": platform.platform(),
        "command": shlex.join(sys.argv),
    }

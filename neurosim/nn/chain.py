"""The signal chain as a module: one chip's state around one matrix-vector product."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from neurosim.clock import recomputing
from neurosim.errors import RunError
from neurosim.hardware.chain import ChainSpec, LayerSpec, slots
from neurosim.hardware.fuse import Piece, prepared, run
from neurosim.hardware.layout import Layout, Shapes, check_fan_in, layout_of, scaled
from neurosim.hardware.memory import Memory
from neurosim.hardware.stage import STAGES, Context, Mode, Scope, Spec, Stage, moment, tensor_name
from neurosim.nn.kept import Kept
from neurosim.nn.measured import Form, effective, maps_of, put_maps
from neurosim.nn.quadratures import StaysReal
from neurosim.ops.quantize import Prepared
from neurosim.random import Stream, stream

_HALVES = (torch.float16, torch.bfloat16)


class _Step(NamedTuple):  # one stage in its slot, with what every use of it needs
    slot: str
    spec: Spec
    scope: Scope
    stream: Stream | None  #: None if it draws no random numbers


_Passes = list[tuple[Prepared, list[tuple[_Step, Stream]]]]  #: each with the steps that it draws random numbers for, and their streams


class _Ready(NamedTuple):  # a path as passes that are packed already
    modes: dict[str, Mode]  #: of all stages, as they were
    effects: tuple[float, float]  #: strength and time, as they were
    passes: _Passes | None  #: None if it cannot be packed


class AnalogChain(StaysReal):
    """What turns a digital product into one on simulated hardware.

    It owns the stages' trainable parameters, this chip's frozen errors (buffers that are not in ``state_dict``) and the noise counter.
    A layer calls, in order: :meth:`begin`, :meth:`encode`, :meth:`weights`, its product, :meth:`decode`.

    Args:
        spec: The chain.
        seed: Which chip.
        path: The layer's name in its random streams, as recorded at conversion.
        shapes: Shape of the weight and bias, and of inputs and outputs with 1 for every spatial axis. Where a path has none, frozen errors
            are drawn at every use, the same ones.

    Raises:
        ConversionError: The layer has more inputs than the hardware can sum.
    """

    draw: Tensor  #: forwards of the converted model so far, int64
    held: Tensor  #: the value of ``draw`` that stages in mode ``fixed`` use, int64
    rewritten, watched = False, False  #: whether every use writes the array anew; whether somebody looks at what passes between its stages

    def __init__(self, spec: LayerSpec, *, seed: int, path: str, shapes: Shapes) -> None:
        super().__init__()
        self.path = path
        self.shapes = shapes
        self.calls = 0  #: uses of the layer within this forward
        self.seconds = 0.0
        self.strength = 1.0
        self.advances = True  #: whether a forward of the model advances ``draw``
        self.replays = False  #: whether ``calls`` and ``draw`` stand where they stood in the forward that is being recomputed
        self.modes: dict[str, Mode] = {}
        self.slots: dict[str, Spec] = {}
        self.layout: Layout | None = None  #: of the matrix on arrays; None if only elementwise stages stand between weight and product
        self.kept: Kept | None = None  #: what the array holds, while it is kept
        self.maps: tuple[str, ...] = ()  #: which maps of it were measured
        self.memory = Memory()
        self.register_buffer("draw", torch.zeros((), dtype=torch.int64), persistent=False)
        self.register_buffer("held", torch.zeros((), dtype=torch.int64), persistent=False)
        self.configure(spec, seed)

    def configure(self, spec: LayerSpec, seed: int) -> None:
        """Take another specification: parameters that start as before, modes and measured maps stay, frozen errors are drawn anew."""
        check_fan_in(spec, self.shapes, self.path)
        kept, maps, began = dict(self.named_parameters(recurse=False)), maps_of(self), self._starts()
        for name in kept:
            delattr(self, name)
        self.spec = spec
        self.slots = slots(spec)
        self.layout = layout_of(spec, self.shapes)
        #: short and full names of each stage's parameters
        self.trained: dict[str, list[tuple[str, str]]] = {slot: [] for slot in self.slots}
        added: Mode = "ideal" if self.modes and self.bypassed else "fresh"
        self.modes = {slot: self.modes.get(slot, added) for slot in self.slots}
        like = next(iter(kept.values()), self.draw)
        for (slot, name), value in self._starts().items():
            full, old = tensor_name(slot, name), began.get((slot, name))
            self.trained[slot].append((name, full))
            same = old is not None and old.shape == value.shape and torch.allclose(value, old, rtol=0, atol=0, equal_nan=True)
            self.register_parameter(full, kept[full] if same else nn.Parameter(value.to(like.device)))
        self.program(seed)
        put_maps(self, maps)

    def program(self, seed: int) -> None:
        """Become the chip of that seed: every stream is named anew and every frozen error drawn anew."""
        self.seed, self.maps = seed, ()
        self.kept = None if self.kept is None else {}
        self.ready: dict[str, _Ready] = {}
        self.steps: dict[str, list[_Step]] = {path: [] for path in self.spec.paths}
        #: short and full names of each stage's frozen errors
        self.frozen: dict[str, list[tuple[str, str]]] = {slot: [] for slot in self.slots}
        for name in [name for name in self._buffers if "__" in name]:
            delattr(self, name)
        for slot, spec in self.slots.items():
            stage = STAGES[spec.kind]
            scope: Scope = getattr(spec, "scope", "read")
            source = stream(seed, self.path, slot, scope) if stage.random(spec) else None
            if not stage.structural:
                self.steps.setdefault(self._runs_in(slot), []).append(_Step(slot, spec, scope, source))
            if slot.split(".")[0] not in self.shapes:
                continue
            device = stage.program(spec, self._params(slot), self._shape(slot), stream(seed, self.path, slot, "device"))
            for name, value in device._asdict().items() if device is not None else ():
                self.frozen[slot].append((name, tensor_name(slot, name)))
                self.register_buffer(tensor_name(slot, name), value.to(self.draw.device), persistent=False)

    @property
    def bypassed(self) -> bool:
        """Whether every stage is ideal: the layer is then the digital one."""
        return all(mode == "ideal" for mode in self.modes.values())

    @property
    def digital_bias(self) -> bool:
        """Whether the bias is added after the last stage instead of within the product."""
        return isinstance(self.spec, ChainSpec) and self.spec.bias is None

    def restart(self) -> None:
        """A forward of the model begins: uses are counted from 0."""
        self.calls = 0

    def begin(self) -> int:
        """The number of this use of the layer within the forward; a recomputed activation gets that of the use it repeats."""
        if recomputing() and not self.replays:
            if self.calls > 1:
                raise RunError(
                    f"{self.path}: this layer was used {self.calls} times in one forward of the model, and an activation checkpoint cannot "
                    "tell which use it repeats: pass context_fn=neurosim.checkpoint_context(model) to torch.utils.checkpoint.checkpoint"
                )
            return 0
        call = self.calls
        self.calls = call + 1
        return call

    def encode(self, x: Tensor, call: int) -> Tensor:
        """Signals for digital inputs."""
        return self.run("input", x, call)

    def send(self, x: Tensor, call: int) -> Tensor:
        """Signals of the passes of digital inputs, where the layout has some: what reaches the array."""
        return self.run("passes", x, call)

    def weights(self, weight: Tensor, bias: Tensor | None, call: int, form: Form = None) -> tuple[Tensor, Tensor | None]:
        """What the array holds for the clean weight and bias; no bias if it is digital. ``form`` makes measured weights such a weight."""
        held = effective(self, self.run("weight", weight, call), form)
        return held, None if bias is None or self.digital_bias else self.run("bias", bias, call)

    def decode(self, y: Tensor, call: int) -> Tensor:
        """Digital outputs for the summed signals."""
        return self.run("output", y, call)

    def total(self, y: Tensor, call: int) -> Tensor:
        """What becomes of the digital sum over the arrays of a pass."""
        return self.run("sums", y, call) if "sums" in self.steps else y

    def one(self, step: _Step, x: Tensor, call: int, seconds: float | None = None) -> Tensor:
        """A single stage; at another time than now if ``seconds`` is given."""
        stage, params, device, context = self.about(step, call, seconds)
        return stage.apply(x, step.spec, params, device, context)

    def about(self, step: _Step, call: int, seconds: float | None = None) -> tuple[Stage, dict[str, Tensor], Any, Context]:
        """A single stage, with its parameters, the chip's frozen errors and its context."""
        stage = STAGES[step.spec.kind]
        return stage, self._params(step.slot), self._device(step.slot, stage), self._context(step, call, seconds)

    def context(self, slot: str) -> tuple[dict[str, Tensor], Context]:
        """Parameters and context of a structural stage, which the layer reads."""
        return self._params(slot), Context(None, self.seconds, self.spec.kelvin, self.modes[slot], self.strength, self.training)

    def run(self, path: str, x: Tensor, call: int) -> Tensor:
        """A signal behind the stages of a path."""
        y = x.float() if x.dtype in _HALVES else x
        passes = None if torch.compiler.is_compiling() else self.packed(path, call)
        if passes is None:
            y = self._stage_by_stage(path, y, call)
        else:
            for one, steps in passes:
                y = one(y, [self.source(step, named, call, self.seconds) for step, named in steps])
        return y if y.dtype == x.dtype else y.to(x.dtype)

    def packed(self, path: str, call: int) -> _Passes | None:
        """The stages of a path, packed; packed anew when something that they depend on has changed."""
        ready, effects = self.ready.get(path), (self.strength, self.seconds)
        if ready is None or ready.effects != effects or ready.modes != self.modes:
            ready = self.ready[path] = _Ready(dict(self.modes), effects, self._prepare(path, call))
        return ready.passes

    def _prepare(self, path: str, call: int) -> _Passes | None:
        pieces: list[Piece] = []
        owners: dict[int, tuple[_Step, Stream]] = {}
        contexts = []  # keeps the streams alive by whose identity they are found
        for step in self.steps.get(path, ()):
            if self.modes[step.slot] == "ideal":
                continue
            if self.trained[step.slot] or self.frozen[step.slot]:
                return None
            contexts.append(self._context(step, call))
            found = STAGES[step.spec.kind].pieces(step.spec, {}, None, contexts[-1])
            if found is None:
                return None
            pieces += found
            if step.stream is not None:
                owners[id(contexts[-1].stream)] = step, step.stream
        passes = prepared(pieces)
        if passes is None or any(id(source) not in owners for _, streams in passes for source in streams):
            return None
        return [(one, [owners[id(source)] for source in streams]) for one, streams in passes]

    def _stage_by_stage(self, path: str, y: Tensor, call: int) -> Tensor:
        autocast = y.device.type != "meta" and torch.is_autocast_enabled(y.device.type)
        with torch.autocast(y.device.type, enabled=False) if autocast else nullcontext():
            pieces: list[Piece] = []
            for step in self.steps[path]:
                if self.modes[step.slot] == "ideal":
                    continue
                stage, params, device, context = self.about(step, call)
                found = stage.pieces(step.spec, params, device, context)
                if found is None:
                    y, pieces = stage.apply(run(y, pieces), step.spec, params, device, context), []
                else:
                    pieces += found
            return run(y, pieces)

    def _context(self, step: _Step, call: int, seconds: float | None = None) -> Context:
        mode, when = self.modes[step.slot], self.seconds if seconds is None else seconds
        source = self.source(step, step.stream, call, when) if step.stream is not None and mode != "off" else None
        return Context(source, when, self.spec.kelvin, mode, self.strength, self.training, self.memory)

    def source(self, step: _Step, named: Stream, call: int, seconds: float) -> Stream:
        """Where a step takes its random numbers from at a time."""
        draw: int | Tensor = self.held if self.modes[step.slot] == "fixed" else self.draw
        if step.scope == "device":
            draw, call = 0, 0
        elif step.scope == "hold":
            draw, call = moment(seconds, self.spec.kelvin), 0
        elif step.scope == "batch":
            call = 0
        return Stream(named.key, named.chip, draw, call)

    def _params(self, slot: str) -> dict[str, Tensor]:
        return {short: getattr(self, full) for short, full in self.trained[slot]}

    def _device(self, slot: str, stage: Stage) -> Any:
        frozen = self.frozen[slot]
        return stage.device(**{short: getattr(self, full) for short, full in frozen}) if stage.device is not None and frozen else None

    def _runs_in(self, slot: str) -> str:
        """Which run a stage is part of: that of its path; where products are split, what follows a converter is one of its own."""
        runs = {"input.noise": "passes", "output.sum": "sums", "output.noise": "detected" if "output.scale" in self.slots else "output"}
        return runs.get(slot, slot.split(".")[0]) if self.layout is not None and not self.layout.whole else slot.split(".")[0]

    def _starts(self) -> dict[tuple[str, str], Tensor]:
        """What all parameters start from, by slot and name."""
        return {(slot, name): x for slot, one in self.slots.items() for name, x in STAGES[one.kind].init(one, self._shape(slot)).items()}

    def _shape(self, slot: str) -> Sequence[int]:
        path, lies = slot.split(".")[0], self.layout
        if lies is None or path == "bias":
            return self.shapes.get(path, ())
        if path == "array":
            return lies.matrix if slot == "array.mesh" else lies.conductances
        if path == "weight":
            return scaled(lies, self.shapes) if slot == "weight.scale" else (lies.groups * lies.outputs, lies.inputs)
        if lies.whole:
            return self.shapes[path]
        return lies.signals if path == "output" else (lies.groups, lies.inputs)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name, value in self.named_parameters(recurse=False):  # a digital state_dict does not have them, and loads strictly all the same
            state_dict.setdefault(prefix + name, value.detach())
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        """Seed and stages, for ``print(model)``."""
        return f"seed={self.seed}, {', '.join(self.slots) or 'no stages'}"

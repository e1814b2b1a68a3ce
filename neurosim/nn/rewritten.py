"""The chain of arrays that are written anew at every use: for products of two signals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from neurosim.errors import ConversionError
from neurosim.hardware.chain import ChainSpec, LayerSpec
from neurosim.hardware.layout import check_fan_in, layout
from neurosim.hardware.stage import Stage
from neurosim.hardware.stages.scale import Scale
from neurosim.hardware.stages.source import Source
from neurosim.nn.chain import AnalogChain
from neurosim.random import Stream, stream

_VALUES = ("weight.", "array.programming", "array.drift")  #: slots whose errors come with what is written, not with the cell


class RewrittenChain(AnalogChain):
    """A chip's chain around products whose matrices are signals themselves.

    Errors of what is stored (``weight.*``, ``array.programming``, ``array.drift``) are drawn anew for every matrix of every use. Errors of
    the arrays and of what surrounds them (faults, meshes, converters) are frozen in the chip and numbered by ``arrays``: the matrices of
    all samples are written to the same ones, one after the other. Matrices of another size lie on other cells. What has just been written
    has no age, so ``seconds`` is 0 whatever the age of the chip.

    Args:
        spec, seed, path: As in :class:`AnalogChain`.
    """

    rewritten = True
    samples = 1  #: matrices that are written to each of the arrays in this use
    arrays = 1  #: arrays that work side by side
    use = 0  #: which use of the layer within the forward

    def __init__(self, spec: LayerSpec, *, seed: int, path: str) -> None:
        super().__init__(spec, seed=seed, path=path, shapes=_shapes(1, 1, 1, 1))

    @property
    def seconds(self) -> float:
        """0: what is written at every use has no age."""
        return 0.0

    @seconds.setter
    def seconds(self, when: float) -> None:
        pass

    def configure(self, spec: LayerSpec, seed: int) -> None:
        """Take another specification.

        Raises:
            ConversionError: A scale is to be learned of each output or input of what is written.
        """
        check_scales(spec, self.path)
        super().configure(spec, seed)

    def program(self, seed: int) -> None:
        """Become the chip of that seed; its errors are drawn at every use, for the shapes that it has then."""
        super().program(seed)
        for names in self.frozen.values():
            for _, full in names:
                delattr(self, full)
        self.frozen = {slot: [] for slot in self.slots}
        self.devices = {slot: stream(seed, self.path, slot, "device") for slot in self.slots}

    def lay(self, samples: int, arrays: int, outputs: int, inputs: int) -> None:
        """Make room for the matrices of one use.

        Raises:
            ConversionError: They have more inputs than the hardware can sum.
        """
        shapes = _shapes(samples, arrays, outputs, inputs)
        check_fan_in(self.spec, shapes, self.path)
        self.samples, self.arrays, self.shapes = samples, arrays, shapes
        if self.layout is not None and isinstance(self.spec, ChainSpec):
            before, self.layout = self.layout, layout(self.spec, shapes["array"])
            if self.layout.whole != before.whole:  # what is split has runs of its own
                every = [step for steps in self.steps.values() for step in steps]
                self.steps = {path: [] for path in self.spec.paths}
                for step in every:
                    self.steps.setdefault(self._runs_in(step.slot), []).append(step)

    def begin(self) -> int:
        """The number of this use, whose errors are drawn now."""
        self.use = super().begin()
        return self.use

    def packed(self, path: str, call: int) -> list[Any] | None:
        """Nothing to keep: shapes and errors are those of one use."""
        return None if self.steps.get(path) else []

    def source(self, step: Any, named: Stream, call: int, seconds: float) -> Stream:
        """Where a step takes its random numbers from."""
        return super().source(step._replace(scope="read") if _written(step.slot) and step.scope == "device" else step, named, call, seconds)

    def _device(self, slot: str, stage: Stage) -> Any:
        """The errors of a stage: anew for what is written, the same for all samples where they are frozen."""
        if stage.device is None or isinstance(self.slots[slot], Source):  # a source feeds the inputs of one array, of whatever size
            return None
        named, written = self.devices[slot], _written(slot)
        if written:
            named = named._replace(draw=self.held if self.modes[slot] == "fixed" else self.draw, call=self.use)
        shape, axis = list(self._shape(slot)), self._axis(slot)
        if not written:
            shape[axis] //= self.samples
        device = stage.program(self.slots[slot], self._params(slot), shape, named)
        if device is None:
            return None
        values = {name: value.to(self.draw.device) for name, value in device._asdict().items()}
        if not written and not self._elementwise(slot):
            values = {name: _repeated(value, shape, axis, self.samples) for name, value in values.items()}
        return stage.device(**values)

    def _axis(self, slot: str) -> int:
        """Where the matrices of a use are counted, in the shape of what a slot acts on."""
        path = slot.split(".")[0]
        if self._elementwise(slot) or path in ("weight", "input") or slot == "array.mesh":
            return 0
        return 2 if path == "output" else 1

    def _elementwise(self, slot: str) -> bool:
        """Whether a slot acts on signals in their own shape, ``(samples, arrays, …)``."""
        return self.layout is None or (self.layout.whole and slot.split(".")[0] in ("input", "output"))


def check_scales(spec: LayerSpec, path: str) -> None:
    """Raise if scales are to be learned of each output or input of what is written anew at every use.

    Raises:
        ConversionError: They are; with the layer's name.
    """
    scale = spec.weight.scale if isinstance(spec, ChainSpec) else None
    if isinstance(scale, Scale) and scale.several:
        raise ConversionError(
            f"{path or 'Matmul'}: weight.scale must be learned per 'tensor', or be 'absmax', where what is written is a signal: its "
            f"outputs are others every time, none has a factor of its own to learn; got mode 'learned' per '{scale.per}'"
        )


def _shapes(samples: int, arrays: int, outputs: int, inputs: int) -> dict[str, Sequence[int]]:
    return {
        "input": (samples, arrays, 1, inputs),
        "output": (samples, arrays, 1, outputs),
        "weight": (samples, arrays, outputs, inputs),
        "array": (samples * arrays, outputs, inputs),
    }


def _written(slot: str) -> bool:
    return slot.startswith(_VALUES)


def _repeated(value: Tensor, shape: Sequence[int], axis: int, times: int) -> Tensor:
    """Numbers of one set of arrays for every sample; those that all share stay."""
    if times == 1 or value.dim() < len(shape) or value.shape[axis] != shape[axis]:
        return value
    return torch.cat([value] * times, axis)

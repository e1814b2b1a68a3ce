"""The paths of a signal chain and their slots.

What stands in a slot is a specification of :data:`neurosim.hardware.stage.STAGES`, told apart by ``kind``. Most slots hold any stage that
acts on their signal; those of :data:`READ` hold what the layer reads, and no other slot does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Self

from pydantic import ConfigDict, PlainValidator, SerializeAsAny, ValidationInfo, WithJsonSchema, field_validator, model_validator

from neurosim.described import Described
from neurosim.errors import nearest
from neurosim.hardware.stage import STAGES, Spec
from neurosim.wording import said
from neurosim.yamlfile import show

__all__ = ["READ", "AnyStage", "ArrayPath", "BiasPath", "InputPath", "NeuronPath", "OutputPath", "Path", "SlotPath", "WeightPath"]


def _by_kind(value: object) -> Spec:
    """A stage specification from plain data; which class it is depends on ``kind`` and on what is registered now."""
    if isinstance(value, Spec):
        return value
    if not isinstance(value, Mapping) or "kind" not in value:
        raise said("stage", f"must be a mapping with a 'kind', got {show(value)}")
    kind = value["kind"]
    if kind not in STAGES:
        raise said("stage_kind", f"no stage is named {kind!r}{nearest(str(kind), STAGES)}")
    return STAGES[kind].spec.model_validate(value)


AnyStage = Annotated[SerializeAsAny[Spec], PlainValidator(_by_kind), WithJsonSchema({"type": "object", "required": ["kind"]})]


class Path(Described):
    """Base of all paths: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)


#: the kinds that a slot may hold, where it holds what the layer reads
READ: Final[Mapping[str, tuple[str, ...]]] = {
    "input.scale": ("scale",),
    "input.slices": ("slices",),
    "weight.scale": ("scale",),
    "array.mapping": ("mapping",),
    "array.tiles": ("tiles",),
    "array.compensation": ("compensation",),
    "output.ranges": ("ranges",),
    "output.scale": ("scale",),
    "output.sum": ("clamp", "quantize", "fixed_point"),
}


class SlotPath(Path):
    """A path of slots: a stage stands only where the layer uses it."""

    called: ClassVar[str]  #: in the names of its slots

    @field_validator("*")
    @classmethod
    def _used_where_it_stands(cls, stage: object, info: ValidationInfo) -> object:
        if not isinstance(stage, Spec):
            return stage
        wanted = READ.get(f"{cls.called}.{info.field_name}")
        home = " or ".join(slot for slot, kinds in READ.items() if kinds == (stage.kind,))
        read = bool(home) or STAGES[stage.kind].structural
        if stage.kind not in wanted if wanted is not None else read:
            takes = "stages that act on its signal" if wanted is None else " or ".join(wanted)
            belongs = (f", which belongs in {home}" if home else ", which no slot reads") if read else ""
            raise ValueError(f"this slot takes {takes}, got {stage.kind}{belongs}")
        return stage


class InputPath(SlotPath):
    """From digital inputs to signals, in order."""

    called: ClassVar[str] = "input"

    scale: AnyStage | None = None
    """Digital factor that inputs are divided by, and outputs multiplied with."""
    normalize: AnyStage | None = None
    """Brings the inputs into the signal range."""
    dac: AnyStage | None = None
    """Digital-to-analog converter."""
    slices: AnyStage | None = None
    """Passes in which an input is sent: a few bits at a time, or positive and negative parts one after the other."""
    noise: AnyStage | None = None
    """Error of source and modulator."""

    @model_validator(mode="after")
    def _scale_is_of_a_signal(self) -> Self:
        _of_a_signal(self.scale)
        return self


def _of_a_signal(scale: Spec | None) -> None:
    if getattr(scale, "several", False):
        raise ValueError(
            "scale of a signal is learned per 'tensor': its vectors are others every time, none has a factor of its own to learn; "
            f"got per '{getattr(scale, 'per', '')}', which is for weight.scale"
        )
    if getattr(scale, "per", None) == "input":
        raise ValueError("scale of a signal is per 'tensor' or 'vector', got per 'input', which is for weight.scale")


class WeightPath(SlotPath):
    """From a clean weight to what the array is asked to hold, in order."""

    called: ClassVar[str] = "weight"

    scale: AnyStage | None = None
    """Digital factor that weights are divided by, and outputs multiplied with."""
    normalize: AnyStage | None = None
    """Brings the values into the range of a cell."""
    quantize: AnyStage | None = None
    """Levels of a cell."""
    noise: AnyStage | None = None
    """Error of the stored value: frozen (``scope: device``) or fresh."""


class BiasPath(SlotPath):
    """From a clean bias to what the array holds, in order."""

    called: ClassVar[str] = "bias"

    normalize: AnyStage | None = None
    """Brings the values into the range of a cell."""
    quantize: AnyStage | None = None
    """Levels of a cell."""
    noise: AnyStage | None = None
    """Error of the stored value: frozen (``scope: device``) or fresh."""


class ArrayPath(SlotPath):
    """The array that holds the weights, and what its product comes from, in order; conductances are in siemens."""

    called: ClassVar[str] = "array"

    mesh: AnyStage | None = None
    """Optical circuit in which the signed matrix is set: what it really does instead."""
    mapping: AnyStage | None = None
    """Conductances that stand for a signed weight: pairs, an offset, slices."""
    programming: AnyStage | None = None
    """Error of conductances when they are written; frozen in the chip."""
    faults: AnyStage | None = None
    """Cells that hold something else whatever is written."""
    drift: AnyStage | None = None
    """Change of conductances with time and temperature."""
    read: AnyStage | None = None
    """Noise of conductances when they are read."""
    tiles: AnyStage | None = None
    """Size of one physical array: larger layers take several, whose outputs are converted one by one and summed digitally."""
    parasitics: AnyStage | None = None
    """Resistance of the wires of a tile."""
    compensation: AnyStage | None = None
    """Digital factor that takes the mean of a drift back."""

    @model_validator(mode="after")
    def _conductances_are_mapped(self) -> Self:
        needs = [name for name in ("programming", "faults", "drift", "read", "parasitics") if getattr(self, name) is not None]
        if self.mapping is None and needs:
            raise ValueError(f"{needs[0]} acts on conductances and needs a mapping, got none")
        of_tiles, of_wires = ({name: getattr(stage, name, None) for name in ("rows", "columns")} for stage in (self.tiles, self.parasitics))
        if self.tiles is not None and self.parasitics is not None and of_tiles != of_wires:
            raise ValueError(f"wires run through one tile: tiles and parasitics must be of one size, got {of_tiles} and {of_wires}")
        if self.parasitics is not None and getattr(self.tiles, "filled", False):
            raise ValueError("wires run through tiles of equal size: filled must be false beside parasitics, got true")
        if self.mapping is not None and self.mesh is not None:
            raise ValueError("a mesh holds the signed matrix itself and takes no mapping, got both")
        return self


class OutputPath(SlotPath):
    """From the summed signal to digital outputs, in order."""

    called: ClassVar[str] = "output"

    noise: AnyStage | None = None
    """Error of the detector."""
    ranges: AnyStage | None = None
    """How much wider the range of the converter is for each plane of conductances and each pass."""
    scale: AnyStage | None = None
    """Gain in front of the converter that follows the signal, so that its range is dynamic: the largest magnitude of each partial sum."""
    normalize: AnyStage | None = None
    """Brings the outputs into the range of the converter."""
    adc: AnyStage | None = None
    """Analog-to-digital converter."""
    sum: AnyStage | None = None
    """What becomes of the digital sum over all arrays of one pass, such as the range of the word that holds it."""

    @model_validator(mode="after")
    def _range_follows_the_signal_alone(self) -> Self:
        _of_a_signal(self.scale)
        mode = getattr(self.scale, "mode", "absmax")
        if mode != "absmax":
            raise ValueError(f"scale follows the signal: mode must be 'absmax', got '{mode}'; a range that does not is that of adc")
        if getattr(self.scale, "retries", None) is not None:
            raise ValueError("scale leaves nothing to send again: retries must be null, which is for input.scale")
        if self.scale is not None and self.ranges is not None:
            raise ValueError("scale follows every plane and pass by itself: leave ranges out")
        return self


class NeuronPath(SlotPath):
    """From a current to spikes: what a circuit makes of a neuron's parameters, potential and output."""

    called: ClassVar[str] = "neuron"

    input: AnyStage | None = None
    """Error of the current that arrives."""
    tau_mem: AnyStage | None = None
    """Spread of the membrane time constants."""
    tau_syn: AnyStage | None = None
    """Spread of the synaptic time constants."""
    decay: AnyStage | None = None
    """Resolution of the decays of membrane and synapse, which lie between 0 and 1."""
    gain: AnyStage | None = None
    """Spread of what an input adds to the potential."""
    threshold_dac: AnyStage | None = None
    """Resolution of the thresholds."""
    threshold: AnyStage | None = None
    """Spread of the thresholds."""
    reset: AnyStage | None = None
    """Spread of what a soft reset subtracts, or of where a hard one leads."""
    membrane: AnyStage | None = None
    """Noise of the potential at every step: Gaussian, of scope ``read``, in units of full scale."""
    words: AnyStage | None = None
    """Number format of potentials and currents, a ``fixed_point`` with a ``range``; absent, they are real numbers."""
    spikes: AnyStage | None = None
    """Loss of spikes on their way."""

    @field_validator("membrane")
    @classmethod
    def _added_inside_the_step(cls, stage: Spec | None) -> Spec | None:
        wanted = {"kind": "noise", "distribution": "gaussian", "scope": "read", "reference": "fs", "grad": "through"}
        got = {name: getattr(stage, name, None) for name in wanted}
        if stage is not None and got != wanted:
            wrong = next(name for name in wanted if got[name] != wanted[name])
            raise ValueError(f"the potential takes gaussian noise of scope read in fs, with grad through, got {wrong} {got[wrong]!r}")
        return stage

    @field_validator("words")
    @classmethod
    def _whole_numbers(cls, stage: Spec | None) -> Spec | None:
        if stage is not None and (stage.kind != "fixed_point" or getattr(stage, "range", None) is None):
            raise ValueError(f"must be a fixed_point with a range, got {stage.kind}{' without one' if stage.kind == 'fixed_point' else ''}")
        return stage

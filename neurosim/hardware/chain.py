"""The signal chain around one matrix-vector product, as a specification.

Order of the stages, each optional::

    input.scale → input.normalize → input.dac → input.slices → input.noise ─┐
    weight.scale → weight.normalize → weight.quantize → weight.noise → array ─→ product → output.noise ─┐
    bias.normalize → bias.quantize → bias.noise ────────────────────────────┘                           │
           output.sum ←─ output.adc ←─ output.normalize ←─ output.scale ←─ output.ranges ←──────────────┘

The array says what holds the weights::

    array.mesh | array.mapping → array.programming → array.faults → array.drift → array.read → array.parasitics

and how large it is (``array.tiles``). Products of several tiles, planes of conductances and passes of slices go through ``output`` one by
one; their sum, ``output.sum``, the scales and ``array.compensation`` are digital.

Most slots (``output.adc``) hold any registered stage that acts on a signal; what the layer reads (scales, slices, a mapping, tiles,
ranges, a compensation) stands in the slot of that name only. Without a ``bias`` path the bias is digital: added after the last stage.

Hardware with neurons has a second chain, around each layer of them: :class:`NeuronSpec`. Its stages act on the current, on the neuron's
parameters (``neuron.threshold``), on its potential and on its spikes; potentials are measured in full scales of the layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import Field, ValidationError, model_validator

from neurosim.errors import ConfigError, nearest
from neurosim.hardware.paths import ArrayPath, BiasPath, InputPath, NeuronPath, OutputPath, Path, WeightPath
from neurosim.hardware.stage import STAGES, Spec
from neurosim.hardware.validity import Valid
from neurosim.wording import explain

__all__ = [
    "ChainSpec",
    "LayerSpec",
    "NeuronSpec",
    "describe",
    "fields",
    "matching",
    "override",
    "places",
    "slots",
]


class _Chain(Path):
    paths: ClassVar[dict[str, type[Path]]] = {}  #: what holds slots, in the order of the chain


class ChainSpec(_Chain):
    """One signal chain. Paths and slots apply in the order of their declaration."""

    paths: ClassVar[dict[str, type[Path]]] = {
        **{"input": InputPath, "weight": WeightPath, "bias": BiasPath},
        **{"array": ArrayPath, "output": OutputPath},
    }

    input: InputPath = InputPath()
    """Inputs of the product."""
    weight: WeightPath = WeightPath()
    """Weights of the product."""
    bias: BiasPath | None = None
    """The analog bias; absent, the bias is digital and added after ``output``."""
    array: ArrayPath = ArrayPath()
    """What holds the weights."""
    output: OutputPath = OutputPath()
    """Outputs of the product."""
    fan_in: Annotated[int, Field(ge=1)] | None = None
    """Most inputs that one output can sum; a layer with more does not fit, which is an error."""
    kelvin: Annotated[float, Field(gt=0)] = 300.0
    """Temperature of the chip, K."""
    valid: Valid | None = None
    """Over which ranges the fits of these stages hold; leaving them warns, and is said in reports."""

    @property
    def is_array(self) -> bool:
        """Whether more than elementwise stages stands between the weight and the product: an array, scales, or passes."""
        parts = (self.weight.scale, self.input.scale, self.input.slices, self.output.ranges, self.output.scale)
        return self.array != ArrayPath() or any(part is not None for part in parts)

    @model_validator(mode="after")
    def _bias_is_digital(self) -> Self:
        if self.bias is not None and self.is_array:
            raise ValueError("an analog bias needs signals without scales, slices and arrays: bias: null makes it digital")
        return self

    @model_validator(mode="after")
    def _what_is_learned_sees_the_ends(self) -> Self:
        pairs = (("weight.quantize", self.weight.scale, self.weight.quantize), ("input.dac", self.input.scale, self.input.dac))
        for slot, scale, quantizer in pairs:
            straight = getattr(quantizer, "grad", None) == "ste" and getattr(quantizer, "clip", "none") != "none"
            if straight and getattr(scale, "mode", None) == "learned":
                raise ValueError(
                    f"a learned {slot.split('.')[0]}.scale needs {slot}.grad: ste_masked: 'ste' passes gradients beyond the ends of the "
                    "range, where that of the scale would point the wrong way"
                )
        return self

    @model_validator(mode="after")
    def _retries_need_a_range_to_leave(self) -> Self:
        if self.output.scale is not None and getattr(self.input.scale, "retries", None):
            raise ValueError(
                "input.scale.retries is for outputs that leave the converter's range, which output.scale lets follow them: give one"
            )
        return self

    @model_validator(mode="after")
    def _ranges_are_of_what_is_converted(self) -> Self:
        ranges: Any = self.output.ranges
        if ranges is None:
            return self
        mapping: Any = self.array.mapping
        slices: Any = self.input.slices
        converted = (
            1 if mapping is None else mapping.planes // (2 if mapping.scheme == "differential" and mapping.subtract == "analog" else 1)
        )
        known = {1, converted, 1 if mapping is None else mapping.parts}
        if len(ranges.factors("planes")) not in known:
            got = len(ranges.factors("planes"))
            raise ValueError(f"output.ranges.planes must have {' or '.join(map(str, sorted(known)))} factors, got {got}")
        passes = {1, 1 if slices is None else slices.passes}
        if len(ranges.factors("passes")) not in passes:
            got = len(ranges.factors("passes"))
            raise ValueError(f"output.ranges.passes must have {' or '.join(map(str, sorted(passes)))} factors, got {got}")
        return self


class NeuronSpec(_Chain):
    """The chain of a layer of neurons. Slots apply in the order of their declaration."""

    paths: ClassVar[dict[str, type[Path]]] = {"neuron": NeuronPath}

    neuron: NeuronPath = NeuronPath()
    """The neurons of the chip."""
    kelvin: Annotated[float, Field(gt=0)] = 300.0
    """Temperature of the chip, K."""


LayerSpec = ChainSpec | NeuronSpec  #: the chain of one layer: of a product, or of neurons
L = TypeVar("L", bound=_Chain)


def slots(spec: _Chain) -> dict[str, Spec]:
    """The stages that are present, by dotted slot name, in the order of the chain."""
    present: dict[str, Spec] = {}
    for path in spec.paths:
        part = getattr(spec, path)
        for slot in type(part).model_fields if part is not None else ():
            stage = getattr(part, slot)
            if stage is not None:
                present[f"{path}.{slot}"] = stage
    return present


def fields(spec: _Chain) -> dict[str, Any]:
    """Every parameter that an override may set, by dotted key, with its present value: ``{"output.adc.levels": 33, …}``."""
    found: dict[str, Any] = {name: getattr(spec, name) for name in type(spec).model_fields if name not in spec.paths}
    for slot, stage in slots(spec).items():
        found |= {f"{slot}.{name}": getattr(stage, name) for name in type(stage).model_fields if name != "kind"}
    return found


def matching(spec: _Chain, key: str) -> list[str]:
    """The parameters, or else the slots, or else the path that a chain may lack, that an override's key names; empty if it fits nothing."""
    named = [name for name in fields(spec) if fnmatchcase(name, key)] or [slot for slot in places(spec) if fnmatchcase(slot, key)]
    return named or [path for path in spec.paths if path == key and type(spec).model_fields[path].default is None]


def override(spec: L, changes: Mapping[str, Any], *, where: str = "override") -> L:
    """The chain with some of its parameters changed; the result is validated as a whole.

    Args:
        spec: The chain to start from; it is not changed.
        changes: Value by dotted key. A key names a parameter (``output.adc.levels``), or several by a glob (``*.noise.leakage``), or a
            whole slot (``output.adc``): then the value is a stage as a mapping, or ``None`` to leave the stage out. ``bias: None`` makes
            an analog bias digital.
        where: How messages call these changes.

    Returns:
        A new specification.

    Raises:
        ConfigError: A key matches nothing, or a value is out of its domain; all problems at once.

    >>> chain = ChainSpec(output=OutputPath(adc={"kind": "quantize", "levels": 33}))
    >>> override(chain, {"output.adc.levels": 17}).output.adc.levels
    17
    >>> override(chain, {"output.adc.level": 17})
    Traceback (most recent call last):
    neurosim.errors.ConfigError: override: 'output.adc.level' names no parameter of this chain; did you mean 'output.adc.levels'?
    """
    data = spec.model_dump()
    problems: list[str] = []
    for key, value in changes.items():
        names = matching(spec, key)
        if not names:
            problems.append(f"{where}: {key!r} names no parameter of this chain{nearest(key, [*fields(spec), *places(spec)])}")
        for name in names:
            _set(data, name.split("."), value)
    if problems:
        raise ConfigError("\n".join(problems), problems)
    try:
        return type(spec).model_validate(data)
    except ValidationError as error:
        problems = [f"{where}: {'.'.join(map(str, line['loc']))}: {explain(line)}" for line in error.errors()]
        raise ConfigError("\n".join(problems), problems) from None


def places(spec: _Chain) -> list[str]:
    """Every slot that a chain of this sort has, filled or not."""
    return [f"{path}.{slot}" for path, part in spec.paths.items() for slot in part.model_fields]


def _set(data: dict[str, Any], key: list[str], value: Any) -> None:
    for name in key[:-1]:
        if data.get(name) is None:
            data[name] = {}
        data = data[name]
    data[key[-1]] = value


def describe(spec: _Chain) -> Iterator[tuple[str, str]]:
    """Slot and one line of text for every stage of the chain, in order."""
    for slot, stage in slots(spec).items():
        yield slot, STAGES[stage.kind].describe(stage)

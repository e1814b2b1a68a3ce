"""The signal chain around one matrix-vector product, as a specification.

Order of the stages, each optional::

    input.normalize → input.dac → input.noise ─┐
    weight.normalize → weight.quantize → weight.noise ─→ product (+ bias) → output.noise → output.normalize → output.adc
    bias.normalize → bias.quantize → bias.noise ┘

A slot (``output.adc``) holds any registered stage. Without a ``bias`` path the bias is digital: added after the last stage.

Hardware with neurons has a second chain, around each layer of them: :class:`NeuronSpec`. Its stages act on the current, on the neuron's
parameters (``neuron.threshold``), on its potential and on its spikes; potentials are measured in full scales of the layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, SerializeAsAny, ValidationError, WithJsonSchema, field_validator

from neurosim.errors import ConfigError, nearest
from neurosim.hardware.stage import STAGES, Spec
from neurosim.wording import explain, said
from neurosim.yamlfile import show

__all__ = [
    "AnyStage",
    "ChainSpec",
    "InputPath",
    "LayerSpec",
    "NeuronPath",
    "NeuronSpec",
    "OutputPath",
    "WeightPath",
    "describe",
    "fields",
    "matching",
    "override",
    "places",
    "slots",
]


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


class _Path(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class InputPath(_Path):
    """From digital inputs to signals, in order."""

    normalize: AnyStage | None = None
    """Brings the inputs into the signal range."""
    dac: AnyStage | None = None
    """Digital-to-analog converter."""
    noise: AnyStage | None = None
    """Error of source and modulator."""


class WeightPath(_Path):
    """From a clean weight or bias to what the array holds, in order."""

    normalize: AnyStage | None = None
    """Brings the values into the range of a cell."""
    quantize: AnyStage | None = None
    """Levels of a cell."""
    noise: AnyStage | None = None
    """Error of the stored value: frozen (``scope: device``) or fresh."""


class OutputPath(_Path):
    """From the summed signal to digital outputs, in order."""

    noise: AnyStage | None = None
    """Error of the detector."""
    normalize: AnyStage | None = None
    """Brings the outputs into the range of the converter."""
    adc: AnyStage | None = None
    """Analog-to-digital converter."""


class NeuronPath(_Path):
    """From a current to spikes: what a circuit makes of a neuron's parameters, potential and output."""

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


class _Chain(_Path):
    paths: ClassVar[dict[str, type[_Path]]] = {}  #: what holds slots, in the order of the chain


class ChainSpec(_Chain):
    """One signal chain. Paths and slots apply in the order of their declaration."""

    paths: ClassVar[dict[str, type[_Path]]] = {"input": InputPath, "weight": WeightPath, "bias": WeightPath, "output": OutputPath}

    input: InputPath = InputPath()
    """Inputs of the product."""
    weight: WeightPath = WeightPath()
    """Weights of the product."""
    bias: WeightPath | None = None
    """The analog bias; absent, the bias is digital and added after ``output``."""
    output: OutputPath = OutputPath()
    """Outputs of the product."""
    fan_in: Annotated[int, Field(ge=1)] | None = None
    """Most inputs that one output can sum; a layer with more does not fit, which is an error."""
    kelvin: Annotated[float, Field(gt=0)] = 300.0
    """Temperature of the chip, K."""


class NeuronSpec(_Chain):
    """The chain of a layer of neurons. Slots apply in the order of their declaration."""

    paths: ClassVar[dict[str, type[_Path]]] = {"neuron": NeuronPath}

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
    """The parameters, or else the slots, that an override's key names; empty if it fits nothing."""
    return [name for name in fields(spec) if fnmatchcase(name, key)] or [slot for slot in places(spec) if fnmatchcase(slot, key)]


def override(spec: L, changes: Mapping[str, Any], *, where: str = "override") -> L:
    """The chain with some of its parameters changed; the result is validated as a whole.

    Args:
        spec: The chain to start from; it is not changed.
        changes: Value by dotted key. A key names a parameter (``output.adc.levels``), or several by a glob (``*.noise.leakage``), or a
            whole slot (``output.adc``): then the value is a stage as a mapping, or ``None`` to leave the stage out.
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

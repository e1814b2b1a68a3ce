"""What it takes to run a device: the constants below ``cost`` in a profile, every one optional."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from neurosim.described import Described
from neurosim.hardware.energy import schreier_energy, walden_energy
from neurosim.hardware.quantity import Quantity, quantities
from neurosim.hardware.stage import Unit
from neurosim.wording import explain
from neurosim.yamlfile import YamlFile

Positive = Field(gt=0)


class _Part(Described):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)


class ConverterCost(_Part):
    """One kind of converter; its energy is given in one of three ways."""

    energy_j: Annotated[float | None, Positive, Unit("J")] = None
    """Energy of one conversion, J."""
    walden_j: Annotated[float | None, Positive, Unit("J")] = None
    """Walden's figure of merit, J per conversion step."""
    schreier_db: Annotated[float | None, Positive, Unit("dB")] = None
    """Schreier's figure of merit, dB."""
    enob: Annotated[float | None, Positive, Unit("bit")] = None
    """Effective number of bits; None for the logarithm of the levels that the chain simulates."""
    area_m2: Annotated[float | None, Positive, Unit("m2")] = None
    """Area of one converter, m²."""
    lines: Annotated[int | None, Field(ge=1), Unit("1")] = None
    """Lines that share one converter in turn, within ``symbol_s``; None where each has its own."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(given is not None for given in (self.energy_j, self.walden_j, self.schreier_db)) > 1:
            raise ValueError("give one of energy_j, walden_j and schreier_db")
        if self.enob is not None and self.energy_j is not None:
            raise ValueError("enob is for walden_j and schreier_db: energy_j is the energy of a conversion as it is")
        return self

    def joules(self, bits: float | None) -> float | None:
        """Energy of one conversion of that many bits, J; None where constants or bits are unknown."""
        enob = bits if self.enob is None else self.enob
        if self.energy_j is not None or enob is None:
            return self.energy_j
        if self.walden_j is not None:
            return walden_energy(self.walden_j, enob)
        return None if self.schreier_db is None else schreier_energy(self.schreier_db, enob)


class CellCost(_Part):
    """One cell of an array."""

    energy_j: Annotated[float | None, Positive, Unit("J")] = None
    """Energy of one cell in one pass, J."""
    read_v: Annotated[float | None, Positive, Unit("V")] = None
    """Root mean square of the voltage across a cell in a pass, V; the energy is V²·G·``symbol_s`` with the conductances it holds."""
    area_m2: Annotated[float | None, Positive, Unit("m2")] = None
    """Area of one cell, m²."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.energy_j is not None and self.read_v is not None:
            raise ValueError("give one of energy_j and read_v")
        return self


class LaserCost(_Part):
    """The light of one array."""

    power_w: Annotated[float, Positive, Unit("W")]
    """Optical power that one array takes, W."""
    efficiency: Annotated[float, Field(gt=0, le=1), Unit("1")]
    """Wall-plug efficiency of its source."""


class TuningCost(_Part):
    """What holds a weight in place: a heater, a current."""

    power_w: Annotated[float, Positive, Unit("W")]
    """Power for one cell, W, for as long as an inference takes."""


class Costs(_Part):
    """All constants of a device. What is not given is not counted, and a report says so."""

    dac: ConverterCost | None = None
    """Converters of inputs."""
    adc: ConverterCost | None = None
    """Converters of outputs."""
    cell: CellCost | None = None
    """Cells."""
    laser: LaserCost | None = None
    """Light."""
    tuning: TuningCost | None = None
    """What holds the weights."""
    static_w: Annotated[float | None, Positive, Unit("W")] = None
    """Power of the rest of the chip, W, for as long as an inference takes."""
    symbol_s: Annotated[float | None, Positive, Unit("s")] = None
    """Time of one pass, conversions included, s."""
    unverified: tuple[str, ...] = ()
    """Which of these constants nobody has verified; the reader of a profile says so."""

    @model_validator(mode="after")
    def _timed(self) -> Self:
        timed = {
            "laser": self.laser is not None,
            "tuning": self.tuning is not None,
            "static_w": self.static_w is not None,
            "cell.read_v": self.cell is not None and self.cell.read_v is not None,
        }
        if self.symbol_s is None and any(timed.values()):
            raise ValueError(f"{next(name for name, given in timed.items() if given)} needs symbol_s, the time of one pass")
        return self


def read_costs(document: YamlFile, problems: list[str]) -> tuple[Costs, dict[str, Quantity]]:
    """The constants of a profile, and where they come from by dotted name (``cost.adc.walden_j``); problems are added to ``problems``."""
    values, sources = quantities(document, problems, "cost")
    if isinstance(values, dict) and "unverified" in values:
        problems.append(
            f"{document.at(('cost', 'unverified'))}: cost.unverified: unknown key; each number says itself whether it is verified"
        )
        return Costs(), sources
    units = dict(_units(Costs, "cost"))
    for name, quantity in sources.items():
        if quantity.unit not in units.get(name, (quantity.unit,)):
            place = document.at((*name.split("."), "unit"))
            problems.append(f"{place}: {name}: unit must be {' or '.join(units[name])}, got {quantity.unit!r}")
    try:
        costs = Costs.model_validate(values)
    except ValidationError as error:
        for line in error.errors():
            key = ("cost", *line["loc"])
            known = list(_fields(Costs, key[1:-1]))
            problems.append(f"{document.at(key)}: {'.'.join(map(str, key))}: {explain(dict(line), known)}")
        return Costs(), sources
    return costs.model_copy(update={"unverified": tuple(name for name, quantity in sources.items() if not quantity.verified)}), sources


def _fields(part: type[BaseModel], key: tuple[Any, ...]) -> dict[str, Any]:
    """The fields of the part that a key leads to."""
    for name in key:
        part = next((one for one in _parts(part.model_fields[str(name)].annotation)), part)
    return {name: info for name, info in part.model_fields.items() if name != "unverified"}


def _parts(annotation: Any) -> Iterator[type[_Part]]:
    for one in getattr(annotation, "__args__", (annotation,)):
        if isinstance(one, type) and issubclass(one, _Part):
            yield one


def _units(part: type[BaseModel], prefix: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, info in part.model_fields.items():
        for inner in _parts(info.annotation):
            yield from _units(inner, f"{prefix}.{name}")
        for one in info.metadata:
            if isinstance(one, Unit):
                yield f"{prefix}.{name}", one.names

"""Two device profiles side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from neurosim.cli.output import table

if TYPE_CHECKING:
    from neurosim.hardware.profile import Profile
    from neurosim.hardware.quantity import Quantity

T = TypeVar("T")


@dataclass(frozen=True)
class Comparison:
    """What two profiles simulate, and their numbers; ``print`` shows tables in which every difference is marked with ``*``."""

    a: Profile
    b: Profile

    @property
    def stages(self) -> list[tuple[str, str, str, bool]]:
        """Slot, what either profile has there, and whether it is the same in every field."""
        a, b = _described(self.a), _described(self.b)
        ours, theirs = self.a.slots, self.b.slots
        return [(slot, a.get(slot, ""), b.get(slot, ""), ours.get(slot) == theirs.get(slot)) for slot in _joined(ours, theirs)]

    @property
    def numbers(self) -> list[tuple[str, Quantity | None, Quantity | None, bool]]:
        """Key, the number of either profile, and whether value and unit are the same."""
        ours, theirs = self.a.provenance, self.b.provenance
        pairs = [(key, ours.get(key), theirs.get(key)) for key in _joined(ours, theirs)]
        return [(key, a, b, a is not None and b is not None and a[:2] == b[:2]) for key, a, b in pairs]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, JSON-able."""
        return {
            **{side: {"name": one.name, "technology": one.technology, "summary": one.summary} for side, one in self._sides()},
            "stages": [{"slot": slot, "a": a or None, "b": b or None, "same": same} for slot, a, b, same in self.stages],
            "numbers": [
                {"number": key, **{side: None if one is None else one._asdict() for side, one in (("a", a), ("b", b))}, "same": same}
                for key, a, b, same in self.numbers
            ],
            "not_modelled": {side: list(one.not_modelled) for side, one in self._sides()},
        }

    def __str__(self) -> str:
        names = [self.a.name, self.b.name] if self.a.name != self.b.name else [f"{self.a.name} (A)", f"{self.b.name} (B)"]
        head = [("", *names), ("technology", self.a.technology, self.b.technology), ("summary", self.a.summary, self.b.summary)]
        stages = [(_mark(same), slot, a or "-", b or "-") for slot, a, b, same in self.stages]
        numbers = [(_mark(same), key, _shown(a), _shown(b)) for key, a, b, same in self.numbers]
        parts = ["\n".join(f"{label or '':<12}{a}\n{'':<12}{b}" for label, a, b in head[1:])]
        parts += [_section("stages, in this order", ("", "slot", *names), stages), _section("numbers", ("", "number", *names), numbers)]
        for one, name, other in ((self.a, names[0], self.b), (self.b, names[1], self.a)):
            only = [effect for effect in one.not_modelled if effect not in other.not_modelled]
            parts += [f"only {name} does not model\n" + "\n".join(f"  {effect}" for effect in only)] if only else []
        differing = sum(not same for *_, same in self.stages), sum(not same for *_, same in self.numbers)
        return "\n\n".join([*parts, f"{differing[0]} of {len(stages)} stages and {differing[1]} of {len(numbers)} numbers differ (*)"])

    def _sides(self) -> tuple[tuple[str, Profile], tuple[str, Profile]]:
        return ("a", self.a), ("b", self.b)


def _described(profile: Profile) -> dict[str, str]:
    from neurosim.hardware.chain import describe

    return {slot: text for chain in profile.chains.values() for slot, text in describe(chain)}


def _joined(first: Mapping[str, T], second: Mapping[str, T]) -> Iterable[str]:
    """The keys of both in the order of a chain: those of one path stand together."""
    from neurosim.hardware.chain import ChainSpec, NeuronSpec, places

    order = {slot: i for i, slot in enumerate([*places(ChainSpec()), *places(NeuronSpec())])}
    keys = list(dict.fromkeys([*first, *second]))
    return sorted(keys, key=lambda key: order.get(".".join(key.split(".")[:2]), len(order)))


def _mark(same: bool) -> str:
    return " " if same else "*"


def _shown(quantity: Quantity | None) -> str:
    return "-" if quantity is None else f"{quantity.shown} {quantity.unit}{'' if quantity.verified else ' (unverified)'}"


def _section(title: str, head: tuple[str, ...], rows: list[tuple[str, str, str, str]]) -> str:
    return f"{title}\n{table(rows, head=head) if rows else '  none'}"

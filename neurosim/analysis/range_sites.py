"""The ranges of a chain that can be set from signals: of scales, of converters, and of what converters see of each plane and pass."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from neurosim.analysis.calibration_report import Ends
from neurosim.hardware.chain import ChainSpec, override
from neurosim.hardware.ranges import Code
from neurosim.hardware.stage import STAGES, Spec
from neurosim.hardware.stages.clamp import Clamp
from neurosim.hardware.stages.ranges import Ranges, widths
from neurosim.hardware.stages.scale import Scale
from neurosim.nn.chain import AnalogChain
from neurosim.quantizers import Format

_AXIS = {"planes": 3, "passes": 0}  #: of a signal (passes, products, tiles, planes, groups, outputs)


class Part(NamedTuple):
    """Planes or passes that have a range of their own."""

    of: Literal["planes", "passes"]
    at: int  #: which of the factors


class Site(NamedTuple):
    """A range to set."""

    slot: str
    limiter: str | None  #: the clamp in front of a converter that does not clip: one range for both
    spec: Any
    levels: int | Format | None  #: of the converter, or of the one behind a scale
    part: Part | None = None  #: what the range is of, where the converter has several

    @property
    def trained(self) -> bool:
        """Whether the range is a parameter, which a ``state_dict`` keeps."""
        return self.spec.mode in ("learned", "average") if isinstance(self.spec, Scale) else bool(getattr(self.spec, "learned", False))

    @property
    def several(self) -> bool:
        """Whether it is one range for each output or input of a matrix."""
        return isinstance(self.spec, Scale) and self.spec.several

    @property
    def name(self) -> str:
        """For reports."""
        if self.part is not None:
            return f"{self.slot}.{self.part.of}[{self.part.at}]"
        return self.slot if self.limiter is None else f"{self.limiter} + {self.slot}"


def sites(chain: AnalogChain) -> list[Site]:
    """The ranges of a chain, in its order."""
    found = []
    slots: list[tuple[str, Spec]] = list(chain.slots.items()) if isinstance(chain.spec, ChainSpec) else []
    for at, (slot, spec) in enumerate(slots):
        path = slot.split(".")[0]
        behind = [code for name, _ in slots[at:] if name.split(".")[0] == path and (code := code_of(chain, name)) is not None]
        levels = behind[0].levels if behind else None
        if isinstance(spec, Scale) and spec.mode != "absmax":
            found.append(Site(slot, None, spec, levels))
        elif isinstance(spec, Ranges) and behind:
            several = [Part(of, number) for of in ("planes", "passes") for number in range(len(spec.factors(of)))]
            found += [Site(slot, None, spec, levels, part) for part in several if len(spec.factors(part.of)) > 1]
        elif code_of(chain, slot) is not None:
            before, limiter = slots[at - 1] if at else ("", None)
            own = isinstance(limiter, Clamp) and before.split(".")[0] == path and getattr(spec, "clip", "") == "none"
            found.append(Site(slot, before if own else None, spec, levels))
    return found


def part_of(signal: Tensor, chain: AnalogChain, site: Site) -> Tensor:
    """What of a signal arrives at a range, in units of the range that the factors of others leave."""
    spec: Any = chain.slots[site.slot]
    if site.part is None:
        return signal
    factors, axis = spec.factors(site.part.of), _AXIS[site.part.of]
    count = signal.shape[axis] // len(factors)
    others = spec.model_copy(update={site.part.of: None})
    return (signal / widths(others, signal)).narrow(axis, site.part.at * count, count)


def ends_of(chain: AnalogChain, site: Site) -> Ends:
    """The range as it is now; of several, the widest."""
    spec: Any = chain.slots[site.slot]
    trained = chain.context(site.slot)[0]
    if site.part is not None:
        low, high = ends_of(chain, _converter(chain))
        factor = spec.factors(site.part.of)[site.part.at]
        return low * factor, high * factor
    if isinstance(spec, Scale):
        value = float(trained["value"].abs().max()) if "value" in trained else spec.start
        return -value, value
    code = code_of(chain, site.slot)
    return (spec.low, spec.high) if code is None else (code.low, code.high)


def set_ends(chain: AnalogChain, site: Site, ends: Ends | Tensor) -> None:
    """Make these the ends of a range: where it is trained its parameters, else the specification; of several, these are the parameters."""
    if isinstance(ends, Tensor):
        with torch.no_grad():
            chain.context(site.slot)[0]["value"].copy_(ends)
        return
    changes: dict[str, Any] = {}
    spec: Any = chain.slots[site.slot]
    if site.part is not None:
        factors = list(spec.factors(site.part.of))
        factors[site.part.at] = max(map(abs, ends)) / max(map(abs, ends_of(chain, _converter(chain))))
        chain.configure(override(chain.spec, {f"{site.slot}.{site.part.of}": factors}), chain.seed)
        return
    for slot in (site.slot, site.limiter) if site.limiter else (site.slot,):
        trained = chain.context(slot)[0]
        there = chain.slots[slot]
        new = {"value": ends[1]} if isinstance(there, Scale) else STAGES[there.kind].fit(there, *ends)
        for name, value in new.items():
            if name in trained:
                with torch.no_grad():
                    trained[name].fill_(value)
            else:
                changes[f"{slot}.{name}"] = value
    if changes:
        chain.configure(override(chain.spec, changes), chain.seed)


def _converter(chain: AnalogChain) -> Site:
    """The converter of the outputs, whose range the factors are of."""
    return next(site for site in sites(chain) if site.part is None and site.slot.startswith("output.") and not isinstance(site.spec, Scale))


def code_of(chain: AnalogChain, slot: str) -> Code | None:
    """What the stage of a slot converts to, if it is a converter with ends."""
    return STAGES[chain.slots[slot].kind].code(chain.slots[slot], chain.context(slot)[0])

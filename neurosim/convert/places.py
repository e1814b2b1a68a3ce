"""What surely feeds what: the modules of a model as chains, without running it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

from torch import nn

from neurosim.convert.call_order import Reading, read_forward
from neurosim.nn.graph import SpikingGraph
from neurosim.nn.time import SpikingSequential, TimeFold, takes_time

_CHAINS: Final = (nn.Sequential, SpikingSequential)
_WHOLES: Final = (*_CHAINS, TimeFold, nn.ModuleList, nn.ModuleDict)  #: which have no forward, or one that calls all of their parts in turn


class Place(NamedTuple):
    """Where a module stands."""

    parent: nn.Module
    name: str
    path: str

    @property
    def module(self) -> nn.Module:
        """What stands there; nothing is an ``nn.Identity``."""
        module = self.parent._modules[self.name]
        return nn.Identity() if module is None else module


class Uses:
    """How often every module and parameter stands in a model.

    Args:
        root: The model.
    """

    def __init__(self, root: nn.Module) -> None:
        #: both lists live on, so that no id is given twice
        self._held = (
            [module for _, module in root.named_modules(remove_duplicate=False)],
            [value for module in root.modules() for value in module._parameters.values() if value is not None],
        )
        self._modules, self._parameters = (Counter(map(id, held)) for held in self._held)

    def count(self, module: nn.Module) -> int:
        """In how many places the module stands."""
        return self._modules[id(module)]

    def shared(self, module: nn.Module) -> bool:
        """Whether the module stands in several places, or a parameter of it in several modules."""
        return self.count(module) > 1 or any(self._parameters[id(value)] > 1 for value in module.parameters())


Kinds = tuple[type[nn.Module], ...]


class Forwards:
    """What the forwards of a model do with the modules that they hold, as far as they can be read.

    Those that cannot, and those of torch and of this package, are taken to use what they hold as it is, and none of its parts.

    Args:
        root: The model.
    """

    def __init__(self, root: nn.Module) -> None:
        self._read: dict[int, Reading] = {}
        self._opened: set[int] = set()
        #: by path, modules that hold others that have parts, and whose forward could not be read to its end
        self.unread: dict[str, nn.Module] = {}
        for path, module in root.named_modules():
            if type(module) in _WHOLES or not any(child._modules for child in module.children()):
                continue
            reading = Reading([], [], False) if takes_time(module) else self.of(module)
            if not reading.complete and type(module).__module__.partition(".")[0] not in ("torch", "neurosim"):
                self.unread[path] = module
            for part in reading.parts:
                while part := part.rpartition(".")[0]:
                    self._opened.add(id(module.get_submodule(part)))

    def of(self, module: nn.Module) -> Reading:
        """What the forward of a module of the model does."""
        if id(module) not in self._read:
            self._read[id(module)] = read_forward(module)
        return self._read[id(module)]

    def opened(self, module: nn.Module) -> bool:
        """Whether a forward further out uses a part of the module by itself, so that nothing is certain about the order within it."""
        return id(module) in self._opened


def chains(root: nn.ModuleDict, *, closed: Kinds = (), reads: Kinds = (), forwards: Forwards | None = None) -> list[list[Place]]:
    """Every chain of modules of which each is fed by nothing but the one before, in the order of the model.

    Args:
        root: Holds the model as ``"model"``, so that the model itself has a place, too.
        closed: Classes whose own children are in no chain.
        reads: The forward of a module of one's own is read if the module holds one of these.
        forwards: Of the same root, where they were read before.
    """
    return _chains(Place(root, "model", ""), closed, reads, Forwards(root) if forwards is None else forwards)


def _chains(place: Place, closed: Kinds, reads: Kinds, forwards: Forwards) -> list[list[Place]]:
    found: list[list[Place]] = []
    seen: set[str] = set()

    def chain(place: Place) -> Iterator[Place]:
        if place.path in seen:  # a forward was read to call it
            return
        seen.add(place.path)
        module = place.module
        chained, opened = type(module) in (*_CHAINS, TimeFold), forwards.opened(module)
        if chained and not opened and not hooked(module):
            for child in _children(place):
                yield from chain(child)
            return
        yield place
        if opened:
            for child in _children(place):
                begin([child])
        elif isinstance(module, SpikingGraph):
            for segment in _segments(module):
                begin([child for name in segment for child in _children(place) if child.name == name])
        elif chained:  # what hooks see of it stays: nothing is folded across its ends
            begin(_children(place))
        elif not isinstance(module, closed):
            if not takes_time(module) and any(isinstance(part, reads) for part in module.modules()):
                for line in forwards.of(module).lines:
                    begin([_descendant(place, path) for path in line])
            for child in _children(place):
                begin([child])

    def begin(places: list[Place]) -> None:
        mine: list[Place] = []
        found.append(mine)
        for one in places:
            mine.extend(chain(one))

    begin([place])
    return found


def _segments(graph: SpikingGraph) -> list[list[str]]:
    """The modules of a graph, cut wherever one has several sources, or what it gives goes to several places or out."""
    used = Counter([graph.output, *(source for source, _ in graph.delayed), *(one for found in graph.sources.values() for one in found)])
    joined = {target for _, target in graph.delayed}
    found: dict[str, list[str]] = {}
    for name in graph.order:
        sources = graph.sources[name]
        alone = len(sources) == 1 and name not in joined and used[sources[0]] == 1 and sources[0] in found
        found[name] = found[sources[0]] if alone else []
        found[name].append(name)
    return list({id(segment): segment for segment in found.values()}.values())


def _children(place: Place) -> list[Place]:
    module = place.module
    names = [name for name, child in module._modules.items() if child is not None]
    return [Place(module, name, f"{place.path}.{name}" if place.path else name) for name in names]


def _descendant(place: Place, path: str) -> Place:
    parent, _, name = path.rpartition(".")
    return Place(place.module.get_submodule(parent), name, f"{place.path}.{path}" if place.path else path)


def neighbour(chain: list[Place], at: int, step: int) -> Place | None:
    """The next place of a chain, forwards (1) or backwards (−1), that does something; None at its end."""
    at += step
    while 0 <= at < len(chain):
        if type(chain[at].module) is not nn.Identity:
            return chain[at]
        at += step
    return None


def hooked(module: nn.Module) -> bool:
    """Whether someone looks at what goes in or comes out."""
    return bool(module._forward_hooks or module._forward_pre_hooks)

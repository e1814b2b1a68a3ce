"""Networks whose modules are not one after the other: branches that meet again, and loops."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final

import torch
from torch import Tensor, nn

from neurosim.errors import ConfigError, nearest
from neurosim.nn.time import SpikingModule, State, check_states, refuse_time, step_through, takes_time
from neurosim.random import Stream

INPUT: Final = "input"  #: the name of what the network is given


class SpikingGraph(SpikingModule):
    """A network as a graph: every module takes the sum of what its sources give.

    Without loops, each module runs over the whole sequence once. A loop is closed by a delayed edge, whose target sees at step t what its
    source gave at step t − 1 (nothing at the first step); such a network runs step by step.

    Args:
        modules: The modules by name; those that do not take time are folded, as in :class:`SpikingSequential`.
        sources: By module, the names of what it sums: modules, or ``"input"``.
        output: The module whose result is that of the network.
        delayed: Edges (source, target) with a delay of one step; they come on top of ``sources``.

    Shapes:
        x ``(time, batch, *)``; the sources of a module give the same shape. The state has one entry a module, in the order of ``order``,
        and one for every delayed edge: what its source gave last, ``(batch, *)``.

    Raises:
        ConfigError: A name is unknown, a module has no sources, a loop has no delayed edge, or a state does not fit.

    >>> branches = {"left": nn.Linear(3, 4), "right": nn.Linear(3, 4), "join": nn.ReLU()}
    >>> net = SpikingGraph(branches, {"left": ["input"], "right": ["input"], "join": ["left", "right"]}, "join")
    >>> net(torch.zeros(5, 2, 3)).shape
    torch.Size([5, 2, 4])
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        sources: Mapping[str, Sequence[str]],
        output: str,
        delayed: Collection[tuple[str, str]] = (),
    ) -> None:
        super().__init__()
        known = [*modules, INPUT]
        for name in (*sources, output, *(name for edge in delayed for name in edge), *(one for found in sources.values() for one in found)):
            if name not in known:
                raise ConfigError(f"SpikingGraph: no module is named {name!r}{nearest(str(name), known)}")
        for name, module in modules.items():
            if not name or "." in name or name == INPUT:
                raise ConfigError(f"SpikingGraph: a module's name must be other than 'input' and without a dot, got {name!r}")
            if not sources.get(name):
                raise ConfigError(f"SpikingGraph: {name} must have at least one source without delay, got none")
            if not takes_time(module):
                refuse_time(module, f"SpikingGraph: {name}")
        self.sources = {name: tuple(sources[name]) for name in modules}
        self.output = output
        self.delayed = tuple((source, target) for source, target in delayed)
        self.order = _order(self.sources)
        for name in self.order:
            self.add_module(name, modules[name])

    def run(self, x: Tensor, state: State | None = None, *, stream: Stream | None = None) -> tuple[Tensor, State]:
        """The output's result for every step, the states of the modules and what flows along the delayed edges."""
        state = check_states("SpikingGraph", state, len(self.order) + len(self.delayed))
        if not self.delayed or x.shape[0] == 0:
            return self._through(x, state, stream)
        steps = []
        for now in torch.split(x, 1):
            y, state = self._through(now, state, stream)
            steps.append(y)
        return torch.cat(steps), state

    def _through(self, x: Tensor, state: State, stream: Stream | None) -> tuple[Tensor, State]:
        """All modules once, on a chunk that no delayed edge comes back into."""
        before, held = dict(zip(self.order, state, strict=False)), state[len(self.order) :]
        found: dict[str, Tensor] = {INPUT: x}
        after: list[Any] = []
        for name in self.order:
            parts = [found[source] for source in self.sources[name]]
            if x.shape[0]:
                parts += [last[None] for (_, target), last in zip(self.delayed, held, strict=True) if target == name and last is not None]
            found[name], new = step_through(self.get_submodule(name), _sum(name, parts), before[name], stream, name)
            after.append(new)
        last = [found[source][-1] if x.shape[0] else old for (source, _), old in zip(self.delayed, held, strict=True)]
        return found[self.output], (*after, *last)


def _order(sources: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Modules such that each comes after its sources."""
    try:
        return tuple(name for name in TopologicalSorter(sources).static_order() if name != INPUT)
    except CycleError as error:
        raise ConfigError(f"SpikingGraph: a loop must have a delayed edge, got {' → '.join(reversed(error.args[1]))}") from None


def _sum(name: str, parts: Sequence[Tensor]) -> Tensor:
    total = parts[0]
    for part in parts[1:]:
        if part.shape != total.shape:
            raise ConfigError(
                f"SpikingGraph: {name}: all that is summed must have one shape, got {tuple(total.shape)} and {tuple(part.shape)}"
            )
        total = total + part
    return total

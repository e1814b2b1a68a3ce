"""Watching what the modules of a model compute, without changing it.

A module that is watched has an attribute of its own in place of its method (``run``, where there is one, else ``forward``), which calls the
method and shows what it gave. The attribute is taken away with the last watcher. It catches every way in which a module is used: called,
folded over time, or run by a network, which goes past the hooks of torch.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from neurosim.neurons import is_neurons
from neurosim.nn.time import takes_time


class Watcher(Protocol):
    """What is told of the modules it watches."""

    def wants_membrane(self, module: nn.Module) -> bool:
        """Whether it needs the potential of this neuron at every step."""

    def enter(self, module: nn.Module, x: Any) -> None:
        """The module starts to compute; ``x`` is what it was given first."""

    def leave(self, module: nn.Module, result: Any, membrane: Tensor | None) -> None:
        """The module gave a result: the first thing that ``run`` returns, or what ``forward`` does; None if it raised."""


@contextlib.contextmanager
def watching(modules: Iterable[nn.Module], watcher: Watcher) -> Iterator[None]:
    """Tell ``watcher`` of everything that these modules compute within the block.

    Several watchers may watch one module, and may end in any order. Compiled modules run uncompiled in the block, where they can be seen.
    """
    points: list[_Point] = []
    with uncompiled():
        try:
            for module in modules:
                points.append(_point(module))
                points[-1].watchers.append(watcher)
            yield
        finally:
            for point in points:
                point.dismiss(watcher)


def uncompiled() -> contextlib.AbstractContextManager[Any]:
    """Where nothing was compiled, torch's compiler is not loaded, which takes seconds."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else contextlib.nullcontext()


@contextlib.contextmanager
def layer_by_layer() -> Iterator[None]:
    """Torch's transformers run their layers one by one, where they can be seen, instead of all in one operation."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


class _Point:
    """What stands in for a method of one module as long as someone watches it."""

    def __init__(self, module: nn.Module, name: str) -> None:
        self.module, self.name = module, name
        own = module.__dict__.get(name)
        self.before = None if getattr(own, "__func__", None) is getattr(type(module), name) else own  #: what someone else put there
        self.method: Callable[..., Any] = getattr(module, name)
        self.watchers: list[Watcher] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        x = args[0] if args else kwargs.get("x", kwargs.get("input"))
        told: list[Any] = [None, None]  # the result and the membrane, once they are there
        with contextlib.ExitStack() as stack:
            for one in self.watchers:
                one.enter(self.module, x)
                stack.callback(self._tell, one, told)
            if is_neurons(self.module) and any(one.wants_membrane(self.module) for one in self.watchers):
                spikes, after, told[1] = self._traced(*args, **kwargs)
                told[0] = spikes
                return spikes, after
            found = self.method(*args, **kwargs)
            told[0] = found[0] if self.name == "run" else found
            return found

    def _tell(self, watcher: Watcher, told: list[Any]) -> None:
        watcher.leave(self.module, *told)

    def __reduce__(self) -> Any:
        """A copy of the module is not watched: it gets the method itself."""
        return getattr, (self.module, self.name) if self.before is None else (self.before, "__call__")

    def dismiss(self, watcher: Watcher) -> None:
        """Take a watcher away, and the point with the last one."""
        self.watchers = [one for one in self.watchers if one is not watcher]
        if self.watchers or self.module.__dict__.get(self.name) is not self:
            return
        if self.before is None:
            del self.module.__dict__[self.name]
        else:
            self.module.__dict__[self.name] = self.before

    def _traced(self, x: Tensor, state: Any = None, **options: Any) -> tuple[Tensor, Any, Tensor | None]:
        """What ``run`` gives, with the membrane of every step: by ``trace`` where it is there and speaks of the same ``run``."""
        kinds = type(self.module).__mro__
        trace, run = (next((i for i, kind in enumerate(kinds) if name in vars(kind)), len(kinds)) for name in ("trace", "run"))
        if trace <= run and trace < len(kinds) and self.before is None:
            tracing: Any = self.module
            spikes, v, after = tracing.trace(x, state, **options)
            return spikes, after, v
        outputs, potentials = [], []
        for step in x.unbind(0):
            y, state = self.method(step.unsqueeze(0), state, **options)
            outputs.append(y)
            potentials.append(getattr(state, "v", None))
        if not outputs:
            y, state = self.method(x, state, **options)
            return y, state, torch.empty_like(y)
        known = [v for v in potentials if isinstance(v, Tensor)]
        return torch.cat(outputs), state, torch.stack(known) if len(known) == len(outputs) else None


def _point(module: nn.Module) -> _Point:
    """The point of a module; there is one, however many watch."""
    name = "run" if takes_time(module) and callable(getattr(module, "run", None)) else "forward"
    point = module.__dict__.get(name)
    if not isinstance(point, _Point):
        point = module.__dict__[name] = _Point(module, name)
    return point

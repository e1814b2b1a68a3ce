"""What a forward of one's own does with the modules that it holds, read by ``torch.fx``."""

from __future__ import annotations

import copy
import inspect
from collections import Counter
from functools import partial
from typing import Any, NamedTuple

from torch import fx, nn


class Reading(NamedTuple):
    """What was found in a forward; paths are those within its module, in the order of the calls."""

    lines: list[list[str]]  #: chains of modules, two or more, each called once, on what the one before gave, which goes nowhere else
    parts: list[str]  #: all modules that it calls, or a parameter of which it takes
    complete: bool  #: whether it was read to its end; of others there are no lines, and the parts of what comes before


class _Calls(fx.Tracer):
    """Sees the modules that a forward calls, and nothing of what they do inside."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True

    def call_module(self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if m not in (self.submodule_paths or {}):  # made by the forward itself, as slices of nn.Sequential are
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def run(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """A call of the ``run`` of a module, which is one of the module itself."""
        return self.call_module(module, None, args, kwargs)


def read_forward(module: nn.Module) -> Reading:
    """What the forward of a module does with the modules that it holds.

    Args:
        module: With a forward of its own. It is read as it is in evaluation, on a copy, with the defaults of all arguments that have one.

    Returns:
        What ``torch.fx`` can read. A forward that decides by values cannot be read beyond that; one that takes more than one argument has
        no lines.

    >>> class Own(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.norm, self.conv, self.last = nn.BatchNorm2d(4), nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3)
    ...
    ...     def forward(self, x):
    ...         return self.last(self.norm(self.conv(x)).relu())
    >>> read_forward(Own())
    Reading(lines=[['conv', 'norm']], parts=['conv', 'norm', 'last'], complete=True)
    """
    tracer, complete, named = _Calls(), True, {}
    try:
        twin = copy.deepcopy(module).eval()
        named = dict(twin.named_modules(remove_duplicate=False))
        for part in twin.children():
            for inner in part.modules():
                if callable(getattr(inner, "run", None)):
                    inner.__dict__["run"] = partial(tracer.run, inner)
        tracer.trace(twin, {name: one.default for name, one in _arguments(module).items() if one.default is not one.empty} or None)
    except Exception:  # a forward may do anything with what stands for its input
        complete = False
    graph = getattr(tracer, "graph", None) or fx.Graph()
    calls = [node for node in graph.nodes if node.op == "call_module"]
    taken = [path for node in graph.nodes if node.op == "get_attr" and (path := str(node.target).rpartition(".")[0]) in named]
    lines = _lines(calls, taken, named) if complete and _takes_one_input(module) else []
    return Reading(lines, [*(str(node.target) for node in calls), *taken], complete)


def _lines(calls: list[fx.Node], taken: list[str], named: dict[str, nn.Module]) -> list[list[str]]:
    times = Counter(id(part) for node in calls for part in named[str(node.target)].modules())
    times.update({id(named[path]): 2 for path in taken})
    lines: dict[fx.Node, list[str]] = {}
    for node in calls:
        if any(times[id(part)] > 1 for part in named[str(node.target)].modules()):
            continue
        before = node.args[0] if len(node.args) == 1 and not node.kwargs else None
        alone = isinstance(before, fx.Node) and before in lines and len(before.users) == 1
        lines[node] = lines[before] if alone and isinstance(before, fx.Node) else []
        lines[node].append(str(node.target))
    return [line for line in {id(line): line for line in lines.values()}.values() if len(line) > 1]


def _arguments(module: nn.Module) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(module.forward).parameters)


def _takes_one_input(module: nn.Module) -> bool:
    taken = list(_arguments(module).values())
    return (
        len(taken) == 1
        and taken[0].default is taken[0].empty
        and taken[0].kind in (taken[0].POSITIONAL_ONLY, taken[0].POSITIONAL_OR_KEYWORD)
    )

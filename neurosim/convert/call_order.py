"""Which modules a forward of one's own calls one after the other, read by ``torch.fx``."""

from __future__ import annotations

import copy
import inspect
from collections import Counter

from torch import fx, nn


class _Calls(fx.Tracer):
    """Sees the modules that a forward calls, and nothing of what they do inside."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def called_in_line(module: nn.Module) -> list[list[str]]:
    """The chains of modules, two or more, of which each is called once, on what the one before gave, which goes nowhere else.

    Args:
        module: With a forward of its own. It is read as it is in evaluation, on a copy.

    Returns:
        Paths within ``module``, in the order of the calls. There are none where the forward takes more than one argument, or decides by
        values, so that ``torch.fx`` cannot read it.

    >>> class Own(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.norm, self.conv, self.last = nn.BatchNorm2d(4), nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3)
    ...
    ...     def forward(self, x):
    ...         return self.last(self.norm(self.conv(x)).relu())
    >>> called_in_line(Own())
    [['conv', 'norm']]
    """
    try:
        graph = _Calls().trace(copy.deepcopy(module).eval()) if _takes_one_input(module) else fx.Graph()
    except Exception:  # a forward may do anything with what stands for its input; what cannot be read has no chains
        return []
    named = dict(module.named_modules(remove_duplicate=False))
    calls = [node for node in graph.nodes if node.op == "call_module"]
    times = Counter(id(named[str(node.target)]) for node in calls)
    used = {id(named[path]) for node in graph.nodes if node.op == "get_attr" and (path := str(node.target).rpartition(".")[0]) in named}
    chains: dict[fx.Node, list[str]] = {}
    for node in calls:
        part = named[str(node.target)]
        if times[id(part)] > 1 or id(part) in used:
            continue
        before = node.args[0] if len(node.args) == 1 and not node.kwargs else None
        alone = isinstance(before, fx.Node) and before in chains and len(before.users) == 1
        chains[node] = chains[before] if alone and isinstance(before, fx.Node) else []
        chains[node].append(str(node.target))
    return [chain for chain in {id(chain): chain for chain in chains.values()}.values() if len(chain) > 1]


def _takes_one_input(module: nn.Module) -> bool:
    taken = list(inspect.signature(module.forward).parameters.values())
    return (
        len(taken) == 1
        and taken[0].default is taken[0].empty
        and taken[0].kind in (taken[0].POSITIONAL_ONLY, taken[0].POSITIONAL_OR_KEYWORD)
    )

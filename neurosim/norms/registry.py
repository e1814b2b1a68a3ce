"""Every way to normalise, by name, with what there is to know of it before one is made."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar, get_args

from neurosim.checks import one_of
from neurosim.errors import ConfigError
from neurosim.norms.base import Cost, Norm, Operations, Stats
from neurosim.registry import Registry

Kind = Literal["module", "wrapper", "parametrization", "initialiser", "regulariser", "procedure"]
FoldClass = Literal["F0", "F1", "F2", "FW", "F3"]
Made = TypeVar("Made", bound=Callable[..., Any])

#: what the classes of folding mean
FOLD_CLASSES: Final[dict[FoldClass, str]] = {
    "F0": "statistics are constants in evaluation: all of it folds into a neighbouring layer or a threshold",
    "F1": "no statistics: a gain before the curve and scale and shift after it fold, the curve stays",
    "F2": "statistics of every sample: only centring and scale and shift fold",
    "FW": "acts on weights alone: nothing is left of it in evaluation",
    "F3": "statistics of the batch that is evaluated: nothing folds",
}


@dataclass(frozen=True)
class Entry:
    """One way to normalise. Calling it makes one: ``NORMS["layer"](16)`` is ``LayerNorm(16)``.

    ===============  =================================================================================================================
    kind             ``make`` is
    ===============  =================================================================================================================
    module           a class of :class:`Norm` whose first argument is ``features``; all others have defaults or are in the example
    wrapper          a class of modules around a product, a neuron or a branch
    parametrization  a class of modules for ``torch.nn.utils.parametrize``: a weight in, one of the same shape out
    initialiser      a function that sets the weights of the model that it is given, and returns it
    regulariser      a class of modules that give a number for a model, to be added to a loss
    procedure        a function of a model, or a context manager around its use
    ===============  =================================================================================================================

    Args:
        name: In :data:`NORMS`.
        kind: See the table.
        make: See the table.
        seeds: Ids of the catalogue that it covers: B1 to B41.
        formula: What it computes in evaluation, on one line.
        stats: Where evaluation takes statistics from.
        fold: Class of folding with default settings: a key of :data:`FOLD_CLASSES`.
        example: Makes a small one: of a module, for 16 features.
        fixed_cost: What evaluation computes, where the example does not say so itself.
        fixed_bounds: Range of the outputs, likewise.
        usage: How to use one that is no module, for whoever names it where a module must be: what follows "use".
    """

    name: str
    kind: Kind
    make: Callable[..., Any]
    seeds: tuple[str, ...]
    formula: str
    stats: Stats
    fold: FoldClass
    example: Callable[[], Any]
    fixed_cost: Cost | None = None
    fixed_bounds: tuple[float, float] | None = None
    usage: str = ""

    def __call__(self, *args: Any, **settings: Any) -> Any:
        """What ``make`` makes."""
        return self.make(*args, **settings)

    @property
    def cost(self) -> Cost:
        """What the example computes in evaluation while it is not folded."""
        if self.fixed_cost is not None:
            return self.fixed_cost
        made = self.example() if self.kind in ("module", "wrapper") else None
        cost: Cost = made.hw_ops() if made is not None else Cost(Operations())
        return cost

    @property
    def bounds(self) -> tuple[float, float]:
        """Range of the outputs of the example."""
        if self.fixed_bounds is not None:
            return self.fixed_bounds
        made = self.example() if self.kind in ("module", "wrapper") else None
        bounds: tuple[float, float] = made.bounds() if made is not None else (-math.inf, math.inf)
        return bounds

    @property
    def summary(self) -> str:
        """First line of its docstring."""
        return (inspect.getdoc(self.make) or "").partition("\n")[0]

    @property
    def citation(self) -> str:
        """Where it comes from: the section ``Source`` of its docstring."""
        found = re.search(r"^Source:\n((?: {4}.*\n?|\n)+)", inspect.getdoc(self.make) or "", re.MULTILINE)
        return " ".join(found[1].split("\n\n")[0].split()) if found else ""


NORMS: Final[Registry[Entry]] = Registry("norm", rest="neurosim.catalogue")

#: why there are no operations in evaluation to be counted, by kind
_NO_COST: Final[dict[str, str]] = {
    "parametrization": "none: of weights, of which the values stay",
    "initialiser": "none: before training",
    "regulariser": "none: in training alone",
    "procedure": "none: before evaluation",
}


def register(
    name: str,
    *seeds: str,
    formula: str,
    fold: FoldClass,
    kind: Kind = "module",
    stats: Stats | None = None,
    example: Callable[[], Any] | None = None,
    cost: Cost | None = None,
    bounds: tuple[float, float] | None = None,
    usage: str = "",
) -> Callable[[Made], Made]:
    """Decorator that adds a class or function to :data:`NORMS` and leaves it as it is.

    Args:
        name: What it is to be called.
        seeds: Ids of the catalogue that it covers.
        formula, fold, kind: See :class:`Entry`.
        stats: Of a :class:`Norm`, by default its own.
        example: By default ``make(16)`` for a module, ``make()`` for a parametrization, and ``make`` itself for functions.
        cost, bounds: Only where the example has no ``hw_ops`` and ``bounds`` of its own.
        usage: See :class:`Entry`.

    Raises:
        ConfigError: The name is taken, or what is given does not hold together.

    >>> import torch
    >>> @register("halved", formula="y = x / 2", fold="F0")
    ... class Halved(torch.nn.Module): ...
    Traceback (most recent call last):
    neurosim.errors.ConfigError: norm 'halved': a module must be a class of neurosim.norms.Norm, got Halved
    """
    one_of(f"norm {name!r}: kind", kind, get_args(Kind))
    one_of(f"norm {name!r}: fold", fold, tuple(FOLD_CLASSES))

    def add(make: Made) -> Made:
        if kind == "module" and not (inspect.isclass(make) and issubclass(make, Norm)):
            raise ConfigError(f"norm {name!r}: a module must be a class of neurosim.norms.Norm, got {getattr(make, '__name__', make)}")
        source = stats or getattr(make, "stats", None) or ("weights" if fold == "FW" else "none")
        if kind == "parametrization" and not usage:
            how = f"torch.nn.utils.parametrize.register_parametrization(layer, 'weight', {make.__name__}())"
            told = f"weight_norm: {name} of a model in a config, or {how}"
        else:
            told = usage
        made = {"module": lambda: make(16), "parametrization": lambda: make()}.get(kind, lambda: make)
        NORMS.add(name, Entry(name, kind, make, seeds, formula, source, fold, example or made, cost, bounds, told))
        return make

    return add


def table_of_norms() -> list[dict[str, str]]:
    """What people ask of every entry, as texts."""
    ends = {name: tuple(f"{end:.3g}".replace("inf", "∞").replace("-", "−") for end in NORMS[name].bounds) for name in NORMS}
    return [
        {
            "name": name,
            "kind": NORMS[name].kind,
            "formula": NORMS[name].formula,
            "statistics": NORMS[name].stats,
            "fold": NORMS[name].fold,
            "bounds": "any" if ends[name] == ("−∞", "∞") else " … ".join(ends[name]),
            "operations": operations_of(NORMS[name].cost, NORMS[name].kind),
            "summary": NORMS[name].summary,
            "source": NORMS[name].citation,
        }
        for name in NORMS
    ]


def operations_of(cost: Cost, kind: Kind = "module") -> str:
    """Operations of an element and of a vector: additions, products, divisions, roots, exponentials and the like; or why there are none.

    >>> operations_of(Cost(Operations(adds=2, multiplies=1)))
    '2+ 1× / 0'
    >>> operations_of(Cost(Operations()), "regulariser")
    'none: in training alone'
    """
    if kind in _NO_COST and not any(map(sum, cost)):
        return _NO_COST[kind]
    return " / ".join(
        " ".join(f"{count}{sign}" for count, sign in zip(part, ("+", "×", "÷", "√", "f"), strict=True) if count) or "0" for part in cost
    )

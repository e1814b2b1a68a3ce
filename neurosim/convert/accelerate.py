"""Models of other libraries on the fused neurons of this one."""

from __future__ import annotations

import copy
import importlib
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeVar

from torch import nn

from neurosim.convert.accelerate_rules import Plan, Refusal, enlist
from neurosim.convert.report import table
from neurosim.convert.select import Selection, as_list, check_globs, matches
from neurosim.errors import ConfigError, ConversionError

#: a library, and the module here that knows its layers; a model holds layers of imported libraries only, so that none is imported here
_LIBRARIES: Final = {"snntorch": "neurosim.convert.accelerate_snntorch", "norse.torch": "neurosim.convert.accelerate_norse"}

Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class NeuronReport:
    """One neuron layer of another library.

    Args:
        path: Its name in the model; the first one if the model uses the layer under several.
        type: Its class before.
        status: ``accelerated``; ``skipped``, as asked; ``refused``: the fused neuron cannot stand for it.
        text: The convention it keeps and where results differ, or why it stays as it is.
    """

    path: str
    type: str
    status: Literal["accelerated", "skipped", "refused"]
    text: str


@dataclass(frozen=True)
class Acceleration:
    """The report that :func:`neurosim.accelerate` leaves at ``model.acceleration``; ``print`` shows it as a table.

    Args:
        layers: One entry for every neuron layer of a library that is known.
    """

    layers: tuple[NeuronReport, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data: JSON-able."""
        return asdict(self)

    def __str__(self) -> str:
        counts = [f"{sum(layer.status == status for layer in self.layers)} {status}" for status in ("accelerated", "skipped", "refused")]
        rows = [(layer.path or "(model)", layer.type, layer.status, layer.text) for layer in self.layers]
        return "\n".join([f"neuron layers: {', '.join(counts)}", *table(("layer", "type", "status", "convention, or why not"), rows)])


def accelerate(model: Model, *, layers: Selection = None, skip: Selection = None, inplace: bool = True) -> Model:
    """Run the neurons of an existing snnTorch or norse model as fused kernels, under the conventions of their library.

    ``snntorch.Leaky`` and ``Synaptic`` and norse's ``LIF``, ``LIFCell`` and ``LIFBoxCell`` become subclasses of themselves: they are called
    as before, and keep their hidden state, hooks, devices and parameters (the same objects, under the same names: optimisers and
    ``state_dict`` go on working). Layers that take one step a call have a method ``sequence(x)`` besides, which runs ``x[0]``, ``x[1]``, …
    at once: that is where time is saved; step by step, small layers gain little or nothing. What the fused neuron cannot stand for stays
    as it is, and the report says why.

    Args:
        model: Any module that holds such layers, or such a layer.
        layers: Which layers: globs over their paths, or types; None is all.
        skip: Which of these to leave, likewise.
        inplace: Change ``model`` itself; False changes a deep copy, whose parameters are copies too.

    Returns:
        The model, with the report at ``model.acceleration``.

    Raises:
        ConfigError: The model is no module, or a glob names no neuron layer.
        ConversionError: No layer can be accelerated, or the model cannot be copied. The model is then unchanged.

    >>> import snntorch
    >>> net = nn.Sequential(nn.Linear(4, 8), snntorch.Leaky(beta=0.9, init_hidden=True))
    >>> print(accelerate(net).acceleration)
    neuron layers: 1 accelerated, 0 skipped, 0 refused
      layer  type   status       convention, or why not
      1      Leaky  accelerated  reset subtract, with the next step; fires above the threshold; gradient arctan(alpha=2)
    """
    if not isinstance(model, nn.Module):
        raise ConfigError(f"accelerate: model must be a torch.nn.Module, got {type(model).__name__}")
    plans: dict[str, Plan] = {}
    reports: list[NeuronReport] = []
    names: dict[str, None] = {}
    known = _judges()
    for path, module in model.named_modules():
        found = next((verdict for judge in known if (verdict := judge(module)) is not None), None)
        if found is None:
            continue
        names[path] = None
        if matches(path, module, skip) or not (layers is None or matches(path, module, layers)):
            found = None
        elif isinstance(found, Plan):
            plans[path] = found
        reports.append(_report(model, path, module, found))
    for what, selection in (("layers", layers), ("skip", skip)):
        check_globs(f"accelerate: {what}", as_list(selection), names, "neuron layer")
    if not plans:
        why = "\n".join(f"  {report.path or '(model)'} ({report.type}): {report.text}" for report in reports)
        raise ConversionError(f"accelerate: at least one layer must be one that can be accelerated, got none:\n{why or _nothing()}")
    target = model if inplace else _copy(model)
    modules = dict(target.named_modules())
    for path, plan in plans.items():  # nothing below can fail: a model is never half converted
        modules[path].__class__ = plan.become
        modules[path].__dict__["convention"] = plan.convention
    target.acceleration = Acceleration(tuple(reports))  # type: ignore[assignment]  # nn.Module types attributes as Tensor | Module
    return target


def _judges() -> list[Callable[[nn.Module], Plan | Refusal | None]]:
    return [importlib.import_module(rules).judge for library, rules in _LIBRARIES.items() if library in sys.modules]


def _nothing() -> str:
    return "  it has no neuron of snnTorch or norse"


def _report(model: nn.Module, path: str, module: nn.Module, found: Plan | Refusal | None) -> NeuronReport:
    kind = type(module).__name__.removeprefix("Fused")
    also = [other for other, same in model.named_modules(remove_duplicate=False) if same is module and other != path]
    notes = [f"also used as {', '.join(also)}"] if also else []
    if found is None:
        return NeuronReport(path, kind, "skipped", "; ".join(["as asked", *notes]))
    if isinstance(found, Refusal):
        return NeuronReport(path, kind, "refused", "; ".join([found.reason, *notes]))
    return NeuronReport(path, kind, "accelerated", "; ".join([found.convention.words, *filter(None, [found.note]), *notes]))


def _copy(model: Model) -> Model:
    try:
        target = copy.deepcopy(model)
    except Exception as error:
        raise ConversionError(
            f"accelerate: the model must be deep-copyable, got {type(error).__name__}: {error}; inplace=True changes the model itself"
        ) from error
    for module in target.modules():
        enlist(module)
    return target

"""What an inference takes at every point of a study, and where a point leaves the range of the hardware's models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from neurosim.analysis import Cost, cost
from neurosim.convert import Conversion, analog_layers
from neurosim.convert.validity import beyond_range
from neurosim.hardware.chain import ChainSpec
from neurosim.hardware.costs import Costs
from neurosim.sweep.evaluate import Batch, as_chip
from neurosim.sweep.plan import Plan, Task


def study_costs(model: nn.Module, batches: Sequence[Batch], plan: Plan) -> dict[str, Any]:
    """For the ``meta`` of a study: ``cost``, null where the profile has no constants, and ``beyond``, texts of each point; JSON-able.

    Args:
        model: The configured model.
        batches: Inputs and targets; the first sample is the inference.
        plan: Its points.
    """
    reports = (getattr(module, "conversion", None) for module in model.modules())
    costs = next((one.costs for one in reports if isinstance(one, Conversion)), Costs())
    priced = costs != Costs() and any(isinstance(layer.chain.spec, ChainSpec) for layer in analog_layers(model).values())
    found: list[Cost] = []
    beyond = []
    for number, point in enumerate(plan.points):
        with as_chip(model, Task(number, point.changes, "all", "", -1, plan.chips[0], 0)):
            beyond.append(beyond_range(model))
            if priced:
                found.append(cost(model, batches[0][0][:1]))
    by_point = {name: [getattr(one, name) for one in found] for name in ("energy_j", "latency_s", "area_m2")}
    return {"cost": {**by_point, "configured": found[0].to_dict()} if found else None, "beyond": beyond if any(beyond) else []}

"""The optimiser of excitatory-inhibitory networks, against its equation and against torch's."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from neurosim.ei import EISGD
from neurosim.errors import ConfigError

VALUES, SLOPE = (1.0, -2.0, 0.5), 3.0

SETTINGS = [
    {},
    {"weight_decay": 0.1},
    {"momentum": 0.9},
    {"momentum": 0.9, "weight_decay": 0.1},
    {"momentum": 0.8, "dampening": 0.3, "weight_decay": 0.1},
    {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
]


def parameter(*values: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values, dtype=torch.float64))


def loss(weight: Tensor) -> Tensor:
    return SLOPE * weight.sum() + weight.square().sum()


def run(optimizer: torch.optim.Optimizer, weight: nn.Parameter, steps: int) -> list[float]:
    for _ in range(steps):
        optimizer.zero_grad()
        loss(weight).backward()
        optimizer.step()
    return weight.tolist()  # type: ignore[no-any-return]  # of numbers


def by_hand(
    steps: int, *, clamp: bool, lr: float, momentum: float = 0, dampening: float = 0, weight_decay: float = 0, nesterov: bool = False
) -> list[float]:
    """The authors' rule, number by number."""
    found = []
    for w in VALUES:
        buffer = None
        for _ in range(steps):
            d = SLOPE + 2 * w + weight_decay * w
            if momentum:
                buffer = momentum * (d if buffer is None else buffer) + (1 - dampening) * d
                d = d + momentum * buffer if nesterov else buffer
            w -= lr * d
            if clamp:
                w = max(w, 0.0)
        found.append(w)
    return found


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("clamp", [True, False])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_steps_are_those_of_the_authors_rule(settings: dict[str, Any], clamp: bool, steps: int) -> None:
    weight = parameter(*VALUES)
    optimizer = EISGD([{"params": [weight], "non_negative": clamp}], lr=0.07, **settings)
    assert run(optimizer, weight, steps) == pytest.approx(by_hand(steps, clamp=clamp, lr=0.07, **settings), abs=1e-12)


@pytest.mark.parametrize("settings", SETTINGS[:2])
def test_without_momentum_it_is_torchs(settings: dict[str, Any]) -> None:
    ours, theirs = parameter(*VALUES), parameter(*VALUES)
    assert run(EISGD([ours], lr=0.1, **settings), ours, 4) == run(torch.optim.SGD([theirs], lr=0.1, **settings), theirs, 4)


def test_with_momentum_the_first_step_is_longer_than_torchs_by_the_momentum() -> None:
    ours, theirs = parameter(*VALUES), parameter(*VALUES)
    run(EISGD([ours], lr=0.1, momentum=0.9), ours, 1)
    run(torch.optim.SGD([theirs], lr=0.1, momentum=0.9), theirs, 1)
    start = torch.tensor(VALUES, dtype=torch.float64)
    torch.testing.assert_close(start - ours.detach(), 1.9 * (start - theirs.detach()))


def test_only_the_groups_that_say_so_are_projected() -> None:
    bound, free = parameter(0.1), parameter(0.1)
    groups: list[dict[str, object]] = [{"params": [bound], "non_negative": True}, {"params": [free]}]
    optimizer = EISGD(groups, lr=1.0)
    (bound.sum() + free.sum()).backward()
    optimizer.step()
    assert (bound.item(), free.item()) == (0.0, pytest.approx(-0.9))


def test_what_has_no_gradient_stays() -> None:
    used, idle = parameter(1.0), parameter(-1.0)
    optimizer = EISGD([used, idle], lr=0.1, momentum=0.9, weight_decay=0.1, non_negative=True)
    used.sum().backward()
    optimizer.step()
    assert idle.item() == -1.0
    assert idle not in optimizer.state


def test_a_closure_is_evaluated_with_gradients_before_the_step() -> None:
    ours, plain = parameter(*VALUES), parameter(*VALUES)
    optimizer = EISGD([ours], lr=0.05, momentum=0.9)

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(ours)
        value.backward()
        return value.detach()

    values = [float(optimizer.step(closure)) for _ in range(3)]
    assert values[0] == pytest.approx(float(loss(torch.tensor(VALUES, dtype=torch.float64))))
    assert ours.tolist() == run(EISGD([plain], lr=0.05, momentum=0.9), plain, 3)


def test_a_run_goes_on_from_its_state() -> None:
    weight = parameter(*VALUES)
    optimizer = EISGD([weight], lr=0.05, momentum=0.9, non_negative=True)
    run(optimizer, weight, 2)
    again = nn.Parameter(weight.detach().clone())
    resumed = EISGD([again], lr=1.0)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert run(resumed, again, 3) == run(optimizer, weight, 3)


def test_hooks_run_once_a_step() -> None:
    """Torch patches the step of every class; an optimiser that calls another's would run them twice."""
    torch.optim.SGD([parameter(1.0)], lr=0.1)
    weight = parameter(1.0)
    calls: list[object] = []
    optimizer = EISGD([weight], lr=0.1)
    optimizer.register_step_post_hook(lambda *given: calls.append(given))
    run(optimizer, weight, 3)
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": -1.0}, r"EISGD\.lr: must be ≥ 0, got -1\.0"),
        ({"momentum": math.nan}, r"EISGD\.momentum: must be ≥ 0, got nan"),
        ({"weight_decay": -0.1}, r"EISGD\.weight_decay: must be ≥ 0"),
        ({"nesterov": True}, "needs momentum > 0 and dampening 0, got 0 and 0"),
        ({"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "got 0.9 and 0.1"),
    ],
)
def test_values_out_of_their_domain_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EISGD([parameter(1.0)], **settings)

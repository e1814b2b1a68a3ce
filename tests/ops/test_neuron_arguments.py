"""What the neuron ops say to arguments that do not fit, and the odd ones that do."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from neurosim.errors import ConfigError, RunError
from neurosim.ops.cuba_lif import cuba_lif
from neurosim.ops.li import li
from neurosim.ops.lif import lif
from neurosim.random import stream
from neurosim.surrogate import Surrogate

X = torch.linspace(-1, 2, 12).reshape(4, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"surrogate": "arctn"}, "did you mean 'arctan'"),
        ({"surrogate": 2.0}, "lif: surrogate must be a name or what .* gives, got 2.0"),
        ({"surrogate": Surrogate("arctan", (2.0,))}, r"lif: surrogate arctan has the parameters alpha, scale, got \(2.0,\)"),
        ({"v": 0.0}, r"lif: v must be floating point, of shape \(3,\), on cpu, got float"),
        ({"v": torch.zeros(3).to_sparse()}, "lif: v must be"),
        ({"input_noise": 0.1, "stream": 3}, "lif: noise needs a stream to come from, got stream=3"),
        ({"input_noise": torch.tensor(0.1)}, "lif: input_noise must be a finite number >= 0"),
        ({"membrane_noise": -0.1}, "lif: membrane_noise must be a finite number >= 0, got -0.1"),
        ({"input_noise": 0.1, "stream": stream(0, "x"), "step": 1.5}, "lif: step must be an integer, got 1.5"),
        ({"decay": True}, "lif: decay must be a number or a tensor, got bool"),
        ({"decay": "0.5"}, "lif: decay must be a number or a tensor, got str"),
        ({"threshold": -math.inf}, "lif: a threshold of -inf with reset='soft' needs reset_by"),
        ({"threshold": math.inf, "detach_reset": False}, "lif: a threshold of inf with reset='soft' needs reset_by"),
        ({"reset": "softer"}, "did you mean 'soft'"),
    ],
)
def test_an_argument_that_does_not_fit_is_refused_in_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        lif(X, **{"decay": 0.5, **arguments})


@pytest.mark.parametrize("x", [[[1.0]], torch.ones(2, 3, dtype=torch.int64), torch.ones(()), X.to_sparse()])
def test_an_input_that_is_no_sequence_is_refused(x: Any) -> None:
    for op in (lambda: lif(x, decay=0.5), lambda: cuba_lif(x, syn_decay=0.5, decay=0.5), lambda: li(x, decay=0.5)):
        with pytest.raises(ConfigError, match="x must be a dense floating-point tensor with time as its first axis"):
            op()


def test_a_surrogate_may_be_given_by_name_and_a_number_may_be_of_numpy() -> None:
    assert torch.equal(lif(X, decay=np.float32(0.5), surrogate="triangle").spikes, lif(X, decay=0.5).spikes)  # type: ignore[arg-type]  # a number, but no float


@pytest.mark.usefixtures("implementation")
@pytest.mark.kernel
@pytest.mark.parametrize("reset", ["soft", "soft_next", "soft_both", "soft_next_decayed"])
def test_a_neuron_that_never_fires_has_a_finite_gradient_through_its_reset(reset: Any) -> None:
    x = X.clone().requires_grad_()
    lif(x, decay=0.5, threshold=math.inf, reset_by=1.0, reset=reset, detach_reset=False).v.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.tensor([0.125, 0.25, 0.5, 1.0])[:, None].expand(4, 3)), "decay 1/2 per step"


def test_a_batch_of_no_chips_is_refused() -> None:
    with pytest.raises(RunError, match="at least one instance"):
        torch.func.vmap(lambda x: lif(x, decay=0.5).spikes)(torch.ones(0, 4, 3))

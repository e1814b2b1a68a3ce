"""The neuron kernels for CUDA, run thread by thread on the CPU: every rule of a step, against the definition in torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from neurosim.ops import neuron_cuda
from neurosim.ops.cuba_lif import CubaLIFState, cuba_lif
from neurosim.ops.li import li
from neurosim.ops.neuron_arguments import RESETS
from neurosim.random import stream
from neurosim.surrogate import SURROGATES, surrogate
from tests.ops.cuda_neurons import Op, agree, lif_op, settings_of
from tests.ops.cuda_tools import needs_compiler

pytestmark = needs_compiler

UNITS = (3, 5, 2)
EVERY = dict.fromkeys(("decay", "threshold", "reset_by", "gain", "bias", "v_reset"), (5, 1))


@pytest.mark.parametrize("reset", RESETS)
def test_every_reset_with_gradients_of_everything_through_it(reset: str) -> None:
    agree(lif_op(reset=reset, detach_reset=False), (4, *UNITS), tensors=EVERY)


@pytest.mark.parametrize("reset", ["soft", "hard", "hard_next_erasing"])
def test_a_detached_reset(reset: str) -> None:
    agree(lif_op(reset=reset), (4, *UNITS), tensors=EVERY)


def test_a_threshold_that_the_reset_subtracts() -> None:
    without = {name: size for name, size in EVERY.items() if name != "reset_by"}
    agree(lif_op(reset="soft"), (4, *UNITS), tensors=without)


def test_a_strict_comparison_and_the_other_side() -> None:
    found = agree(lif_op(reset="soft", strict=True, sign=-1.0, threshold=0.3), (4, *UNITS))
    assert settings_of(found.started[0])["NS_STRICT"] == "1"


@pytest.mark.parametrize("reset", ["soft", "soft_both"])
@pytest.mark.parametrize("steps", [4, 5, 8, 11])
def test_a_long_sequence_is_cut_into_chunks(reset: str, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neuron_cuda, "LONGEST", 4)
    found = agree(lif_op(reset=reset, detach_reset=False), (steps, *UNITS), tensors=EVERY)
    assert settings_of(found.started[-1])["NS_WHOLE"] == str(int(steps == 4))


@pytest.mark.parametrize("name", [name for name in SURROGATES if SURROGATES[name].code is not None])
def test_every_surrogate(name: str) -> None:
    found = agree(lif_op(surrogate=surrogate(name)), (4, *UNITS), tensors=EVERY)
    assert settings_of(found.started[-1])["NS_CODE"] == str(SURROGATES[name].code)


def _cuba(**settings: Any) -> Op:
    def op(x: Tensor, v: Tensor, parameters: dict[str, Tensor]) -> tuple[Tensor | None, ...]:
        out = cuba_lif(x, CubaLIFState(v / 2, v), **({"syn_decay": 0.8, "decay": 0.6, "record": True} | settings | parameters))
        return out.spikes, out.state.i, out.state.v, out.record

    return op


@pytest.mark.parametrize("steps", [4, 10])
def test_a_synapse_with_gradients_of_everything(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neuron_cuda, "LONGEST", 4)
    agree(_cuba(detach_reset=False), (steps, *UNITS), tensors=EVERY | dict.fromkeys(("syn_decay", "w_in"), (5, 1)))


def test_a_synapse_of_numbers() -> None:
    agree(_cuba(reset="hard"), (4, *UNITS))


def test_a_leaky_integrator_has_no_spikes() -> None:
    def op(x: Tensor, v: Tensor, parameters: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return li(x, v, decay=0.7, gain=parameters["gain"])

    found = agree(op, (4, *UNITS), tensors={"gain": (2,)})
    assert settings_of(found.started[0])["NS_SPIKES"] == "0"


@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize("place", ["number", "tensor"])
def test_noise_is_the_same_for_every_width_of_access(width: int, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And equal to the reference to the precision of a normal number; no membrane is near enough to the threshold for that to matter."""
    monkeypatch.setattr(neuron_cuda, "ENOUGH", 1)
    units = {1: 7, 2: 6, 4: 12}[width]
    draw = 3 if place == "number" else torch.tensor(3)
    noisy = lif_op(input_noise=0.2, membrane_noise=0.1, stream=stream(5, "noise", draw=draw))
    found = agree(noisy, (5, units), tensors={"gain": (1,)}, error=2e-6)
    assert settings_of(found.started[0])["NS_WIDTH"] == str(width)

"""SpikingJelly 2.0.0's ``LIFNode`` is a setting of the op: its recorded spikes and gradients."""

from __future__ import annotations

import pytest
import torch

from neurosim.ops.lif import lif
from neurosim.surrogate import surrogate
from tests.parity.recorded import names, record

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("implementation")]


def test_every_convention_is_recorded() -> None:
    assert names("spikingjelly") == [f"spikingjelly_lif_decay{gain}_{reset}" for gain in (0, 1) for reset in ("hard", "soft")]


@pytest.mark.parametrize("name", names("spikingjelly"))
def test_spikes_and_gradients_are_the_recorded_ones(name: str) -> None:
    """With decay_input, h = v + (x − v)/τ; without, h = v − v/τ + x; the reset is attached to the graph, ATan is arctan."""
    known = record(name)
    x = known.x.clone().requires_grad_()
    tau = known.settings["tau"]
    gain = 1 / tau if known.settings["decay_input"] else 1.0
    reset = "hard" if name.endswith("hard") else "soft"
    assert known.settings["detach_reset"] == 0
    spikes = lif(x, decay=1 - 1 / tau, gain=gain, reset=reset, detach_reset=False, surrogate=surrogate("arctan", alpha=2)).spikes  # type: ignore[arg-type]  # a name of the table
    assert torch.equal(spikes, known.spikes)
    (grad,) = torch.autograd.grad((spikes * known.cotangent).sum(), x)
    assert torch.allclose(grad, known.grad_x, rtol=1e-5, atol=1e-6)

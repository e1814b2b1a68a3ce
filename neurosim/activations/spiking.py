"""The spike and its quantised twin, as activations."""

from __future__ import annotations

from torch import Tensor

from neurosim.activations.cost import Operations
from neurosim.activations.declare import curve
from neurosim.activations.parameter import Parameter, Value
from neurosim.activations.qcfs import QCFS, qcfs
from neurosim.neurons.spike import spike
from neurosim.surrogate import SURROGATES

curve(
    "qcfs",
    "(λ/L)·⌊L·clip(x/λ, 0, 1) + ½⌋",
    limit=Parameter(8.0, gt=0, learned=True),
    levels=Parameter(8, whole=True),
    bounds=lambda limit, levels: (0.0, limit),
    smoothness="jump",
    own_gradient=True,
    operations=Operations(adds=1, multiplies=2, comparisons=2),
    fold="parts",
    hardware="the values that an integrate-and-fire neuron can send in L steps: train with it, then convert to spikes",
    speed="a division, a sum, a floor and a clip, each a pass over memory",
    cite=("qcfs",),
    module=lambda limit, levels: QCFS(levels, limit),
)(qcfs)


@curve(
    "heaviside",
    "1 for x ≥ θ, else 0; backward the surrogate g(x − θ)",
    threshold=Parameter(1.0),
    surrogate=Parameter("arctan", words=SURROGATES),
    bounds=(0.0, 1.0),
    smoothness="jump",
    zero_preserving=lambda threshold, surrogate: threshold > 0,
    own_gradient=True,
    operations=Operations(comparisons=1),
    fold="parts",
    hardware="a comparator; neurons with a membrane are in neurosim.neurons",
    cite=("surrogate_gradients",),
)
def heaviside(x: Tensor, threshold: Value, surrogate: str) -> Tensor:
    """A step, with a surrogate gradient."""
    return spike(x - threshold, surrogate)

"""The losses and regularizers that every test of the contract runs over, and data for them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

import neurosim as ns
from neurosim import losses

STEPS, BATCH, CLASSES = 9, 6, 4

#: by registered name and kind: a fresh loss
LOSS_CASES: dict[tuple[str, str], Callable[[losses.Reduction], losses.Loss]] = {
    ("step_cross_entropy", "plain"): lambda over: losses.StepCrossEntropy(reduction=over),
    ("step_cross_entropy", "weighted"): lambda over: losses.StepCrossEntropy(0.1, [1.0, 2.0, 0.5, 3.0], over),
    ("mean_cross_entropy", "plain"): lambda over: losses.MeanCrossEntropy(reduction=over),
    ("max_cross_entropy", "plain"): lambda over: losses.MaxCrossEntropy(reduction=over),
    ("count_cross_entropy", "plain"): lambda over: losses.CountCrossEntropy(reduction=over),
    ("count_cross_entropy", "groups"): lambda over: losses.CountCrossEntropy(classes=2, label_smoothing=0.1, reduction=over),
    ("count_mse", "plain"): lambda over: losses.CountMSE(on=0.8, off=0.1, reduction=over),
    ("count_mse", "groups"): lambda over: losses.CountMSE(classes=2, reduction=over),
    ("membrane_mse", "plain"): lambda over: losses.MembraneMSE(off=-0.5, reduction=over),
    ("first_spike_cross_entropy", "plain"): lambda over: losses.FirstSpikeCrossEntropy(tau=2.0, reduction=over),
    ("first_spike_cross_entropy", "sign"): lambda over: losses.FirstSpikeCrossEntropy(gradient="sign", silent="last", reduction=over),
    ("first_spike_mse", "plain"): lambda over: losses.FirstSpikeMSE(on=2.0, tolerance=1.0, reduction=over),
    ("first_spike_mse", "sign"): lambda over: losses.FirstSpikeMSE(off=5.0, gradient="sign", reduction=over),
    ("first_spike_margin", "plain"): lambda over: losses.FirstSpikeMargin(margin=2.0, earliness=0.1, reduction=over),
}

REGULARIZER_CASES: dict[tuple[str, str], Callable[[], losses.Regularizer]] = {
    ("firing_rate", "plain"): lambda: losses.FiringRate(strength=0.5),
    ("firing_rate", "sample"): lambda: losses.FiringRate(0.2, 0.4, power=2.0, scope="sample"),
    ("firing_rate", "layer"): lambda: losses.FiringRate(0.0, 0.1, scope="layer"),
    ("membrane_band", "plain"): lambda: losses.MembraneBand(0.1, 0.5),
    ("spike_budget", "plain"): lambda: losses.SpikeBudget(5.0, power=2.0),
}


def spikes(*units: int, rate: float = 0.3, dtype: torch.dtype = torch.float32) -> Tensor:
    """Spikes, the same at every call."""
    u = ns.random.stream(6, "spikes").uniform((STEPS, BATCH, *(units or (CLASSES,))), like=torch.empty(0))
    return (u < rate).to(dtype)


def potentials(*units: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Potentials, the same at every call."""
    return ns.random.stream(6, "potentials").normal((STEPS, BATCH, *(units or (CLASSES,))), like=torch.empty(0, dtype=dtype))


def some_labels(classes: int = CLASSES) -> Tensor:
    """A label per sample, every class among them."""
    return torch.arange(BATCH) % classes

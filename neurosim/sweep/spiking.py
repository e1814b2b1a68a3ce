"""What the neurons of a studied model did, as plain arrays: firing of every layer, a raster of one sample, the metric step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

#: Of `NeuronFiring`: what there is one number of for each layer.
OF_LAYERS: Final = ("rate", "rate_low", "rate_high", "dead", "saturated", "spikes_per_sample")


class NeuronInfo(NamedTuple):
    """One layer of neurons that fire."""

    name: str  #: module path; empty where the model itself is the layer
    type: str  #: class name
    units: int
    dt: float  #: step, seconds; NaN where it has none


class NeuronFiring(NamedTuple):
    """What the neurons of a model did on all samples; NaN, and a raster without steps, where it could not be measured."""

    rate: NDArray[np.float64]  #: spikes per unit and step of each layer
    rate_low: NDArray[np.float64]  #: lower end of its interval over samples; NaN where there is none
    rate_high: NDArray[np.float64]  #: upper end
    dead: NDArray[np.float64]  #: share of the units of each layer that never fire
    saturated: NDArray[np.float64]  #: share of them that fire at every step
    spikes_per_sample: NDArray[np.float64]  #: spikes of all units of each layer while one sample is shown
    values: NDArray[np.float64]  #: the metric after so many steps (``Spiking.steps``)
    raster: NDArray[np.uint8]  #: 1 where a unit fired: (time, rows), rows as in ``Spiking.shown``; of the first sample
    error: str = ""  #: why it could not be measured

    def same(self, other: NeuronFiring) -> bool:
        """Whether both hold the same, bit for bit."""
        arrays = zip(self[:-1], other[:-1], strict=True)
        return self.error == other.error and all(same_array(np.asarray(a), np.asarray(b)) for a, b in arrays)


@dataclass(frozen=True, eq=False)
class Spiking:
    """What the neurons of a studied model did, without hardware and on one chip.

    Args:
        layers: Its layers of neurons that fire.
        samples: How many samples were shown: those of the study.
        chip: Seed of the chip; it is the study's first, at the configured hardware and its first read.
        steps: After how many steps the metric was taken, rising, u4; empty where the model's answer is not the mean over steps of what one
            `neurosim.nn.SpikingNetwork` gives.
        shown: Layer and unit of each row of the rasters, (rows, 2), u4.
        digital: Every layer ideal.
        hardware: On the chip.
    """

    layers: list[NeuronInfo]
    samples: int
    chip: int
    steps: NDArray[np.uint32]
    shown: NDArray[np.uint32]
    digital: NeuronFiring
    hardware: NeuronFiring

    def same(self, other: Spiking | None) -> bool:
        """Whether both hold the same, bit for bit."""
        return (
            other is not None
            and (self.samples, self.chip) == (other.samples, other.chip)
            and [layer[:3] for layer in self.layers] == [layer[:3] for layer in other.layers]
            and same_array(np.array([layer.dt for layer in self.layers]), np.array([layer.dt for layer in other.layers]))
            and same_array(self.steps, other.steps)
            and same_array(self.shown, other.shown)
            and self.digital.same(other.digital)
            and self.hardware.same(other.hardware)
        )


def same_array(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether two arrays hold the same; NaN is the same as NaN."""
    return a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == "f" and b.dtype.kind == "f")

"""What spiking networks are trained on, by name.

A loss takes what the network gives, spikes or potentials ``(time, batch, classes)``, and targets. A regularizer takes the spikes or
potentials of any layers, ``(time, batch, *units)``, and no targets. Each is a function and a class with its settings; the entries of
``LOSSES`` and ``REGULARIZERS`` are the classes. What comes in 16 bits is computed, and returned, in 32.
"""

from neurosim.losses.base import LOSSES as LOSSES
from neurosim.losses.base import Loss as Loss
from neurosim.losses.base import Reduction as Reduction
from neurosim.losses.counts import CountCrossEntropy as CountCrossEntropy
from neurosim.losses.counts import CountMSE as CountMSE
from neurosim.losses.counts import count_cross_entropy as count_cross_entropy
from neurosim.losses.counts import count_mse as count_mse
from neurosim.losses.counts import population_counts as population_counts
from neurosim.losses.first_spike import FirstSpikeCrossEntropy as FirstSpikeCrossEntropy
from neurosim.losses.first_spike import FirstSpikeMargin as FirstSpikeMargin
from neurosim.losses.first_spike import FirstSpikeMSE as FirstSpikeMSE
from neurosim.losses.first_spike import first_spike_cross_entropy as first_spike_cross_entropy
from neurosim.losses.first_spike import first_spike_margin as first_spike_margin
from neurosim.losses.first_spike import first_spike_mse as first_spike_mse
from neurosim.losses.membranes import MaxCrossEntropy as MaxCrossEntropy
from neurosim.losses.membranes import MeanCrossEntropy as MeanCrossEntropy
from neurosim.losses.membranes import MembraneMSE as MembraneMSE
from neurosim.losses.membranes import StepCrossEntropy as StepCrossEntropy
from neurosim.losses.membranes import max_cross_entropy as max_cross_entropy
from neurosim.losses.membranes import mean_cross_entropy as mean_cross_entropy
from neurosim.losses.membranes import membrane_mse as membrane_mse
from neurosim.losses.membranes import step_cross_entropy as step_cross_entropy
from neurosim.losses.regularizers import REGULARIZERS as REGULARIZERS
from neurosim.losses.regularizers import FiringRate as FiringRate
from neurosim.losses.regularizers import MembraneBand as MembraneBand
from neurosim.losses.regularizers import Regularizer as Regularizer
from neurosim.losses.regularizers import SpikeBudget as SpikeBudget
from neurosim.losses.regularizers import firing_rate as firing_rate
from neurosim.losses.regularizers import membrane_band as membrane_band
from neurosim.losses.regularizers import spike_budget as spike_budget
from neurosim.losses.spike_time import first_spike_time as first_spike_time

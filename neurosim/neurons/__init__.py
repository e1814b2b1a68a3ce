"""Spiking neurons as layers, by name.

Every neuron takes ``(time, batch, *units)``. ``neuron(x)`` runs it from rest, ``neuron.run(x, state)`` goes on from a state. An entry of
the registry is a class; one of your own derives from :class:`Neuron` and is registered with ``@neurosim.NEURONS.register("my_neuron")``.
"""

from neurosim.neurons.adaptive_lif import ALIF as ALIF
from neurosim.neurons.adaptive_lif import ALIFParameters as ALIFParameters
from neurosim.neurons.adaptive_lif import ALIFState as ALIFState
from neurosim.neurons.adaptive_lif import alif_step as alif_step
from neurosim.neurons.base import NEURONS as NEURONS
from neurosim.neurons.base import Neuron as Neuron
from neurosim.neurons.base import Trace as Trace
from neurosim.neurons.base import detach as detach
from neurosim.neurons.base import is_neurons as is_neurons
from neurosim.neurons.cuba_lif import CubaLIF as CubaLIF
from neurosim.neurons.cuba_lif import CubaLIFState as CubaLIFState
from neurosim.neurons.exponential_lif import EIF as EIF
from neurosim.neurons.exponential_lif import EIFParameters as EIFParameters
from neurosim.neurons.exponential_lif import EIFState as EIFState
from neurosim.neurons.exponential_lif import eif_step as eif_step
from neurosim.neurons.firing import Firing as Firing
from neurosim.neurons.integrate_fire import IF as IF
from neurosim.neurons.izhikevich import IZHIKEVICH_PATTERNS as IZHIKEVICH_PATTERNS
from neurosim.neurons.izhikevich import Izhikevich as Izhikevich
from neurosim.neurons.izhikevich import IzhikevichParameters as IzhikevichParameters
from neurosim.neurons.izhikevich import IzhikevichPattern as IzhikevichPattern
from neurosim.neurons.izhikevich import IzhikevichState as IzhikevichState
from neurosim.neurons.izhikevich import izhikevich_step as izhikevich_step
from neurosim.neurons.li import LI as LI
from neurosim.neurons.li import LIState as LIState
from neurosim.neurons.lif import LIF as LIF
from neurosim.neurons.lif import LIFState as LIFState
from neurosim.neurons.multi_spike_lif import MultiSpikeLIF as MultiSpikeLIF
from neurosim.neurons.multi_spike_lif import MultiSpikeParameters as MultiSpikeParameters
from neurosim.neurons.multi_spike_lif import MultiSpikeState as MultiSpikeState
from neurosim.neurons.multi_spike_lif import multi_spike_step as multi_spike_step
from neurosim.neurons.parametric_lif import ParametricLIF as ParametricLIF
from neurosim.neurons.recurrent import Recurrent as Recurrent
from neurosim.neurons.recurrent import RecurrentState as RecurrentState
from neurosim.neurons.recurrent import recurrent_step as recurrent_step
from neurosim.neurons.recurrent_lif import RLIF as RLIF
from neurosim.neurons.recurrent_lif import LinearToOthers as LinearToOthers
from neurosim.neurons.recurrent_lif import RCubaLIF as RCubaLIF
from neurosim.neurons.refractory_lif import RefractoryLIF as RefractoryLIF
from neurosim.neurons.refractory_lif import RefractoryParameters as RefractoryParameters
from neurosim.neurons.refractory_lif import RefractoryState as RefractoryState
from neurosim.neurons.refractory_lif import refractory_step as refractory_step
from neurosim.neurons.spike import spike as spike

"""Spiking neurons as layers, by name.

Every neuron takes ``(time, batch, *units)``. ``neuron(x)`` runs it from rest, ``neuron.run(x, state)`` goes on from a state. An entry of
the registry is a class; one of your own derives from :class:`Neuron` and is registered with ``@neurosim.NEURONS.register("my_neuron")``.
"""

from neurosim.neurons.base import NEURONS as NEURONS
from neurosim.neurons.base import Neuron as Neuron
from neurosim.neurons.base import Trace as Trace
from neurosim.neurons.base import detach as detach
from neurosim.neurons.cuba_lif import CubaLIF as CubaLIF
from neurosim.neurons.cuba_lif import CubaLIFState as CubaLIFState
from neurosim.neurons.li import LI as LI
from neurosim.neurons.li import LIState as LIState
from neurosim.neurons.lif import LIF as LIF
from neurosim.neurons.lif import LIFState as LIFState
from neurosim.neurons.spike import spike as spike

"""Layers that users place in their models."""

from neurosim.nn.analog import AnalogConv1d as AnalogConv1d
from neurosim.nn.analog import AnalogConv2d as AnalogConv2d
from neurosim.nn.analog import AnalogConv3d as AnalogConv3d
from neurosim.nn.analog import AnalogLayer as AnalogLayer
from neurosim.nn.analog import AnalogLinear as AnalogLinear
from neurosim.nn.chain import AnalogChain as AnalogChain
from neurosim.nn.ei import ei_balance as ei_balance
from neurosim.nn.ei_conv import EIConv2d as EIConv2d
from neurosim.nn.ei_layer import EICurrents as EICurrents
from neurosim.nn.ei_layer import EILayer as EILayer
from neurosim.nn.ei_linear import EILinear as EILinear
from neurosim.nn.graph import SpikingGraph as SpikingGraph
from neurosim.nn.qcfs import QCFS as QCFS
from neurosim.nn.spike_pool import SpikingMaxPool2d as SpikingMaxPool2d
from neurosim.nn.spiking import SpikingNetwork as SpikingNetwork
from neurosim.nn.time import SpikingModule as SpikingModule
from neurosim.nn.time import SpikingResidual as SpikingResidual
from neurosim.nn.time import SpikingSequential as SpikingSequential
from neurosim.nn.time import TimeFold as TimeFold

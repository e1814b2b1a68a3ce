"""What models with excitatory-inhibitory layers need besides the layers: first weights from data, and weights that stay 0 or more.

The layers are :class:`neurosim.nn.EILinear` and :class:`neurosim.nn.EIConv2d`.
"""

from neurosim.ei.constraint import attach as attach
from neurosim.ei.constraint import check as check
from neurosim.ei.constraint import groups as groups
from neurosim.ei.constraint import layers as layers
from neurosim.ei.constraint import negative as negative
from neurosim.ei.constraint import project as project
from neurosim.ei.init import METHODS as METHODS
from neurosim.ei.init import Moments as Moments
from neurosim.ei.init import initialize as initialize
from neurosim.ei.sgd import EISGD as EISGD

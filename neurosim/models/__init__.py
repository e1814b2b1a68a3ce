"""Models by name: what a config's ``model.kind`` may say.

An entry is a function or class with annotated keyword arguments that returns a digital ``nn.Module``; hardware comes by conversion.
A user's file adds one with ``@neurosim.MODELS.register("my_model")`` and is named on the command line: ``--plugin my_model.py``.
"""

from neurosim.models.assembly_rnn import AssemblyClassifier as AssemblyClassifier
from neurosim.models.assembly_rnn import assembly_rnn as assembly_rnn
from neurosim.models.base import MODELS as MODELS
from neurosim.models.cnn import cnn as cnn
from neurosim.models.delta_mlp import FrameClassifier as FrameClassifier
from neurosim.models.delta_mlp import delta_mlp as delta_mlp
from neurosim.models.disinhibitory_mlp import disinhibitory_mlp as disinhibitory_mlp
from neurosim.models.made import make_neuron as make_neuron
from neurosim.models.mlp import mlp as mlp
from neurosim.models.normed import norm_layer as norm_layer
from neurosim.models.residual import residual_cnn as residual_cnn
from neurosim.models.residual import residual_mlp as residual_mlp
from neurosim.models.spiking_mlp import spiking_mlp as spiking_mlp
from neurosim.models.spiking_resnet import spiking_resnet as spiking_resnet
from neurosim.models.spiking_sequence import spiking_sequence as spiking_sequence
from neurosim.models.spiking_vgg import spiking_vgg as spiking_vgg

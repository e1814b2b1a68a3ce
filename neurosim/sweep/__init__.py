"""Sensitivity studies: how a model behaves over chips, reads and settings of its hardware."""

from neurosim.sweep.archive import load_results as load_results
from neurosim.sweep.archive import write_results as write_results
from neurosim.sweep.report import Report as Report
from neurosim.sweep.results import Baseline as Baseline
from neurosim.sweep.results import LayerInfo as LayerInfo
from neurosim.sweep.results import Results as Results
from neurosim.sweep.run import sensitivity as sensitivity
from neurosim.sweep.spiking import NeuronFiring as NeuronFiring
from neurosim.sweep.spiking import NeuronInfo as NeuronInfo
from neurosim.sweep.spiking import Spiking as Spiking
from neurosim.sweep.summary import Summary as Summary
from neurosim.sweep.summary import Verdict as Verdict
from neurosim.sweep.summary import summarise as summarise

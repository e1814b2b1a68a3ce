"""neurosim: neural networks on simulated photonic and analog hardware, for PyTorch.

.. code-block:: python

    import neurosim as ns

    photonic = ns.to_analog(model, "photonic_avnn", seed=17)  # an ordinary nn.Module: train it, save it, compile it
    run = ns.train("pkg:analogvnn/digits_mlp.yaml")
    report = ns.sensitivity(photonic, loader, plan)
    report.save("report.html")

Importing this package does no work: every public name below is loaded when it is first used.

>>> import neurosim as ns
>>> ns.to_analogue
Traceback (most recent call last):
AttributeError: neurosim has no public name 'to_analogue'; did you mean 'to_analog'?
"""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:  # what people, editors and type checkers read; the table below is what Python runs, and a test holds the two equal
    from neurosim import activations as activations
    from neurosim import analysis as analysis
    from neurosim import datasets as datasets
    from neurosim import ei as ei
    from neurosim import encoding as encoding
    from neurosim import errors as errors
    from neurosim import hardware as hardware
    from neurosim import initialisers as initialisers
    from neurosim import losses as losses
    from neurosim import models as models
    from neurosim import neurons as neurons
    from neurosim import nn as nn
    from neurosim import norms as norms
    from neurosim import plot as plot
    from neurosim import quantizers as quantizers
    from neurosim import random as random
    from neurosim import sparsity as sparsity
    from neurosim import surrogate as surrogate
    from neurosim.activations import ACTIVATIONS as ACTIVATIONS
    from neurosim.activations import fit_activation as fit_activation
    from neurosim.analysis import Activity as Activity
    from neurosim.analysis import Cost as Cost
    from neurosim.analysis import Probe as Probe
    from neurosim.analysis import Recording as Recording
    from neurosim.analysis import SynOps as SynOps
    from neurosim.analysis import absorb_bias as absorb_bias
    from neurosim.analysis import activity as activity
    from neurosim.analysis import add_side_paths as add_side_paths
    from neurosim.analysis import batch_statistics as batch_statistics
    from neurosim.analysis import calibrate as calibrate
    from neurosim.analysis import clip_weights as clip_weights
    from neurosim.analysis import correct_bias as correct_bias
    from neurosim.analysis import cost as cost
    from neurosim.analysis import distill_swap as distill_swap
    from neurosim.analysis import effective_weight as effective_weight
    from neurosim.analysis import equalize as equalize
    from neurosim.analysis import layer_importance as layer_importance
    from neurosim.analysis import load_recording as load_recording
    from neurosim.analysis import probe as probe
    from neurosim.analysis import quantize as quantize
    from neurosim.analysis import recentre as recentre
    from neurosim.analysis import record as record
    from neurosim.analysis import representation_paths as representation_paths
    from neurosim.analysis import revive_units as revive_units
    from neurosim.analysis import slope_noise as slope_noise
    from neurosim.analysis import synops as synops
    from neurosim.analysis import synthesize as synthesize
    from neurosim.analysis import tweak_norms as tweak_norms
    from neurosim.catalogue import NORMS as NORMS
    from neurosim.citations import cite as cite
    from neurosim.config import RunConfig as RunConfig
    from neurosim.config import load_config as load_config
    from neurosim.convert import ChipStack as ChipStack
    from neurosim.convert import Conversion as Conversion
    from neurosim.convert import analog_layers as analog_layers
    from neurosim.convert import checkpoint_context as checkpoint_context
    from neurosim.convert import chips as chips
    from neurosim.convert import drift_to as drift_to
    from neurosim.convert import get_draws as get_draws
    from neurosim.convert import keep_weights as keep_weights
    from neurosim.convert import noise as noise
    from neurosim.convert import overflows as overflows
    from neurosim.convert import override as override
    from neurosim.convert import program as program
    from neurosim.convert import redraw as redraw
    from neurosim.convert import set_draw as set_draw
    from neurosim.convert import set_draws as set_draws
    from neurosim.convert import set_noise_strength as set_noise_strength
    from neurosim.convert import to_analog as to_analog
    from neurosim.convert import to_digital as to_digital
    from neurosim.convert import to_neuromorphic as to_neuromorphic
    from neurosim.convert.accelerate import Acceleration as Acceleration
    from neurosim.convert.accelerate import accelerate as accelerate
    from neurosim.convert.chip_file import save_chip as save_chip
    from neurosim.convert.chip_reader import load_chip as load_chip
    from neurosim.convert.equivalence import Exchange as Exchange
    from neurosim.convert.folding import fold as fold
    from neurosim.convert.folding_report import Folding as Folding
    from neurosim.convert.freezing import freeze_statistics as freeze_statistics
    from neurosim.convert.from_norse import from_norse as from_norse
    from neurosim.convert.from_snntorch import from_snntorch as from_snntorch
    from neurosim.convert.from_spikingjelly import from_spikingjelly as from_spikingjelly
    from neurosim.convert.nir_read import from_nir as from_nir
    from neurosim.convert.nir_write import to_nir as to_nir
    from neurosim.convert.recalibration import recalibrate as recalibrate
    from neurosim.convert.spiking import to_qcfs as to_qcfs
    from neurosim.convert.spiking import to_spiking as to_spiking
    from neurosim.convert.spiking_report import SpikingConversion as SpikingConversion
    from neurosim.convert.spiking_report import accuracy_over_time as accuracy_over_time
    from neurosim.convert.swap import swap_norm as swap_norm
    from neurosim.convert.swap_activation import ActivationSwap as ActivationSwap
    from neurosim.convert.swap_activation import swap_activation as swap_activation
    from neurosim.datasets import DATASETS as DATASETS
    from neurosim.datasets import Dataset as Dataset
    from neurosim.datasets import Split as Split
    from neurosim.datasets import load_dataset as load_dataset
    from neurosim.encoding import ENCODERS as ENCODERS
    from neurosim.encoding import Encoder as Encoder
    from neurosim.errors import CheckpointError as CheckpointError
    from neurosim.errors import ConfigError as ConfigError
    from neurosim.errors import ConversionError as ConversionError
    from neurosim.errors import DataError as DataError
    from neurosim.errors import NeurosimError as NeurosimError
    from neurosim.errors import RunError as RunError
    from neurosim.hardware.budget import LinkBudget as LinkBudget
    from neurosim.hardware.budget import link_budget as link_budget
    from neurosim.hardware.chain import ChainSpec as ChainSpec
    from neurosim.hardware.link import Link as Link
    from neurosim.hardware.profile import Profile as Profile
    from neurosim.hardware.profile import list_profiles as list_profiles
    from neurosim.hardware.profile import load_profile as load_profile
    from neurosim.hardware.resolution import Resolution as Resolution
    from neurosim.hardware.rings import Ring as Ring
    from neurosim.hardware.stage import STAGES as STAGES
    from neurosim.hardware.stage import Context as Context
    from neurosim.hardware.stage import Spec as Spec
    from neurosim.hardware.stage import Stage as Stage
    from neurosim.hardware.stage import Unit as Unit
    from neurosim.initialisers import INITIALISERS as INITIALISERS
    from neurosim.initialisers import Initialisation as Initialisation
    from neurosim.initialisers import initialize as initialize
    from neurosim.losses import LOSSES as LOSSES
    from neurosim.losses import REGULARIZERS as REGULARIZERS
    from neurosim.models import MODELS as MODELS
    from neurosim.neurons import ALIF as ALIF
    from neurosim.neurons import IF as IF
    from neurosim.neurons import LI as LI
    from neurosim.neurons import LIF as LIF
    from neurosim.neurons import NEURONS as NEURONS
    from neurosim.neurons import CubaLIF as CubaLIF
    from neurosim.neurons import Neuron as Neuron
    from neurosim.neurons import ParametricLIF as ParametricLIF
    from neurosim.quantizers import FORMATS as FORMATS
    from neurosim.registry import Registry as Registry
    from neurosim.sparsity import Sparsification as Sparsification
    from neurosim.sparsity import densify as densify
    from neurosim.sparsity import sparsify as sparsify
    from neurosim.studies import StudyResult as StudyResult
    from neurosim.studies import load_study as load_study
    from neurosim.studies import study as study
    from neurosim.surrogate import SURROGATES as SURROGATES
    from neurosim.surrogate import Surrogate as Surrogate
    from neurosim.sweep import Report as Report
    from neurosim.sweep import Results as Results
    from neurosim.sweep import load_results as load_results
    from neurosim.sweep import sensitivity as sensitivity
    from neurosim.training import METRICS as METRICS
    from neurosim.training import Interrupted as Interrupted
    from neurosim.training import Run as Run
    from neurosim.training import load as load
    from neurosim.training import train as train
    from neurosim.training.evaluate import evaluate as evaluate
    from neurosim.training.evaluate import evaluate_chips as evaluate_chips
    from neurosim.training.radial import SGDP as SGDP
    from neurosim.training.radial import AdamP as AdamP
    from neurosim.training.rescaling import keep_norms as keep_norms
    from neurosim.training.rescaling import keep_variances as keep_variances

_MODULES = (
    "activations",
    "analysis",
    "datasets",
    "ei",
    "encoding",
    "errors",
    "hardware",
    "initialisers",
    "losses",
    "models",
    "neurons",
    "nn",
    "norms",
    "plot",
    "quantizers",
    "random",
    "sparsity",
    "surrogate",
)
#: by module, as its words
_NAMES = {
    home: tuple(names.split())
    for home, names in {
        "neurosim.activations": "ACTIVATIONS fit_activation",
        "neurosim.analysis": (
            "Activity Cost Probe Recording SynOps absorb_bias activity add_side_paths batch_statistics calibrate clip_weights correct_bias "
            "cost distill_swap effective_weight equalize layer_importance load_recording probe quantize recentre record "
            "representation_paths revive_units slope_noise synops synthesize tweak_norms"
        ),
        "neurosim.catalogue": "NORMS",
        "neurosim.citations": "cite",
        "neurosim.config": "RunConfig load_config",
        "neurosim.convert": (
            "ChipStack Conversion analog_layers checkpoint_context chips drift_to get_draws keep_weights noise overflows override "
            "program redraw set_draw set_draws set_noise_strength to_analog to_digital to_neuromorphic"
        ),
        "neurosim.convert.accelerate": "Acceleration accelerate",
        "neurosim.convert.chip_file": "save_chip",
        "neurosim.convert.chip_reader": "load_chip",
        "neurosim.convert.equivalence": "Exchange",
        "neurosim.convert.folding": "fold",
        "neurosim.convert.folding_report": "Folding",
        "neurosim.convert.freezing": "freeze_statistics",
        "neurosim.convert.from_norse": "from_norse",
        "neurosim.convert.from_snntorch": "from_snntorch",
        "neurosim.convert.from_spikingjelly": "from_spikingjelly",
        "neurosim.convert.nir_read": "from_nir",
        "neurosim.convert.nir_write": "to_nir",
        "neurosim.convert.recalibration": "recalibrate",
        "neurosim.convert.spiking": "to_qcfs to_spiking",
        "neurosim.convert.spiking_report": "SpikingConversion accuracy_over_time",
        "neurosim.convert.swap": "swap_norm",
        "neurosim.convert.swap_activation": "ActivationSwap swap_activation",
        "neurosim.datasets": "DATASETS Dataset Split load_dataset",
        "neurosim.encoding": "ENCODERS Encoder",
        "neurosim.errors": "CheckpointError ConfigError ConversionError DataError NeurosimError RunError",
        "neurosim.hardware.budget": "LinkBudget link_budget",
        "neurosim.hardware.chain": "ChainSpec",
        "neurosim.hardware.link": "Link",
        "neurosim.hardware.profile": "Profile list_profiles load_profile",
        "neurosim.hardware.resolution": "Resolution",
        "neurosim.hardware.rings": "Ring",
        "neurosim.hardware.stage": "Context STAGES Spec Stage Unit",
        "neurosim.initialisers": "INITIALISERS Initialisation initialize",
        "neurosim.losses": "LOSSES REGULARIZERS",
        "neurosim.models": "MODELS",
        "neurosim.neurons": "ALIF CubaLIF IF LI LIF NEURONS Neuron ParametricLIF",
        "neurosim.quantizers": "FORMATS",
        "neurosim.registry": "Registry",
        "neurosim.sparsity": "Sparsification densify sparsify",
        "neurosim.studies": "StudyResult load_study study",
        "neurosim.surrogate": "SURROGATES Surrogate",
        "neurosim.sweep": "Report Results load_results sensitivity",
        "neurosim.training": "Interrupted METRICS Run load train",
        "neurosim.training.evaluate": "evaluate evaluate_chips",
        "neurosim.training.radial": "AdamP SGDP",
        "neurosim.training.rescaling": "keep_norms keep_variances",
    }.items()
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}

__all__ = ["__version__", *_MODULES, *_HOME]


if not TYPE_CHECKING:  # a type checker that saw this function would believe every name

    def __getattr__(name: str) -> object:
        if name in _MODULES:
            return importlib.import_module(f"neurosim.{name}")  # the import binds the name here
        if name in _HOME:
            value = globals()[name] = getattr(importlib.import_module(_HOME[name]), name)
            return value
        from neurosim.errors import nearest

        raise AttributeError(f"neurosim has no public name {name!r}{nearest(name, __all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""From a spiking model to one on a simulated neuromorphic chip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from neurosim.convert.analog import put_on_hardware
from neurosim.convert.select import Selection, analog_layers
from neurosim.errors import ConfigError
from neurosim.hardware.profile import Profile, list_profiles, load_profile
from neurosim.nn.neuron_chain import NeuronChain


def to_neuromorphic(
    model: nn.Module,
    profile: str | Profile,
    *,
    seed: int,
    layers: Selection = None,
    skip: Selection = None,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    inplace: bool = False,
) -> nn.Module:
    """Put a spiking model on a simulated chip: its weights into the chip's words or cells, its neurons into the chip's circuits.

    It is :func:`neurosim.to_analog` for profiles that have neurons, and what steers an analog model steers the result: ``noise``,
    ``program``, ``override`` (``"neuron.threshold.spread"``), ``set_noise_strength``, ``sensitivity``. Weights and neurons keep their clean
    parameters under their names. Errors of a chip are frozen, each neuron has its own; a forward draws new noise.

    Args:
        model: Any module with neurons: ``LIF``, ``ParametricLIF``, ``IF``, ``CubaLIF``, ``LI``, and subclasses that compute the same step.
        profile: The name of a device profile with neurons, a path to one, or a loaded one.
        seed: Which chip, in [0, 2⁶³).
        layers, skip, overrides, inplace: As for :func:`neurosim.to_analog`; neurons are layers like others.

    Returns:
        The converted model; ``result.conversion`` says per layer what was converted and why, and holds the report of
        :func:`neurosim.to_spiking`, if the model has one, as ``before``.

    Raises:
        ConfigError: The profile has no neurons, or as for ``to_analog``.
        ConversionError: The model has no neurons, a layer has more inputs than one of the chip's neurons can sum, or as for ``to_analog``.

    >>> from neurosim.neurons import LIF
    >>> from neurosim.nn import SpikingSequential
    >>> net = SpikingSequential(nn.Linear(8, 4), LIF(20e-3, 1e-3), nn.Linear(4, 2))
    >>> print(to_neuromorphic(net, "neuromorphic_digital8", seed=17).conversion)
    neuromorphic_digital8, chip 17: 3 layers converted, 0 left digital, 0 refused; 46 weights on the chip (100%)
      layer  type    size  status     reason
      0      Linear  8→4   converted
      1      LIF           converted  full scale 1
      2      Linear  4→2   converted
    """
    device = load_profile(profile)
    if device.neuron is None:
        known = ", ".join(name for name in list_profiles() if load_profile(name).neuron is not None)
        raise ConfigError(f"to_neuromorphic: the profile must have neurons, {device.name} has none; those that have: {known}")
    return put_on_hardware("to_neuromorphic", model, device, seed, layers, skip, overrides, inplace)


def overflows(model: nn.Module) -> dict[str, int]:
    """How often currents and potentials left the range of their words in the last forward of a converted model.

    Returns:
        Counts by path, for each layer of neurons that computes in words now.

    >>> overflows(nn.Linear(2, 2))
    {}
    """
    chains = {path: layer.chain for path, layer in analog_layers(model).items()}
    return {path: int(chain.overflows) for path, chain in chains.items() if isinstance(chain, NeuronChain) and chain.words is not None}

"""Draw ``neurons.png``: what every neuron does with a step of current. Run it from the repository: ``python docs/figures/neurons.py``."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any, cast

import torch
from matplotlib.figure import Figure
from PIL import Image

import neurosim as ns
from neurosim.neurons import EIF, RLIF, Izhikevich, MultiSpikeLIF, RCubaLIF, Recurrent, RefractoryLIF
from neurosim.plot.style import COLOURS, GREY, INK, WIDTH

DT, ON, OFF, END = 0.5e-3, 10e-3, 100e-3, 120e-3
TAU, TAU_SYN = 20e-3, 5e-3


def held_back(neuron: Recurrent) -> Recurrent:
    """One unit, of which every spike takes back four tenths of the way to its threshold."""
    neuron.connection.load_state_dict({"weight": torch.tensor([[-0.4 / -math.expm1(-DT / TAU)]])})
    return neuron


def neurons() -> list[tuple[str, float, ns.Neuron[Any]]]:
    """Title, current, neuron."""
    leaky: dict[str, Any] = {"tau_mem": TAU, "dt": DT, "r": 1.0}
    hard: dict[str, Any] = {**leaky, "reset": "hard"}
    return [
        ("LI", 1.6, ns.LI(**leaky)),
        ("IF", 1.6, ns.IF(DT, r=1 / TAU, reset="hard")),
        ("LIF, ParametricLIF", 1.6, ns.LIF(**hard)),
        ("CubaLIF", 1.6, ns.CubaLIF(tau_syn=TAU_SYN, w_in=1.0, **hard)),
        ("ALIF", 1.6, ns.ALIF(tau_adapt=60e-3, beta=0.15, **hard)),
        ("RefractoryLIF: 8 ms", 1.6, RefractoryLIF(t_ref=8e-3, **hard)),
        ("RLIF, inhibits itself", 1.6, held_back(RLIF(1, **hard))),
        ("RCubaLIF, inhibits itself", 1.6, held_back(RCubaLIF(1, tau_syn=TAU_SYN, w_in=1.0, **hard))),
        ("MultiSpikeLIF, steps of 4 ms", 1.6, MultiSpikeLIF(TAU, 4e-3, v_threshold=0.12, r=1.0)),
        ("EIF", 1.6, EIF(slope_factor=0.15, **leaky)),
        ("Izhikevich, regular spiking", 10.0, Izhikevich(DT)),
        ("Izhikevich, chattering", 10.0, Izhikevich(DT, pattern="chattering")),
    ]


def main() -> None:
    """Draw and save."""
    fig = Figure(figsize=(WIDTH, 6.4), layout="constrained", facecolor="white")
    for ax, (title, current, neuron) in zip(fig.subplots(6, 2, sharex=True).flat, neurons(), strict=True):
        times = torch.arange(1, round(END / neuron.dt) + 1) * neuron.dt
        x = current * ((times > ON) & (times < OFF + neuron.dt / 2)).float().reshape(-1, 1, 1)
        with torch.no_grad():
            if isinstance(neuron, ns.LI):
                v, spikes = neuron(x), torch.zeros_like(x)
            else:
                spikes, v, _ = cast("ns.LIF", neuron).trace(x)  # all that fire have it
        v, spikes = v.flatten(), spikes.flatten()
        low, high = float(v.min()), float(v.max())
        base = high + 0.12 * (high - low)
        fired = spikes > 0
        ax.axvspan(1e3 * ON, 1e3 * OFF, color="#eef1f4", linewidth=0)
        ax.plot(1e3 * times, v, color=COLOURS[0], linewidth=1.1)
        ax.vlines(1e3 * times[fired], base, base + 0.18 * (high - low) * spikes[fired], color=COLOURS[1], linewidth=0.9)
        ax.set_title(title, fontsize=9, loc="left", color=INK)
        ax.set_yticks([])
        ax.tick_params(labelsize=7, color=GREY, length=2)
        ax.spines[:].set_visible(False)
    fig.supxlabel("time (ms); grey: the current is on; blue: potential; orange: spikes, twice as high for two", fontsize=8, color=INK)
    drawn = io.BytesIO()
    fig.savefig(drawn, dpi=130)
    Image.open(drawn).convert("RGB").quantize(32).save(Path(__file__).with_suffix(".png"), optimize=True)  # a third of the size


if __name__ == "__main__":
    main()

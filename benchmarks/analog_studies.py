"""What analog hardware does to small networks on real digits: one table for each question, over several trainings and chips.

    python benchmarks/analog_studies.py noise mnist5k.h5     # noise and precision of weights, inputs or outputs
    python benchmarks/analog_studies.py drift mnist5k.h5     # phase-change memory from a minute to a year, by compensation
    python benchmarks/analog_studies.py gain mnist5k.h5      # a factor on all outputs, by norm
    python benchmarks/analog_studies.py mesh mnist5k.h5      # meshes of interferometers: the formula, simulation, accuracy
    python benchmarks/analog_studies.py power mnist5k.h5     # optical power

Cells are mean ± standard deviation over all chips of all trained networks, and the 95 % interval of the mean over trainings, in per cent.
Trained networks are kept in --cache. benchmarks/profile_studies.py asks two more questions.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from small_networks import Data, Rows, collect, interval, load_data, over_chips, perceptron, show, trained
from torch import nn
from tqdm import tqdm

import neurosim as ns
from neurosim.hardware.chain import ChainSpec
from neurosim.hardware.devices import Logarithmic, Polynomial, Power
from neurosim.hardware.mesh import Layout, driven_phases, expected_infidelity, interferometers, mesh_fidelity, mesh_matrix, mesh_phases
from neurosim.hardware.profile import Profile
from neurosim.random import stream
from neurosim.sweep.statistics import mean_interval

SIZES, DEEP = (784, 64, 10), (784, 64, 64, 64, 10)

# --- noise: one path of the photonic link has converters and noise, the others only saturate
PLACES = {"weights": ("weight", "bias"), "inputs": ("input",), "outputs": ("output",)}
PRECISIONS, LEAKAGES = (4, 8, 16), (0.0, 0.2, 0.5, 0.8)
RANGES = {"the profile's full scales": False, "full scales that are used": True}
RECEIVER = 16.0  #: full scale of outputs that are used, in full-scale inputs times the largest weight


def noise(data: Data, chosen: argparse.Namespace) -> dict[str, Rows]:
    """Where noise hurts, by precision and leakage; networks that saw none of it in training, and (profile as it is) networks that did."""
    tables: dict[str, Rows] = {}
    axes = (RANGES.items(), range(chosen.seeds), PLACES, PRECISIONS, LEAKAGES)
    for (ranges, used), seed, place, precision, leakage in _grid("noise", *axes):
        changes, frozen = _only(place, precision, leakage, used), {}
        if place == "weights":  # in training, one draw a step; a chip keeps its errors
            frozen = {f"{path}.noise.scope": "device" for path in PLACES[place] if not used or path == "weight"}
        trainings = {"without noise and converters": _only("none", 8, 0.0, used)} | ({} if used else {"with them": changes})
        for training, made in trainings.items():
            name, hardware = f"photonic, {made}", _on(_photonic(used), made)
            model = trained(name, _small, seed, data, chosen.cache, on_hardware=hardware)
            rows = tables.setdefault(f"Trained {training}; {ranges}", {})
            chip = _on(_photonic(used), changes | frozen)(model)
            collect(rows, f"{place}, p = {precision}", f"leakage {leakage:g}", over_chips(chip, data, chosen.chips))
    return tables


def _photonic(used: bool) -> Profile:
    """The profile photonic_avnn; if full scales are used, weights are scaled to theirs, and the bias is digital."""
    found = ns.load_profile("photonic_avnn")
    return replace(found, chain=found.chain.model_copy(update={"bias": None})) if used else found


def _only(place: str, precision: int, leakage: float, used: bool) -> dict[str, Any]:
    """Changes of that profile that leave converters and noise in one place alone."""
    changes: dict[str, Any] = {}
    for path, converter in {"input": "dac", "weight": "quantize", "bias": "quantize", "output": "adc"}.items():
        if used and path == "bias":
            continue
        if path in PLACES.get(place, ()):
            changes |= {
                f"{path}.{converter}.levels": 2 * precision + 1,
                f"{path}.noise.precision": precision,
                f"{path}.noise.leakage": leakage,
            }
        else:
            changes |= {f"{path}.{converter}": None, f"{path}.noise": None}
    if used:
        changes |= {"weight.scale": {"kind": "scale"}, "output.normalize.low": -RECEIVER, "output.normalize.high": RECEIVER}
        if place == "outputs":
            changes |= {"output.adc.low": -RECEIVER, "output.adc.high": RECEIVER, "output.noise.precision": precision / RECEIVER}
    return changes


# --- drift
TIMES = {"1 minute": 60.0, "1 hour": 3600.0, "1 day": 86400.0, "1 month": 2592000.0, "1 year": 31536000.0}
PCM = {
    "kind": "pcm",
    "g_ref_siemens": 25e-6,
    "sigma": Polynomial(coefficients=(0.26348e-6, 1.9650e-6, -1.1731e-6)),
    "exponent": Logarithmic(slope=-0.0155, offset=0.0244, low=0.049, high=0.1),
    "spread": Logarithmic(slope=-0.0125, offset=-0.0059, low=0.008, high=0.045),
    "read": Power(factor=0.0088, exponent=-0.65, high=0.2),
    "t0_s": 20.0,
    "read_s": 250e-9,
}
MEMORY = {
    "input": {"scale": {"kind": "scale", "per": "vector"}, "dac": {"kind": "quantize", "levels": 255}},
    "weight": {"scale": {"kind": "scale", "per": "vector"}},
    "array": {
        "mapping": {"kind": "mapping", "g_min_siemens": 0.0, "g_max_siemens": 25e-6},
        "programming": PCM,
        "tiles": {"kind": "tiles", "rows": 512, "columns": 512},
    },
    "output": {
        "noise": {"kind": "noise", "distribution": "gaussian", "scale": 0.04},
        "adc": {"kind": "quantize", "levels": 255, "low": -10.0, "high": 10.0},
    },
}


def drift(data: Data, chosen: argparse.Namespace) -> dict[str, Rows]:
    """Phase-change memory over time; once with batch norm, whose statistics are those of training, once without a norm."""
    tables: dict[str, Rows] = {"Batch norm": {}, "No norm": {}}
    settings = {"none": None, "tile": {"kind": "compensation", "per": "tile"}, "column": {"kind": "compensation", "per": "column"}}
    for (title, rows), seed, how in _grid("drift", tables.items(), range(chosen.seeds), settings):
        norm = "batch" if title == "Batch norm" else "none"
        model = trained(norm, lambda norm=norm: perceptron(DEEP, norm), seed, data, chosen.cache)
        collect(rows, f"compensation: {how}", "digital", [ns.evaluate(model, data.test)])
        chip = _on(_profile(MEMORY), {"array.compensation": settings[how]})(model)
        for name, seconds in TIMES.items():
            collect(rows, f"compensation: {how}", name, over_chips(chip, data, chosen.chips, seconds))
    return tables


# --- gain
FACTORS = (0.5, 0.8, 1.0, 1.25, 2.0)
NETWORKS: dict[str, tuple[str, type[nn.Module]]] = {
    "no norm, ReLU": ("none", nn.ReLU),
    "no norm, GELU": ("none", nn.GELU),
    "no norm, tanh": ("none", nn.Tanh),
    "batch norm, GELU": ("batch", nn.GELU),
    "batch norm, GELU, recalibrated": ("batch", nn.GELU),
    "layer norm, GELU": ("layer", nn.GELU),
}


def gain(data: Data, chosen: argparse.Namespace) -> dict[str, Rows]:
    """The conductances of all arrays are off by one factor, and so are all products; digital biases are not."""
    rows: Rows = {}
    for seed, name, factor in _grid("gain", range(chosen.seeds), NETWORKS, FACTORS):
        norm, activation = NETWORKS[name]
        model = trained(norm, functools.partial(perceptron, DEEP, norm, activation), seed, data, chosen.cache)
        law = {"kind": "deviation", "g_ref_siemens": 25e-6, "shift": Polynomial(coefficients=(0.0, (factor - 1) * 25e-6))}
        pairs = {"kind": "mapping", "g_min_siemens": 0.0, "g_max_siemens": 25e-6}
        chip = _on(_profile({"weight": {"scale": {"kind": "scale"}}, "array": {"mapping": pairs, "drift": law}}), {})(model)
        if name.endswith("recalibrated"):
            chip = ns.recalibrate(chip, data.train)
        collect(rows, name, f"× {factor:g}", [ns.evaluate(chip, data.test)])
    return {"Accuracy by factor": rows}


# --- mesh
LAYOUTS: tuple[Layout, ...] = ("clements", "reck")
PORTS, SIGMAS, UNITARIES = (8, 16, 32, 64), (0.01, 0.03, 0.1), 40


def mesh(data: Data, chosen: argparse.Namespace) -> dict[str, Rows]:
    """Fidelity of meshes beside its closed form; then accuracy of a network whose matrices are meshes."""
    for part, which in (("phase noise", (1, 0)), ("coupler error", (0, 1))):
        header = " | ".join(f"σ = {sigma:g} rad, exp(−x) | Clements | Reck" for sigma in SIGMAS)
        tqdm.write(f"\nFidelity: {part}\n\n| ports | {header} |\n|---|" + "---|" * (3 * len(SIGMAS)))
        for ports in tqdm(PORTS, desc=part):
            cells = []
            for sigma in SIGMAS:
                lost = expected_infidelity(ports, *(sigma * one for one in which))
                cells += [f"{torch.tensor(-lost).exp():.4f}", *(_fidelity(ports, layout, sigma, which) for layout in LAYOUTS)]
            tqdm.write(f"| {ports} | " + " | ".join(cells) + " |")
    rows: Rows = {}
    errors = {"phase noise": "offset_sigma_rad", "coupler error": "splitter_sigma_rad"}
    for seed, layout, ports, what, sigma in _grid("mesh", range(chosen.seeds), LAYOUTS, (8, 64), errors, SIGMAS):
        model = trained("none", _small, seed, data, chosen.cache)
        circuit = {"kind": "mzi_mesh", "layout": layout, "ports": ports, errors[what]: sigma}
        chip = _on(_profile({"weight": {"scale": {"kind": "scale"}}, "array": {"mesh": circuit}}), {})(model)
        collect(rows, f"{layout.capitalize()}, {ports} ports, {what}", f"σ = {sigma:g} rad", over_chips(chip, data, chosen.chips))
    return {"Accuracy": rows}


def _fidelity(ports: int, layout: Layout, sigma: float, which: tuple[int, int]) -> str:
    """Mean of random unitaries, one chip each, with half the width of its 95 % interval."""
    like, draw = torch.empty(0, dtype=torch.float64), stream(0, "mesh study", layout)
    wanted = torch.linalg.qr(torch.complex(*draw.normal((2, UNITARIES, ports, ports), like=like)))[0]
    offset = which[0] * sigma * draw.child("phase").normal((UNITARIES, ports * ports), like=like)
    splitters = which[1] * sigma * draw.child("splitters").normal((UNITARIES, interferometers(ports), 2), like=like)
    got = mesh_matrix(driven_phases(mesh_phases(wanted, layout), layout, offset=offset), layout, splitters=splitters)
    found = mean_interval(mesh_fidelity(wanted, got).numpy())
    return f"{found.value:.4f} ± {(found.high - found.low) / 2:.4f}"


# --- power
POWERS = (1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3)
LINK = ns.Link(1.0, 10e9, 50.0, rin_db_per_hz=-145.0, losses_db={"coupler": 1.5, "modulator": 3.0}, balanced=True)


def power(data: Data, chosen: argparse.Namespace) -> dict[str, Rows]:
    """Light per input at the source, against accuracy; trained digitally, and trained at that power."""
    rows: Rows = {}
    for seed, watts in _grid("power", range(chosen.seeds), POWERS):
        detector = {"kind": "detector", "power_w": watts * LINK.transmission, "responsivity_a_per_w": LINK.responsivity_a_per_w}
        detector |= {"bandwidth_hz": LINK.bandwidth_hz, "load_ohm": LINK.load_ohm, "rin_db_per_hz": LINK.rin_db_per_hz}
        link = _profile(
            {
                "input": {"scale": {"kind": "scale", "per": "vector"}, "dac": {"kind": "quantize", "levels": 256, "low": 0.0}},
                "weight": {"scale": {"kind": "scale", "per": "vector"}, "quantize": {"kind": "quantize", "levels": 255}},
                "output": {"noise": detector},
            }
        )
        column = f"{1e6 * watts:g} µW"
        nets = {
            "trained digitally": trained("none", _small, seed, data, chosen.cache),
            "trained at that power": trained(f"link, {watts}", _small, seed, data, chosen.cache, on_hardware=_on(link, {})),
        }
        for row, model in nets.items():
            collect(rows, row, column, over_chips(_on(link, {})(model), data, chosen.chips))
    tqdm.write("\n| power of the source | SNR at full scale | effective bits |\n|---|---|---|")
    for watts in POWERS:
        found = ns.link_budget(LINK, watts)
        tqdm.write(f"| {1e6 * watts:g} µW | {found.snr_db:.1f} dB | {found.enob:.2f} |")
    return {"Accuracy by power of the source": rows}


def _small() -> nn.Module:
    return ns.models.mlp(list(SIZES), init="kaiming")


def _profile(chain: Mapping[str, Any]) -> Profile:
    return Profile("study", "the chain of this study", "analog", ChainSpec.model_validate(chain))


def _on(profile: str | Profile, changes: Mapping[str, Any]) -> Callable[[nn.Module], nn.Module]:
    """What puts a model on that hardware, as chip 0."""
    return lambda model: ns.to_analog(model, profile, seed=0, overrides={"*": changes} if changes else None)


def _grid(name: str, *axes: Any) -> Any:
    """Every combination of the axes, with a progress bar."""
    return tqdm(list(itertools.product(*axes)), desc=name, dynamic_ncols=True)


STUDIES = {study.__name__: study for study in (noise, drift, gain, mesh, power)}


def main() -> None:
    """Run one study, print its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=sorted(STUDIES))
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=3, help="trained networks")
    parser.add_argument("--chips", type=int, default=3, help="of each")
    parser.add_argument("--cache", type=Path, default=Path("runs/analog_studies"))
    parser.add_argument("--json", type=Path, help="write mean and ends of the interval, by table, row and column")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    tables = STUDIES[chosen.study](load_data(chosen.data), chosen)
    for title, rows in tables.items():
        show(title, rows)
    if chosen.json:
        plain = {
            title: {row: {c: interval(v)[:3] for c, v in cells.items()} for row, cells in rows.items()} for title, rows in tables.items()
        }
        chosen.json.write_text(json.dumps(plain, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()

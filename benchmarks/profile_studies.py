"""The same trained CNN on devices: all profiles that come with neurosim, and what mapping and repair make of memory cells.

    python benchmarks/profile_studies.py profiles mnist5k.h5 --json docs/figures/profiles.json && python docs/figures/profiles.py
    python benchmarks/profile_studies.py mapping mnist5k.h5

Where inputs go in many passes or weights lie in many slices, fewer images and chips are taken: the table says how many.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from small_networks import FIRST_CHIP, Data, Rows, collect, convolutional, interval, load_data, over_chips, show, text, trained
from tqdm import tqdm

import neurosim as ns
from neurosim.analysis.cost_report import si
from neurosim.hardware.profile import Profile

MANY = 16  #: products of a layer (passes × planes of conductances) above which a profile is slow
DAY = 86400.0


def profiles(chosen: argparse.Namespace) -> None:
    """One network on chips of every profile with a product chain."""
    data = load_data(chosen.data, chosen.images)
    model = trained("cnn", convolutional, 0, data, chosen.cache, epochs=6)
    digital = ns.evaluate(model, data.test)
    found: dict[str, Any] = {"digital": digital, "images": chosen.images, "chips": chosen.chips, "profiles": {}}
    print(f"digital: {100 * digital:.1f} % of {chosen.images} images")
    print("\n| profile | chips | images | digital, % | accuracy, % | energy of an image |\n|---|---|---|---|---|---|")
    devices = [ns.load_profile(name) for name in chosen.only or ns.list_profiles()]
    for profile in tqdm(sorted((one for one in devices if one.neuron is None), key=_products), dynamic_ncols=True):
        slow = _products(profile) > MANY
        chips, images = (chosen.slow_chips, chosen.slow_images) if slow else (chosen.chips, chosen.images)
        sample = load_data(chosen.data, images)
        chip = ns.to_analog(model, profile, seed=0)
        energy = ns.cost(chip, data.test[0][0][:1]).energy_j
        values, reference = over_chips(chip, sample, chips), ns.evaluate(model, sample.test)
        found["profiles"][profile.name] = {"technology": profile.technology, "images": images, "digital": reference, "accuracy": values}
        found["profiles"][profile.name] |= {"interval": interval([values])[1:3], "energy_j": energy}
        tqdm.write(f"| {profile.name} | {chips} | {images} | {100 * reference:.1f} | {text([values])} | {si(energy, 'J')} |")
        if chosen.json:
            chosen.json.write_text(json.dumps(found, indent=1) + "\n")


def _products(profile: Profile) -> int:
    """Products of a layer: passes of its inputs times planes of its weights."""
    passes: int = getattr(profile.chain.input.slices, "passes", 1)
    planes: int = getattr(profile.chain.array.mapping, "planes", 1)
    return passes * planes


MAPPINGS: dict[str, dict[str, Any]] = {
    "pairs": {},
    "offset": {"array.mapping.scheme": "offset"},
    "pairs of 2 slices": {"array.mapping.slices": 2, "array.mapping.weight_bits": 7},
}
DEVICES: dict[str, tuple[str, dict[str, Any]]] = {
    "16 levels": ("ideal", {"array.mapping.levels": 16}),
    "pcm_inmemory": ("pcm_inmemory", {}),
    "rram_wan": ("rram_wan", {}),
}


def mapping(chosen: argparse.Namespace) -> None:
    """How weights lie in cells, by device, at once and after a day, and what new statistics of the norms repair."""
    data = load_data(chosen.data, chosen.images)
    rows: Rows = {}
    axes = [(seed, device, how) for seed in range(chosen.seeds) for device in DEVICES for how in MAPPINGS]
    for seed, device, how in tqdm(axes, dynamic_ncols=True):
        model = trained("cnn", convolutional, seed, data, chosen.cache, epochs=6)
        profile, cell = DEVICES[device]
        changes = ({} if "slices" in how else cell) | MAPPINGS[how]  # slices have the levels of their bits
        chip = ns.to_analog(model, profile, seed=0, overrides={"*": changes} if changes else None)
        row = f"{device}, {how}"
        collect(rows, row, "digital", [ns.evaluate(model, data.test)])
        collect(rows, row, "at once", over_chips(chip, data, chosen.chips))
        collect(rows, row, "after a day", over_chips(chip, data, chosen.chips, DAY))
        collect(rows, row, "after a day, norms recalibrated", _recalibrated(chip, data, chosen.chips))
    show("Accuracy", rows)


def _recalibrated(chip: torch.nn.Module, data: Data, chips: int) -> list[float]:
    """A day after programming, with statistics of the norms taken then, on each chip, from 100 images."""
    found = []
    for seed in range(FIRST_CHIP, FIRST_CHIP + chips):
        ns.program(chip, seed, seconds=DAY)
        found.append(ns.evaluate(ns.recalibrate(chip, data.train[:1]), data.test))
    return found


def main() -> None:
    """Run one study, print its table."""
    studies = {"profiles": profiles, "mapping": mapping}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=sorted(studies))
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=3, help="trained networks of the study of mappings")
    parser.add_argument("--chips", type=int, default=25, help="of each profile, or of each cell of the table")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--slow-chips", type=int, default=3, help="of profiles with many passes or slices")
    parser.add_argument("--slow-images", type=int, default=100, help="likewise")
    parser.add_argument("--only", nargs="+", help="profiles by name or path")
    parser.add_argument("--cache", type=Path, default=Path("runs/analog_studies"))
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    studies[chosen.study](chosen)


if __name__ == "__main__":
    main()

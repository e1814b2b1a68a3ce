"""What a cell must be: on/off ratio × error of programming × mapping × repair, of a small CNN that was trained digitally.

    python benchmarks/cell_studies.py mnist5k.h5

Pairs of cells of up to 25 µS whose only error is a normal one of programming; nothing is converted. Networks and repairs are those of
benchmarks/repair_studies.py. Differences are paired: of the same chips, with the interval over trainings.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from repair_studies import CALIBRATION, CHEAP, REPAIRS, equalised
from small_networks import FIRST_CHIP, Rows, Values, collect, convolutional, load_data, show, trained
from tqdm import tqdm

import neurosim as ns
from neurosim.sweep.statistics import mean_interval

LARGEST = 25e-6  #: conductance, S
RATIOS = (100, 5, 2)  #: of the largest conductance to the smallest
ERRORS = (3, 6, 12)  #: of programming, per cent of the largest conductance
MAPPINGS = ("min-max", "equalised")
SHOWN = (*CHEAP, "batch statistics")
ALIKE = (((2, 3), (100, 6)), ((2, 6), (100, 12)))  #: ratio and error: twice the error in a range of twice the width


def cell(ratio: int, percent: int) -> dict[str, Any]:
    """What such cells change in the profile ``ideal``."""
    error = {"kind": "polynomial", "coefficients": [percent / 100 * LARGEST]}
    return {
        "array.mapping.g_min_siemens": LARGEST / ratio,
        "array.programming": {"kind": "deviation", "g_ref_siemens": LARGEST, "sigma": error},
    }


def row(ratio: int, percent: int, mapping: str) -> str:
    """How tables call it."""
    return f"ratio {ratio}, σ {percent} %, {mapping}"


def difference(better: Values, worse: Values) -> str:
    """The mean of first − second, in points of per cent."""
    found = mean_interval([fmean(one) - fmean(other) for one, other in zip(better, worse, strict=True)])
    return f"{100 * found.value:+.1f}" + (f" [{100 * found.low:.1f}, {100 * found.high:.1f}]" if found.known else "")


def differences(rows: Rows) -> None:
    """What repairs and the mapping gain, by cell, and whether the error in shares of the range is all that counts."""
    cells = list(itertools.product(RATIOS, ERRORS))
    tqdm.write("\nDifferences\n\n|  | " + " | ".join(f"ratio {ratio}, σ {percent} %" for ratio, percent in cells) + " |")
    tqdm.write("|---|" + "---|" * len(cells))
    plain, equal = ([rows[row(*one, mapping)] for one in cells] for mapping in MAPPINGS)
    for repair in SHOWN[1:]:
        tqdm.write(f"| {repair} − none | " + " | ".join(difference(one[repair], one["none"]) for one in plain) + " |")
    for repair in ("none", "recalibration"):
        found = (difference(one[repair], other[repair]) for one, other in zip(equal, plain, strict=True))
        tqdm.write(f"| equalised − min-max; repair: {repair} | " + " | ".join(found) + " |")
    for narrow, wide in ALIKE:
        one, other = (rows[row(*each, "min-max")]["none"] for each in (narrow, wide))
        tqdm.write(f"\nratio {narrow[0]} at {narrow[1]} % − ratio {wide[0]} at {wide[1]} %: {difference(one, other)}")


def main() -> None:
    """Run the study, print its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of trained networks")
    parser.add_argument("--chips", type=int, default=2, help="of each network")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--cache", type=Path, default=Path("runs/analog_studies"))
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    data = load_data(chosen.data, chosen.images)
    rows: Rows = {row(*one): {} for one in itertools.product(RATIOS, ERRORS, MAPPINGS)}
    for seed in chosen.seeds:
        digital = trained("cnn", convolutional, seed, data, chosen.cache, epochs=6)
        networks = dict(zip(MAPPINGS, (digital, equalised(digital, torch.cat([x for x, _ in data.train[:CALIBRATION]]))), strict=True))
        for ratio, percent, mapping in tqdm([*itertools.product(RATIOS, ERRORS, MAPPINGS)], f"training {seed}", dynamic_ncols=True):
            chip = ns.to_analog(networks[mapping], "ideal", seed=0, overrides={"*": cell(ratio, percent)})
            found: dict[str, list[float]] = {name: [] for name in SHOWN}
            for number in range(FIRST_CHIP, FIRST_CHIP + chosen.chips):
                ns.program(chip, number)
                for name in SHOWN:
                    found[name].append(REPAIRS[name](chip, data))
            collect(rows, row(ratio, percent, mapping), "digital", [ns.evaluate(digital, data.test)])
            for name, values in found.items():
                collect(rows, row(ratio, percent, mapping), name, values)
    show("Accuracy by cell", rows)
    differences(rows)
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()

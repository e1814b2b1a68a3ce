"""Does a norm inside a spiking network help, and do excitatory-inhibitory layers do without one? Tables over several seeds.

    python benchmarks/spiking_studies.py ei mnist5k.h5      # none, batch norm, E-I and E-I minus each part, by depth
    python benchmarks/spiking_studies.py norms mnist5k.h5   # norms of a small CNN, by number of steps

Every cell trains the shipped config (configs/deepeisnn, configs/mpbn) with a few settings changed; the settings are printed with the table.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from tqdm import tqdm

import neurosim as ns

Cells = dict[str, dict[str, list[str]]]  #: settings by row and column

PLAIN = ["model.layers=plain", "train.optimizer={kind: sgd, lr: 0.1, momentum: 0.9, weight_decay: 1e-4}"]
VARIANTS = {
    "no norm": [*PLAIN, "model.norm=none"],
    "batch norm": [*PLAIN, "model.norm=bn"],
    "E-I, full": [],
    "− E-I Init": ["model.ei={first_weights: kaiming_abs}"],
    "− E-I Prop": ["model.ei={prop: false}"],
    "− divisive": ["model.ei={divisive: false}"],
    "− subtractive": ["model.ei={subtractive: false}"],
}
STUDIES = {"ei": "pkg:deepeisnn/mnist5k_mlp.yaml", "norms": "pkg:mpbn/mnist5k_cnn.yaml"}


def main() -> None:
    """Train every cell, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=sorted(STUDIES))
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--depths", type=int, nargs="+", default=[2, 8, 12])
    parser.add_argument("--steps", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--set", action="append", default=[], help="a setting of every cell, such as train.epochs=5")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    cells = by_depth(chosen.depths) if chosen.study == "ei" else by_norm(chosen.steps)
    found: dict[str, dict[str, list[float]]] = {row: {column: [] for column in columns} for row, columns in cells.items()}
    jobs = [(row, column, seed) for seed in range(chosen.seeds) for row, columns in cells.items() for column in columns]
    with tempfile.TemporaryDirectory() as folder, tqdm(jobs) as bar:
        for row, column, seed in bar:
            bar.set_description(f"{row}, {column}")
            settings = [f"data.path={chosen.data.resolve()}", f"log.dir={folder}", f"seed={seed}", *cells[row][column], *chosen.set]
            found[row][column].append(accuracy(STUDIES[chosen.study], settings))
            if chosen.json:
                chosen.json.write_text(json.dumps(found, indent=1, ensure_ascii=False))
    show(found, cells)


def by_depth(depths: list[int]) -> Cells:
    """Variants of a multilayer perceptron, whose depth is its number of linear layers."""
    return {
        name: {f"depth {depth}": [f"model.sizes={[784, *[128] * (depth - 1), 10]}", *settings] for depth in depths}
        for name, settings in VARIANTS.items()
    }


def by_norm(steps: list[int]) -> Cells:
    """Norms of a small CNN."""
    return {
        norm: {f"T = {count}": [f"model.norm={norm}", f"model.time_steps={count}"] for count in steps}
        for norm in ("none", "bn", "tdbn", "mpbn", "bn+mpbn")
    }


def accuracy(config: str, settings: list[str]) -> float:
    """Of the test set after training; a run that diverges has guessed."""
    try:
        return float(ns.train(config, overrides=settings).metrics["test_accuracy"])
    except ns.RunError as error:
        tqdm.write(f"{error}")
        return 0.1


def show(found: dict[str, dict[str, list[float]]], cells: Cells) -> None:
    """Mean and standard deviation over seeds, as Markdown; then what was set for each row."""
    columns = list(next(iter(found.values())))
    print("| | " + " | ".join(columns) + " |\n|---|" + "---|" * len(columns))
    for row, values in found.items():
        parts = []
        for column in columns:
            spread = statistics.stdev(values[column]) if len(values[column]) > 1 else 0.0
            parts.append(f"{100 * statistics.mean(values[column]):.1f} ± {100 * spread:.1f}")
        print(f"| {row} | " + " | ".join(parts) + " |")
    print()
    for row, settings in cells.items():
        print(f"{row}: " + (" ".join(f"--set '{one}'" for one in next(iter(settings.values()))) or "the config as it is"))


if __name__ == "__main__":
    main()

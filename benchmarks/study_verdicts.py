"""What the studies of activations and norms say: their tables, what was expected, and whether it came so.

    neurosim study pkg:studies/activations.yaml --set data.path=mnist5k.h5 # and all others that EXPECTED names
    python benchmarks/study_verdicts.py studies

Every expectation is a difference that is taken within each seed and averaged over what it does not name; its 95 % interval is over seeds.
``confirmed``: the interval is on the expected side; ``not confirmed``: on the other; ``undecided``: it holds both. Of twenty that compare
equals, one is expected to be called something else.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from study_expectations import EXPECTED, Levels, Mean
from torch import Tensor
from tqdm import tqdm

import neurosim as ns
from neurosim.datasets import batches
from neurosim.studies import analysis
from neurosim.studies.report import StudyResult
from neurosim.sweep.statistics import Floats, Interval


def by_seed(study: StudyResult, metric: str | None = None) -> Mean:
    """Means of a metric over chosen levels, in per cent; LookupError where one was not run."""
    values = 100 * study.values(metric)

    def mean(**at: Levels) -> Floats:
        found = values
        for axis, (factor, levels) in enumerate(study.factors.items()):
            chosen = at.pop(factor, tuple(levels))
            names = list(levels)
            if missing := [one for one in ((chosen,) if isinstance(chosen, str) else chosen) if one not in names]:
                raise LookupError(", ".join(missing))
            found = found.take([names.index(one) for one in ((chosen,) if isinstance(chosen, str) else chosen)], axis)
        if at:
            raise SystemExit(f"the study {study.name} has no factor {', '.join(at)}")
        return np.asarray(found.mean(axis=tuple(range(found.ndim - 1))))

    return mean


def verdict(found: Interval, limit: float, below: bool) -> str:
    """In a word."""
    if not found.known or found.low <= limit <= found.high:
        return "undecided"
    return "confirmed" if (found.high < limit) == below else "not confirmed"


def table(study: StudyResult, metric: str | None = None) -> str:
    """Every combination, mean ± standard deviation and interval in per cent; the last factor across, a dash where one is excluded."""
    *rows, across = study.factors
    cells: dict[tuple[str, ...], dict[str, str]] = {}
    for row in study.table(metric):
        ends = f" [{100 * row.low:.1f}, {100 * row.high:.1f}]" if np.isfinite(row.low) else ""
        told = cells.setdefault(tuple(row.levels[name] for name in rows), dict.fromkeys(study.factors[across], "–"))
        told[row.levels[across]] = f"{100 * row.mean:.1f} ± {100 * row.sd:.1f}{ends}"
    head = [*rows, *(f"{across} {level}" for level in study.factors[across])]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join((*names, *texts.values()))} |" for names, texts in cells.items())])


def dead_units(path: str, images: list[tuple[Tensor, Tensor]]) -> float:
    """Share of the units behind activations that are 0 for every image, in per cent."""
    model = ns.load(path).eval()
    largest: dict[str, Tensor] = {}

    def watch(name: str, out: Tensor) -> None:
        here = out.detach().abs().amax(0)
        largest[name] = torch.maximum(largest[name], here) if name in largest else here

    hooks = [
        module.register_forward_hook(lambda _, __, out, name=name: watch(name, out))
        for name, module in model.named_modules()
        if name.startswith("act")
    ]
    with torch.no_grad():
        for batch, _ in images:
            model(batch)
    for hook in hooks:
        hook.remove()
    return 100 * float((torch.cat(list(largest.values())) == 0).double().mean())


def show_dead_units(study: StudyResult, data: Path) -> None:
    """A row for every combination: mean over seeds with its interval."""
    images = list(batches(ns.load_dataset("hdf5_images", path=str(data)).test, 500))
    shares: dict[tuple[str, ...], list[float]] = {}
    for run in tqdm(study.runs, desc="dead units"):
        shares.setdefault(tuple(run.levels.values()), []).append(dead_units(run.path, images))
    tqdm.write(f"\n| {' | '.join(study.factors)} | dead units (%) |\n{'|---' * (len(study.factors) + 1)}|")
    for names, values in shares.items():
        found = analysis.over_seeds(np.array(values)).within(0.0, 100.0)
        tqdm.write(f"| {' | '.join(names)} | {found.value:.1f} [{found.low:.1f}, {found.high:.1f}] |")


def main() -> None:
    """Print tables and verdicts of the studies that are there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", type=Path, help="the folder with their folders")
    parser.add_argument("--only", nargs="+", choices=sorted(EXPECTED), default=list(EXPECTED))
    parser.add_argument("--data", type=Path, help="the images: also count units of the study hysteresis that are never on")
    chosen = parser.parse_args()
    for name in chosen.only:
        if not (chosen.studies / name / "results.json").is_file():
            tqdm.write(f"\n## {name}: not run\n")
            continue
        study = ns.load_study(chosen.studies / name)
        tqdm.write(f"\n## {name}, {len(study.runs)} runs\n\n{table(study)}\n\n| expected | found (points) | |\n|---|---|---|")
        for one in EXPECTED[name]:
            try:
                found = analysis.over_seeds(one.number(by_seed(study, one.metric)))
            except LookupError as error:
                tqdm.write(f"| {one.text} | {error} not run | |")
                continue
            ends = f"{found.low:+.1f}, {found.high:+.1f}" if found.known else "unknown"
            tqdm.write(f"| {one.text} | {found.value:+.1f} [{ends}] | {verdict(found, one.limit, one.below)} |")
        if name == "hysteresis" and chosen.data is not None:
            show_dead_units(study, chosen.data)


if __name__ == "__main__":
    main()

"""How steep activations are before and after training: E f'² under what comes to them, for the runs of the study learned_activations.

    neurosim study pkg:studies/learned_activations.yaml --set data.path=mnist5k.h5
    python benchmarks/activation_slopes.py studies/learned_activations --data mnist5k.h5

f' is the slope that backward takes, at the inputs of the activations for the images of the test set, with the noise of the hardware where
there is some; E is over images and neurons, and the mean of the layers. *before* is the network as its seed makes it. Training changes the
curve and what comes to it. *of the curve* is the change of E f'² by the trained curves alone, at the inputs of the untrained network, so 0
for relu and gelu. Verdicts as in study_verdicts.py: mean over seeds, 95 % interval; changes in per cent.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from study_verdicts import verdict
from torch import Tensor, nn
from tqdm import tqdm

import neurosim as ns
from neurosim import training
from neurosim.datasets import batches
from neurosim.studies import analysis
from neurosim.sweep.statistics import Floats

LEARNED = ("prelu", "rational", "one rational", "step_slopes", "smart_mixed")


class Slopes(NamedTuple):
    """E f'² of a run."""

    before: float
    after: float
    curve: float  #: of the trained curves at the first inputs


def inputs_of(model: nn.Module, images: Tensor) -> list[tuple[str, Tensor]]:
    """What comes to each activation, call by call: one curve may serve several layers."""
    found: list[tuple[str, Tensor]] = []
    acts = [(name, module) for name, module in model.named_modules() if name.startswith("act") and "." not in name]
    hooks = [module.register_forward_pre_hook(lambda _, args, name=name: found.append((name, args[0].detach()))) for name, module in acts]
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()
    return found


def steepness(model: nn.Module, places: Sequence[tuple[str, Tensor]]) -> float:
    """E f'² at these inputs."""
    found = []
    for name, place in places:
        x = place.clone().requires_grad_()
        (slope,) = torch.autograd.grad(model.get_submodule(name)(x).sum(), x)
        found.append(float(slope.double().square().mean()))
    return float(np.mean(found))


def slopes_of(path: Path, images: Tensor) -> Slopes:
    """Of one run."""
    first = training.rebuild(ns.load_config(path / "resolved.yaml")).eval()
    trained = ns.load(path).eval()
    start = inputs_of(first, images)
    return Slopes(steepness(first, start), steepness(trained, inputs_of(trained, images)), steepness(trained, start))


def main() -> None:
    """Print table and verdicts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="the folder of the study")
    parser.add_argument("--data", type=Path, required=True, help="the images")
    chosen = parser.parse_args()
    study = ns.load_study(chosen.study)
    images = next(iter(batches(ns.load_dataset("hdf5_images", path=str(chosen.data)).test, 1000)))[0]
    found: dict[tuple[str, str], list[Slopes]] = {}
    for run in tqdm(study.runs, desc="slopes"):
        found.setdefault((run.levels["activation"], run.levels["leakage"]), []).append(slopes_of(Path(run.path), images))
    change: dict[tuple[str, str], Floats] = {}
    tqdm.write("\n| activation | leakage | before | after | change (%) | of the curve (%) |\n|---|---|---|---|---|---|")
    for levels, runs in found.items():
        before, after, curve = np.array(runs).T
        change[levels] = 100 * (after / before - 1)
        told = [f"{one.mean():.3f}" for one in (before, after)]
        for one in (change[levels], 100 * (curve / before - 1)):
            over = analysis.over_seeds(one)
            told.append(f"{over.value:+.0f} [{over.low:+.0f}, {over.high:+.0f}]")
        tqdm.write(f"| {' | '.join((*levels, *told))} |")
    tqdm.write("\n| expected | found (per cent) | |\n|---|---|---|")
    for name in LEARNED:
        noisy, clean = change[name, "0.5"], change[name, "0"]
        for text, number in ((f"{name}: slopes shrink under noise", noisy), ("… more than without", noisy - clean)):
            over = analysis.over_seeds(number)
            tqdm.write(f"| {text} | {over.value:+.0f} [{over.low:+.0f}, {over.high:+.0f}] | {verdict(over, 0.0, below=True)} |")


if __name__ == "__main__":
    main()

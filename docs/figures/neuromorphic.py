"""Draw ``neuromorphic.png``: accuracy against threshold mismatch. Run it from the repository: ``python docs/figures/neuromorphic.py``."""

from __future__ import annotations

import tempfile
from pathlib import Path

import neurosim as ns
from neurosim import plot

SPREADS = [0.0, 0.25, 0.5, 0.75, 1.0, 1.25]
CHIPS = 20
CONFIGS = {"neuromorphic_digital8": "digital8_sensitivity", "bss2_spiking": "bss2_sensitivity"}


def curve(profile: str, config: str, folder: str) -> plot.Curve:
    """Train on one chip, then measure others with more and more mismatch; the band spans all of them but the best and the worst."""
    source = f"pkg:neuromorphic/{config}.yaml"
    run = ns.train(source, overrides=f"log.dir={folder}")
    plan = ns.load_config(source).model_dump()["sensitivity"]
    axes = {"spread": {"neuron.threshold.spread": SPREADS}}
    data = ns.datasets.batches(ns.load_dataset("digits").test, batch_size=360)
    results = ns.sensitivity(ns.load(run.path), data, {**plan, "axes": axes, "chips": CHIPS, "scopes": ["all"]}).results
    found = {}
    for point, spread in enumerate(results.axes["spread"]):
        found[float(spread)] = sorted(100 * float(value) for value in results.trials["value"][results.where(point=point)])
    values = [found[spread] for spread in SPREADS]
    return plot.Curve(profile, SPREADS, [sum(one) / len(one) for one in values], [one[1] for one in values], [one[-2] for one in values])


def main() -> None:
    """Draw and save."""
    with tempfile.TemporaryDirectory() as folder:
        curves = [curve(profile, config, folder) for profile, config in CONFIGS.items()]
    for one in curves:
        print(one.label, [f"{x:g}: {y:.1f} [{low:.1f}, {high:.1f}]" for x, y, low, high in zip(*one[1:5], strict=True)])
    figure, _ = plot.noise_curve(curves, xlabel="spread of the thresholds from neuron to neuron", ylabel="accuracy on unseen digits (%)")
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=130, metadata={"Software": None})


if __name__ == "__main__":
    main()

"""Draws docs/figures/delta_drift.png: what noisy accumulators do to delta inference, with and without refreshing them."""

from __future__ import annotations

from pathlib import Path

import torch
from scipy import stats
from torch import nn

import neurosim as ns
from neurosim.plot import Curve, noise_curve

FRAMES, NOISE, BATCH, OUTPUTS, EVERY = 64, 0.01, 10, 30, 16


def curve(label: str, refresh_every: int | None) -> Curve:
    """The measured error, in units of the noise of a frame, and the 95 % interval in which its law expects it."""
    layer = nn.Linear(20, OUTPUTS)
    network = ns.nn.delta_inference(nn.Sequential(ns.nn.DeltaActivation(0.1), layer), noise=NOISE, refresh_every=refresh_every)
    x = torch.cumsum(0.1 * ns.random.stream(0, "frames").normal((FRAMES, BATCH, 20), like=torch.empty(0)), 0)
    error = network(x, stream=ns.random.stream(0, "accumulators")) - network.dense(x)
    measured = error.square().mean((1, 2)).sqrt() / NOISE
    n = BATCH * OUTPUTS
    low, high = (float(stats.chi2.ppf(at, n) / n) ** 0.5 for at in (0.025, 0.975))
    law = [(t % (refresh_every or FRAMES) + 1) ** 0.5 for t in range(FRAMES)]
    frames = list(range(1, FRAMES + 1))
    return Curve(label, frames, measured.tolist(), [low * value for value in law], [high * value for value in law])


if __name__ == "__main__":
    curves = [curve("never refreshed", None), curve(f"refreshed every {EVERY} frames", EVERY)]
    fig, ax = noise_curve(curves, xlabel="frame", ylabel="error, in noise per frame")
    for line in ax.lines:
        line.set_markevery(8)
    ax.set_xscale("linear")
    ax.set_xticks([1, *range(16, FRAMES + 1, 16)], [str(t) for t in (1, *range(16, FRAMES + 1, 16))])
    fig.savefig(Path(__file__).with_suffix(".png"), dpi=110)

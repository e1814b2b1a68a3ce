"""Draws docs/figures/link_budget.png: what limits an optical link, from a microwatt to ten milliwatts."""

from __future__ import annotations

from pathlib import Path

import neurosim as ns
from neurosim.plot import link_budget

LINK = ns.Link(responsivity_a_per_w=1.0, bandwidth_hz=10e9, load_ohm=50.0, rin_db_per_hz=-145.0)
POWERS = [10.0 ** (-6 + 4 * i / 60) for i in range(61)]  # W

if __name__ == "__main__":
    fig, _ = link_budget([ns.link_budget(LINK, power) for power in POWERS])
    fig.savefig(Path(__file__).with_suffix(".png"), dpi=110)

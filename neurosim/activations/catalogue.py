"""The registry as a table, as a page, and as numbers to draw."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from textwrap import wrap
from typing import Any, NamedTuple

import torch
from torch import Tensor

from neurosim.activations.base import ACTIVATIONS, Curve, Entry, Layer
from neurosim.activations.cost import FOLDS, Fold
from neurosim.activations.facts import Facts, facts
from neurosim.activations.moments import values_and_slopes
from neurosim.checks import number
from neurosim.citations import CITATIONS

KINDS = {
    "curve": "Curves: functions of one number",
    "random": "Curves that are drawn",
    "wrapper": "Around another activation",
    "vector": "Of a whole axis",
    "units": "With weights of their own",
    "gate": "Gates: halve an axis",
    "scores": "In place of a softmax over scores",
    "attention": "Attentions",
    "head": "Heads",
}


class Panel(NamedTuple):
    """A curve and its slope, and what noise on the input makes of the slope."""

    name: str
    x: list[float]
    y: list[float]
    slope: list[float]  #: what backward takes
    low: list[float]  #: mean of the slope under noise, minus its standard deviation
    high: list[float]  #: plus it


def table_of_activations() -> list[dict[str, str]]:
    """One row an entry, plain text: name, kind, formula, parameters, bounds, smoothness, monotone, fold, operations, hardware, citation."""
    return [row_of(ACTIVATIONS[name]) for name in ACTIVATIONS]


def row_of(entry: Entry) -> dict[str, str]:
    """The row of one entry."""
    told = facts(entry.name) if isinstance(entry, Curve) else Facts(entry, {})
    low, high = told.bounds()
    curve = isinstance(entry, Curve)
    return {
        "name": entry.name,
        "kind": entry.kind,
        "formula": entry.formula,
        "parameters": _parameters(entry),
        "bounds": f"{_number(low)} … {_number(high)}",
        "smoothness": told.smoothness if curve else "–",
        "monotone": ("yes" if told.monotone else "no") if curve else "–",
        "fold": told.fold,
        "operations": _operations(told),
        "hardware": entry.hardware,
        "citation": ", ".join(entry.citation) or "–",
    }


def _operations(told: Facts) -> str:
    """What hardware computes, as short as it can be said."""
    found = told.entry.cost if isinstance(told.entry, Layer) else told.operations
    return "–" if found is None else str(found)


def _parameters(entry: Entry) -> str:
    if not isinstance(entry, Curve) or not entry.parameters:
        return "–"
    texts = []
    for name, one in entry.parameters.items():
        value = (
            f"{one.default:.4g}"
            if isinstance(one.default, float)
            else f"{len(one.default)} numbers"
            if isinstance(one.default, tuple)
            else str(one.default)
        )
        texts.append(f"{name}={value}{' (learned)' if one.learned else ''}")
    return ", ".join(texts)


def _number(value: float) -> str:
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value + 0.0:.4g}".replace("-", "−")


def panels(sigma: float = 0.2, reach: float = 4.0) -> list[Panel]:
    """What to draw of every curve.

    Args:
        sigma: Standard deviation of the noise on the input, > 0.
        reach: x runs from −reach to reach, > 0.

    Raises:
        ConfigError: An argument is not above 0.
    """
    width, far = number("panels.sigma", sigma, gt=0), number("panels.reach", reach, gt=0)
    x = torch.linspace(-far, far, 201, dtype=torch.float64)
    return [noisy_slopes(name, facts(name), x, width) for name in ACTIVATIONS if isinstance(ACTIVATIONS[name], Curve)]


def noisy_slopes(name: str, function: Callable[[Tensor], Tensor], x: Tensor, sigma: float, draws: int = 49) -> Panel:
    """Any function as a panel.

    Args:
        name: What it is called.
        function: Element by element.
        x: Where, float64.
        sigma: Standard deviation of the noise on the input.
        draws: Points of the rule that averages over it.
    """
    noise = torch.linspace(-4, 4, draws, dtype=x.dtype)
    weights = torch.exp(-noise.square() / 2)
    weights /= weights.sum()
    y, slope = values_and_slopes(function, x)
    moved = values_and_slopes(function, x[:, None] + sigma * noise)[1]
    mean = moved @ weights
    spread = ((moved - mean[:, None]).square() @ weights).sqrt()
    return Panel(name, *(one.tolist() for one in (x, y, slope, mean - spread, mean + spread)))


_INTRODUCTION = """\
# Activations

One registry, `ns.ACTIVATIONS`: {count} entries. A config names one under `model.activation`, with parameters where it has some; a line
changes those of a model, digital, on hardware or spiking:

```python
import torch
import neurosim as ns

model = ns.models.mlp([64, 32, 10], activation={{"kind": "smelu", "b": 0.5}})
smooth = ns.swap_activation(model, "golu", gain="variance")  # the next layer's weights make up for the other second moment
print(smooth.activation_swap)

gelu = ns.activations.facts("gelu")
print(gelu.bounds(), gelu.smoothness, gelu.moments().second, gelu.gradient_noise(0.1))

unit = ns.activations.activation("jumprelu", theta=0.5)  # keeps log θ; value() gives θ, with its gradient
print(ns.activations.jump_penalty(torch.randn(100), unit.value("theta")))  # how many are above it

x = torch.linspace(-3, 3, 61)
device = ns.fit_activation(x, torch.sin(x).square())  # a measured curve; shared=True: one for all neurons
print(device.rms)
```

```yaml
model:
  kind: mlp
  sizes: [64, 32, 10]
  activation: {{kind: rational, shared: true}}
```

Every curve takes two settings more: `learn` (`true`, `false`, or names; by default what its authors learn) and `channels` (a number a
channel for each learned parameter, as PReLU has them); `seed` draws λ and κ of `apa` and `aglu` evenly in 0 … 1, as their authors start
them, and ½ is their mean. Numbers of 16 bits are computed in float32, infinite inputs give the limit of the curve (torch's own modules of
`gelu`, `silu`, `mish`, `hardswish` and `softsign` give no number; `learn: false` takes the ones from here), and without gradients large
tensors are computed in blocks that stay in the cache. Facts (bounds, smoothness, where it rises, f(0) = 0) hold
for the parameters as they are, and tests check them on values. `moments(q)` are integrals over N(0, q); `gradient_noise(σ)` is the mean
square by which noise on the input moves the gradient: ½ at 0 for ReLU whatever σ, 93 times that of GELU at σ = 0.0927, and 12 times
averaged over N(0, 1). `glu` gates with the first half of its axis, torch's `F.glu` with the second.
Your own: `ns.activations.curve("name", "formula", bounds=…, smoothness=…, hardware=…)(function)`.

![Curves and slopes](figures/activations.png)

*Blue: the curve; orange: the slope that backward takes; band: mean ± standard deviation of the slope under noise of σ = 0.2 on the input.*

`neurosim catalogue activations` prints the table, `--plot FILE` draws the figure; `neurosim cite NAME` gives the BibTeX of a work. Every
entry has a [page of its own](catalogue/activations/README.md), with its figure, its numbers, and its sources.

Operations are those of an element in evaluation, with the parameters of the table: additions (+), products (×), divisions (÷), roots (√),
look-ups of a function of one number such as tanh (f), and comparisons (<); after a stroke, once for all elements that share a statistic.
Those of attentions are of a score, beside products of matrices. Constants are worked out beforehand. What folds into the layers around:
{folds}.

| name | formula | parameters | bounds | smooth | rises | folds | operations | E f² | E f′² |
|---|---|---|---|---|---|---|---|---|---|
{rows}
"""


def page_of_activations() -> str:
    """The page of the documentation, Markdown."""
    rows = []
    for row in table_of_activations():
        if row["kind"] == "curve":
            moments = facts(row["name"]).moments()
            cells = [_link(row["name"]), _cell(row["formula"]), row["parameters"], row["bounds"], row["smoothness"], row["monotone"]]
            cells += [row["fold"], row["operations"]]
            rows.append(f"| {' | '.join([*cells, f'{moments.second:.4f}', f'{moments.slope:.4f}'])} |")
    parts = [_INTRODUCTION.format(count=len(ACTIVATIONS), folds=_wrapped(FOLDS), rows="\n".join(rows))]
    for kind, title in KINDS.items():
        if kind != "curve":
            parts.append(f"## {title}\n\n| name | formula | folds | operations | on analog hardware |\n|---|---|---|---|---|")
            rows_of_kind = [row for row in table_of_activations() if row["kind"] == kind]
            for row in rows_of_kind:
                cells = [_link(row["name"]), _cell(row["formula"]), row["fold"], row["operations"], row["hardware"]]
                parts.append(f"| {' | '.join(cells)} |")
            parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def _wrapped(folds: Mapping[Fold, str]) -> str:
    """The meanings of the classes, as a sentence of short lines."""
    return "\n".join(wrap("; ".join(f"`{name}`, {meaning}" for name, meaning in folds.items()), 138, break_on_hyphens=False))


def _link(name: str) -> str:
    return f"[`{name}`](catalogue/activations/{name}.md)"


def work_of(name: str) -> str:
    """A work of :data:`neurosim.citations.CITATIONS` on one line: first author, title, year."""
    fields: dict[str, Any] = CITATIONS[name].fields
    authors = fields["author"].split(" and ")
    first = authors[0].split(",")[0]
    return f"{_read_tex(first)}{' et al.' if len(authors) > 1 else ''}, “{_read_tex(fields['title'])}”, {fields['year']}"


def _read_tex(text: str) -> str:
    """Accents and braces of BibTeX as letters."""
    accents = {"'": "\u0301", '"': "\u0308", "`": "\u0300", "c ": "\u0327"}
    marked = re.sub(r"\\(['\"`]|c )(\w)", lambda found: found[2] + accents[found[1]], text)
    return unicodedata.normalize("NFC", re.sub(r"[{}]", "", marked).replace("$^2$", "²"))


def _cell(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")

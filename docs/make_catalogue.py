"""Writes docs/catalogue: a page and a figure for every activation and every norm that the registries hold.

``python docs/make_catalogue.py`` writes all of it and removes what belongs to no entry; ``--pages`` leaves the figures as they are. A test
compares the pages with what the code says.
"""

from __future__ import annotations

import argparse
import html
import inspect
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from catalogue_figures import of_activation, of_norm
from catalogue_wholes import caption_of, of_whole

import neurosim as ns
from neurosim.activations import FOLDS, Curve, facts
from neurosim.activations.catalogue import KINDS, row_of, work_of
from neurosim.activations.facts import IN_MODELS
from neurosim.catalogue import NORMS, table_of_norms
from neurosim.citations import CITATIONS
from neurosim.norms import FOLD_CLASSES
from neurosim.norms import Entry as NormEntry

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs/catalogue"
_MADE = "<!-- Made by `python docs/make_catalogue.py`; change that, or the descriptions in the code, and not this file. -->\n"
_NOISE = "Band: standard deviation of the slope under noise of σ = 0.2 on the input; green: its mean."
_CAPTIONS = {
    "curve": f"Blue: the curve; orange: the slope that backward takes. {_NOISE}",
    "wrapper": f"With its first settings, in evaluation. Blue: the curve; orange: its slope. {_NOISE}",
    "random": "Outputs in training, over 201 draws.",
}
_SWEPT = "Outputs while one input moves and the others stand still; orange: the slope of the first."
_NORM = (
    "Left: one output against the input at its place, in evaluation, while all other inputs stand still. "
    f"{_NOISE} Right: the size of all outputs against that of all inputs; the running statistics are those of the inputs at 2."
)
#: what operations are counted for, where it is not an element
_OF: Mapping[str, str] = {
    "vector": "an element / of a vector",
    "units": "an input of a unit / of a unit",
    "attention": "a score / of a query, beside products of matrices",
    "head": "a class / of all",
}
#: how to use what is no module, by kind
_EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "parametrization": ("layer = nn.Linear(16, 8)", 'parametrize.register_parametrization(layer, "weight", make())'),
    "initialiser": ("model = make(ns.models.mlp([16, 8, 4]))",),
    "regulariser": ("penalty = make()(ns.models.mlp([16, 8, 4]))  # to be added to a loss",),
}
#: settings that have no default, in the examples
_NEEDED: Mapping[str, Mapping[str, int]] = {"smart_mixed": {"units": 32}, "rbf": {"inputs": 64, "units": 32}}
#: settings that have a default, but that the examples of the registry, whose ranges the tables show, choose
_DEPTHS: Mapping[str, tuple[str, ...]] = {"layer_scaling": ("depth",)}


def pages() -> dict[str, str]:
    """Every page by its path in docs/catalogue."""
    found = {"activations/README.md": _index_of_activations(), "norms/README.md": _index_of_norms()}
    found |= {f"activations/{name}.md": _page_of_activation(name) for name in ns.ACTIVATIONS}
    rows = {row["name"]: row for row in table_of_norms()}
    return found | {f"norms/{name}.md": _page_of_norm(NORMS[name], rows[name]) for name in NORMS}


def figures() -> Iterator[tuple[str, str]]:
    """Every figure by its path in docs/catalogue; drawing them takes a while."""
    for name in ns.ACTIVATIONS:
        yield f"activations/{name}.svg", of_activation(name)
    for name in NORMS:
        yield f"norms/{name}.svg", of_entry(name)


def of_entry(name: str) -> str:
    """The figure of a norm, or of what is no module."""
    return of_norm(name) if NORMS[name].kind == "module" else of_whole(name)


def _table(rows: list[tuple[str, str]]) -> str:
    return "|  |  |\n|---|---|\n" + "".join(f"| {name} | {_cell(text)} |\n" for name, text in rows if text)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _code(text: str) -> str:
    return f"`{' '.join(text.split())}`"


def _page_of_activation(name: str) -> str:
    entry, row = ns.ACTIVATIONS[name], row_of(ns.ACTIVATIONS[name])
    rows = [
        ("kind", KINDS[entry.kind]),
        ("parameters", "" if row["parameters"] == "–" else row["parameters"]),
        ("range of the outputs", row["bounds"]),
        ("on analog hardware", entry.hardware),
        ("fold class", f"{row['fold']}: {FOLDS[row['fold']]}"),
        (f"operations of {_OF.get(entry.kind, 'an element')}", row["operations"]),
    ]
    if isinstance(entry, Curve):
        told = facts(name)
        moments = told.moments()
        rows += [
            ("smoothness", told.smoothness),
            ("rises", "never falls" if told.monotone else "rises and falls"),
            ("f(0)", "0" if told.zero_preserving else "not 0"),
            ("gradient", "on purpose not the derivative of the values" if entry.own_gradient else "the derivative of the values"),
            ("for inputs N(0, 1)", f"E f = {moments.mean:.4f}, E f² = {moments.second:.4f}, E f′² = {moments.slope:.4f}"),
            ("gradient noise", f"E (f′(η) − f′(0))² = {told.gradient_noise(0.1, at=0.0):.4g} for η ~ N(0, 0.1²)"),
        ]
    rows.append(("speed", entry.speed))
    works = "".join(f"- {work_of(one)}{_where(one)}, `neurosim cite {one}`\n" for one in entry.citation) or "- Of no single work.\n"
    caption = _CAPTIONS.get(entry.kind, _SWEPT)
    parts = [f"# {name}", _code(entry.formula), f"![{name}]({name}.svg)", f"*{caption}*", _table(rows), "## Use", _use_of_activation(name)]
    return _page([*parts, "## Sources", works, "[All activations](README.md), [how to choose and change them](../../activations.md)"])


def _page(parts: list[str]) -> str:
    return _MADE + "\n\n".join(part.strip() for part in parts if part) + "\n"


def _where(name: str) -> str:
    fields = CITATIONS[name].fields
    if "eprint" in fields:
        return f", [arXiv {fields['eprint']}](https://arxiv.org/abs/{fields['eprint']})"
    return f", [doi {fields['doi']}](https://doi.org/{fields['doi']})" if "doi" in fields else ""


def _use_of_activation(name: str) -> str:
    entry, needed = ns.ACTIVATIONS[name], _NEEDED.get(name, {})
    settings = "".join(f", {key}={value}" for key, value in needed.items())
    code = [f'unit = ns.activations.activation("{name}"{settings})']
    if entry.kind in IN_MODELS and not needed:
        code.append(f'other = ns.swap_activation(model, "{name}")  # in a model that is there already')
    text = "```python\nimport neurosim as ns\n\n" + "\n".join(code) + "\n```\n"
    if entry.kind not in IN_MODELS:
        return text + "\nA model of a config does not take it: it does not keep the shape of one input.\n"
    choice = f"{{kind: {name}{settings.replace('=', ': ')}}}" if needed else name
    if isinstance(entry, Curve) and entry.parameters:
        key, one = next(iter(entry.parameters.items()))
        value = list(one.default) if isinstance(one.default, tuple) else one.default
        choice = f"{{kind: {name}, {key}: {f'{value:.6g}' if isinstance(value, float) else value}}}"
    return text + f"\n```yaml\nmodel:\n  activation: {choice}\n```\n"


def _index_of_activations() -> str:
    count = f"{len(ns.ACTIVATIONS)} entries of `ns.ACTIVATIONS`"
    parts = [f"{_MADE}# Activations, one by one\n\n{count}; [activations.md](../../activations.md) explains them.\n"]
    for kind, title in KINDS.items():
        rows = [row_of(ns.ACTIVATIONS[name]) for name in ns.ACTIVATIONS if ns.ACTIVATIONS[name].kind == kind]
        if rows:
            parts.append(
                f"## {title}\n\n| name | formula | folds | operations | outputs |\n|---|---|---|---|---|\n"
                + "".join(_index_row(row) for row in rows)
            )
    return "\n".join(parts)


def _index_row(row: Mapping[str, str]) -> str:
    shown = (_cell(_code(row["formula"])), row["fold"], row["operations"], row["bounds"])
    return f"| [`{row['name']}`]({row['name']}.md) | {' | '.join(shown)} |\n"


def _page_of_norm(entry: NormEntry, row: Mapping[str, str]) -> str:
    rows = [
        ("kind", entry.kind),
        ("statistics in evaluation", entry.stats),
        ("fold class", f"{entry.fold}: {FOLD_CLASSES[entry.fold]}"),
        ("operations of an element / of a vector", row["operations"]),
        ("range of the outputs", row["bounds"]),
    ]
    caption = _NORM if entry.kind == "module" else caption_of(entry.name)
    parts = [f"# {entry.name}", _escaped(entry.summary), _code(entry.formula), f"![{entry.name}]({entry.name}.svg)", f"*{caption}*"]
    parts += [_table(rows), "## Use", _use_of_norm(entry), "## Sources", _escaped(entry.citation) or "Of no single work."]
    return _page([*parts, "[All norms](README.md), [how to choose and change them](../../norms.md)"])


def _escaped(text: str) -> str:
    return html.escape(" ".join(text.split()).replace("``", "`"), quote=False)


def _use_of_norm(entry: NormEntry) -> str:
    if entry.kind != "module":
        where = f"{entry.make.__module__}.{entry.make.__qualname__}"
        code = [f'make = ns.NORMS["{entry.name}"]  # {where}', *_EXAMPLES.get(entry.kind, ())]
        imports = "\nfrom torch import nn\nfrom torch.nn.utils import parametrize" if entry.kind == "parametrization" else ""
        usage = f"\nUse {_escaped(entry.usage)}.\n" if entry.usage else ""
        return f"```python\nimport neurosim as ns{imports}\n\n" + "\n".join(code) + f"\n```\n{usage}"
    given = inspect.signature(entry.make).parameters
    needed = [name for name, one in given.items() if one.default is one.empty and name != "features"]
    settings, shown = ("".join(f", {name}=4" for name in names) for names in (needed, [*needed, *_DEPTHS.get(entry.name, ())]))
    swap = f'other = ns.swap_norm(model, "{entry.name}"{settings})  # in a model that has norms already'
    code = f'norm = ns.NORMS["{entry.name}"](16{shown})\n{swap}'
    text = f"```python\nimport neurosim as ns\n\n{code}\n```\n"
    return text + (
        f"\n```yaml\nmodel:\n  norm: {entry.name}\n```\n"
        if not getattr(entry.make, "takes_time", False)
        else "\nFor sequences: `(time, batch, C, *)`.\n"
    )


def _index_of_norms() -> str:
    parts = [_MADE + f"# Norms, one by one\n\n{len(NORMS)} entries of `ns.NORMS`; [norms.md](../../norms.md) explains the columns.\n"]
    rows = table_of_norms()
    for kind in dict.fromkeys(row["kind"] for row in rows):
        head = "| name | formula | fold | operations | outputs |\n|---|---|---|---|---|\n"
        shown = [row for row in rows if row["kind"] == kind]
        parts.append(f"## Kind: {kind}\n\n{head}" + "".join(_norm_row(row) for row in shown))
    return "\n".join(parts)


def _norm_row(row: Mapping[str, str]) -> str:
    shown = (_cell(_code(row["formula"])), row["fold"], row["operations"], row["bounds"])
    return f"| [`{row['name']}`]({row['name']}.md) | {' | '.join(shown)} |\n"


def main() -> None:
    """Write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", action="store_true", help="leave the figures as they are")
    made = pages()
    if not parser.parse_args().pages:
        made |= dict(figures())
    for place, text in made.items():
        file = FOLDER / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    names = {"activations": {*ns.ACTIVATIONS, "README"}, "norms": {*NORMS, "README"}}
    for file in FOLDER.glob("*/*"):
        if file.stem not in names[file.parent.name]:
            file.unlink()
    print(f"docs/catalogue: {len(made)} files")


if __name__ == "__main__":
    main()

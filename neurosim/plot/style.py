"""What all figures share: size, colours, labels taken letter for letter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Colour-blind safe colours (Okabe and Ito, "Color Universal Design", 2008), in the order series take them.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", "--", "-.", (0, (3, 1, 1, 1)), (0, (5, 1)), (0, (1, 1)))
INK, GREY = "#1f2328", "#6e7781"
WIDTH = 5.2  #: inches; at the width of a phone the labels are still about 9 pixels high


def new_figure(height: float) -> tuple[Figure, Axes]:
    """A white figure of the common width and this height (inches), with one pair of axes."""
    fig, (ax,) = new_rows(1, height)
    return fig, ax


def new_rows(count: int, height: float) -> tuple[Figure, list[Axes]]:
    """A white figure of the common width and this height (inches), with axes one below the other that share the horizontal one."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    fig = Figure(figsize=(WIDTH, height), layout="constrained", facecolor="white")
    rows = [ax for row in fig.subplots(count, 1, sharex=True, squeeze=False) for ax in row]
    for ax in rows:  # as many ticks at any size: the layout would be made for other labels than are drawn in the end
        ax.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
        ax.yaxis.set_major_locator(MaxNLocator(7 if count == 1 else 3, steps=[1, 2, 5, 10]))
        ax.set_axisbelow(True)
        ax.grid(visible=True, color="#d8dee4", linewidth=0.7)
        ax.spines[["top", "right"]].set_visible(False)
    return fig, rows


def label_axes(ax: Axes, xlabel: str, ylabel: str) -> None:
    """Label both axes, letter for letter."""
    ax.set_xlabel(plain(xlabel), parse_math=False)
    ax.set_ylabel(plain(ylabel), parse_math=False)


def add_legend(fig: Figure, handles: Sequence[tuple[Artist, str]]) -> None:
    """A legend above the axes. The texts are set afterwards: a label that begins with ``_`` would otherwise be left out."""
    if not handles:
        return
    columns = 1 if any(len(text) > 26 for _, text in handles) else min(len(handles), 3)
    artists, names = [handle for handle, _ in handles], [str(i) for i in range(len(handles))]
    legend = fig.legend(artists, names, loc="outside upper left", ncols=columns, frameon=False)
    for text, (_, wanted) in zip(legend.get_texts(), handles, strict=True):
        text.set_parse_math(False)
        text.set_text(shorten(wanted, 56))


def whiskers(values: Sequence[float], low: Sequence[float], high: Sequence[float]) -> list[list[float]]:
    """Lengths of error bars below and above; NaN, which draws none, where there is no interval."""
    return [
        [max(v - end, 0.0) for v, end in zip(values, low, strict=True)],
        [max(end - v, 0.0) for v, end in zip(values, high, strict=True)],
    ]


def shorten(name: str, most: int) -> str:
    """The name with its middle left out where it is longer than ``most`` characters; of its end, which tells layers apart, more is kept.

    >>> shorten("encoder.blocks.11.attention.projection", 24)
    'encoder.…tion.projection'
    """
    name = plain(name)
    if len(name) <= most:
        return name
    tail = (most - 1) * 2 // 3
    return f"{name[: most - 1 - tail]}…{name[len(name) - tail :]}"


def short_names(names: Sequence[str], most: int) -> list[str]:
    """Names as short as ``most`` characters where that keeps them distinct: what all module paths begin with goes first, then middles.

    >>> short_names(["body.blocks.7.attention.projection", "body.blocks.12.attention.projection"], 24)
    ['…7.attention.projection', '…12.attention.projection']
    """
    parts = [plain(name).split(".") for name in names]
    common = 0
    if len(names) > 1 and max(map(len, names)) > most:
        while all(len(part) > common + 1 and part[common] == parts[0][common] for part in parts):
            common += 1
    texts = [("…" if common else "") + ".".join(part[common:]) for part in parts]
    distinct = len(set(texts))
    while len({shorten(text, most) for text in texts}) < distinct:
        most += 1
    return [shorten(text, most) for text in texts]


def plain(text: str) -> str:
    """The text on one line, without characters that cannot be drawn."""
    return "".join(character if character.isprintable() else " " for character in text)


def number(value: float | str) -> str:
    """A parameter's value as an axis shows it: up to four digits.

    >>> number(0.25), number(16.0), number("gaussian")
    ('0.25', '16', 'gaussian')
    """
    return plain(value) if isinstance(value, str) else f"{value:.4g}"

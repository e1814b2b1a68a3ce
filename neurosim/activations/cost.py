"""What hardware computes for an activation, and what of it goes into the layers around."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Fold = Literal["all", "scale", "square", "parts", "none"]

#: what the classes of folding mean
FOLDS: Final[dict[Fold, str]] = {
    "all": "affine: all of it goes into a layer beside it",
    "scale": "a gain above 0 passes it, channel by channel: f(cx) = c f(x)",
    "square": "a gain above 0 passes it as its square: f(cx) = c² f(x)",
    "parts": "gains and offsets around a fixed shape: those go into the layers around, the shape stays",
    "none": "all its parameters shape the curve",
}


class Operations(NamedTuple):
    """How often hardware computes what in evaluation, with parameters that are constants.

    Constants are worked out beforehand; a sign, a magnitude, or dropping the digits behind the point costs nothing; a named function of
    one number (an exponential, a logarithm, tanh, Φ, a sine) is one look-up in a table, and a choice by a comparison that comparison.
    """

    adds: int = 0
    multiplies: int = 0
    divisions: int = 0
    square_roots: int = 0
    lookups: int = 0
    comparisons: int = 0

    def __str__(self) -> str:
        """For tables: ``1+ 2× 1f 1<``.

        >>> print(Operations(multiplies=1, lookups=1), Operations())
        1× 1f 0
        """
        return " ".join(f"{count}{sign}" for count, sign in zip(self, ("+", "×", "÷", "√", "f", "<"), strict=True) if count) or "0"


class Cost(NamedTuple):
    """Of an activation that is more than a function of one number."""

    per_element: Operations
    per_vector: Operations = Operations()  #: once for all elements that share a statistic

    def __str__(self) -> str:
        """For tables: of an element, and after a stroke of a vector."""
        return str(self.per_element) if not any(self.per_vector) else f"{self.per_element} / {self.per_vector}"

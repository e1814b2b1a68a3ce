"""The figures of norms that are no functions of signals alone: which one belongs to which entry, and what it shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from catalogue_figures import Plot, svg
from catalogue_streams import (
    attention,
    decoupled,
    excitatory,
    fixup,
    hypersphere,
    membranes,
    message,
    norm_free,
    placements,
    skip_init,
)
from catalogue_weights import (
    frozen,
    gradients_over_depth,
    lengths_and_paths,
    lengths_in_training,
    mixed_statistics,
    penalty_and_lengths,
    recalibrated,
    rows_and_values,
)

_STREAM = (
    "Left: the size (root mean square) of the stream behind every block of a network of 24, with branches that keep the size of what they "
    "get. Right: the size of the gradient that reaches it from the end. "
)
_START = (
    "Left: the size (root mean square) of the stream behind every block of a network of 24, before training. Right: by how much a first, "
    "small step of gradient descent changes the outputs of networks with more and more blocks, divided by its rate."
)
_PATHS = (
    "Lengths and directions are learned apart. Left: the lengths of the rows of a weight, and what it is once all lengths are set to 1. "
    "Right: paths of gradient descent of one neuron with two weights towards (1, 1), from three starts."
)
_ROWS = "Left: the lengths of the rows of a weight whose rows differ. Right: its singular values, from the largest."
_DRIFT = "The error of the outputs of a network with batch norms, relative to their size, when the weights of a chip have another gain. "
#: what draws the figure of an entry, and what it shows
_DRAWN: Final[Mapping[str, tuple[Callable[[str], list[Plot]], str]]] = {
    "residual": (placements, f"{_STREAM}With RMS norms at three places."),
    "ngpt": (hypersphere, f"{_STREAM}Every vector has length 1, at two rates."),
    "message": (message, f"{_STREAM}Each with branches of two sizes, and s = 0.3: only what is no norm sees the size of the branch."),
    "norm_free": (norm_free, f"{_STREAM}Orange: the size that the constants are made for."),
    "fixup": (fixup, _START),
    "skip_init": (skip_init, _START),
    "attention": (attention, "Size of the outputs, and of the gradient of the inputs, against that of the inputs, with and without norms."),
    "ei": (
        excitatory,
        "Left: size of the outputs against that of the inputs, which are rates, beside a linear layer. Right: six outputs while one input "
        "moves; inhibition subtracts and divides.",
    ),
    "mpbn": (membranes, "Share of spikes of LIF neurons with and without the norm, when the input has another gain or offset than before."),
    "sdd": (decoupled, "A factor on all weights: size of the outputs, and of the gradient of the weights."),
    "weight_norm": (lengths_and_paths, _PATHS),
    "gmp": (lengths_and_paths, _PATHS),
    "weight_standardization": (rows_and_values, f"{_ROWS} V has a mean, which makes the largest; W has none."),
    "weight_conditioning": (rows_and_values, f"{_ROWS} The ratio of the first and the last is the condition number."),
    "shaped_batch": (
        gradients_over_depth,
        "A chain of 24 layers with batch norms and tanh. Left: size of the gradient that reaches each. Right: size of the outputs.",
    ),
    "norm_loss": (
        penalty_and_lengths,
        "Left: the penalty for a row with λ = 1, and its slope, beside weight decay. Right: lengths of eight rows while each of the two "
        "alone is descended.",
    ),
    "batch_statistics": (mixed_statistics, f"{_DRIFT}Left: for four α, in batches of 256. Right: against α."),
    "recalibrate": (recalibrated, f"{_DRIFT}Left: before and after. Right: against the number of samples that statistics are taken of."),
    "freeze_statistics": (
        frozen,
        "Left: size of the outputs of a layer norm against that of its inputs. Right: change of the outputs of a model with eight of them "
        "when the first ones are frozen at once; training while they freeze is there to undo it.",
    ),
    "unit_weights": (
        lengths_in_training,
        "Left: lengths of the rows of a weight. Right: those of four in 40 steps at random, with and without the procedure after each.",
    ),
}


def of_whole(name: str) -> str:
    """The figure of an entry that is no module."""
    return svg(_DRAWN[name][0](name), name)


def caption_of(name: str) -> str:
    """What it shows."""
    return _DRAWN[name][1]

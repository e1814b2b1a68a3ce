"""Training a part of the parameters: the rest of the network stays as it was drawn, as on a chip that is programmed once."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from neurosim.checks import whole
from neurosim.convert.select import check_globs
from neurosim.errors import ConfigError
from neurosim.nn.wrappers import unwrapped
from neurosim.random import permutation, stream
from neurosim.training.owned import of_norms, weights_of

WORDS = ("norms", "shifts", "biases", "last")  #: that name parameters by what they are


def parameters_of(model: nn.Module, which: str | Sequence[str]) -> list[str]:
    """Names of the parameters that are meant, in the order of the model.

    Args:
        model: Any module.
        which: One or several of ``norms``: scales and shifts of all norms; ``shifts``: what of these is named bias; ``biases``:
            all that are named so; ``last``: those of the last layer that has a weight, as :func:`neurosim.training.owned.weights_of` has
            them; and of globs over the names of parameters.

    Raises:
        ConfigError: A glob names nothing, or there is no such parameter.

    >>> model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    >>> parameters_of(model, "norms"), parameters_of(model, ["last", "0.w*"])
    (['1.weight', '1.bias'], ['0.weight', '2.weight', '2.bias'])
    """
    bare = unwrapped(model)
    known = dict(bare.named_parameters())
    given: Any = which
    asked = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    if not all(isinstance(one, str) for one in asked):
        raise ConfigError(f"train.only.parameters: must be words and globs over names of parameters, got {which!r:.60}")
    globs = [one for one in asked if one not in WORDS]
    check_globs("train.only.parameters", globs, known, "parameter")
    chosen = {name for name in known if any(fnmatchcase(name, glob) for glob in globs)}
    held = of_norms(bare)
    if "norms" in asked:
        chosen |= {name for name, value in known.items() if id(value) in held}
    if "shifts" in asked:
        chosen |= {name for name, value in known.items() if id(value) in held and _place(name)[1] == "bias"}
    if "biases" in asked:
        chosen |= {name for name in known if _place(name)[1] == "bias"}
    if "last" in asked:
        weights = {id(value) for weight in weights_of(bare) for value in weight.learned}
        layers = [_place(name)[0] for name, value in known.items() if id(value) in weights]
        chosen |= {name for name in known if layers and _place(name)[0] == layers[-1]}
    if not chosen:
        raise ConfigError(f"train.only.parameters: the model must have parameters that are meant by {which!r}, has none")
    return [name for name in known if name in chosen]


def _place(name: str) -> tuple[str, str]:
    """The layer of a parameter, and what it is there; of a parametrized one, what it makes."""
    layer, _, made = f".{name}".partition(".parametrizations.")
    return (layer[1:], made.partition(".")[0]) if made else (name.rpartition(".")[0], name.rpartition(".")[2])


def random_elements(model: nn.Module, count: int, names: Sequence[str], seed: int) -> dict[str, Tensor]:
    """So many numbers, drawn without repetition from all of the parameters that are named.

    Args:
        model: Any module.
        count: How many, not more than there are.
        names: Of the parameters.
        seed: Of the draw.

    Returns:
        By name a mask of the parameter's shape; parameters of which nothing was drawn are left out.

    Raises:
        ConfigError: There are fewer.
    """
    known = dict(unwrapped(model).named_parameters())
    sizes = [known[name].numel() for name in names]
    if whole("random_elements: count", count, 1) > sum(sizes):
        raise ConfigError(f"train.only.random: {count} numbers were to be drawn, and the other parameters have {sum(sizes)}")
    drawn = torch.zeros(sum(sizes), dtype=torch.bool)
    drawn[permutation(stream(seed, "trained subset"), sum(sizes))[:count]] = True
    masks = zip(names, torch.split(drawn, sizes), strict=True)
    return {name: mask.reshape(known[name].shape).to(known[name].device) for name, mask in masks if bool(mask.any())}


def train_only(
    model: nn.Module, optimizer: torch.optim.Optimizer, which: str | Sequence[str], *, random: bool = False, seed: int = 0
) -> dict[str, int]:
    """Freeze all parameters but some, in place; running statistics of norms go on.

    Frozen parameters have no gradient and no weight decay. With ``random``, elements of the weights learn instead, as many as the
    parameters that ``which`` names have: gradients of the others are 0, and what a step does to them is undone.

    Args:
        model: Any module, with the parameters that ``optimizer`` has.
        optimizer: Of them; it must not have taken a step yet, unless under the same choice.
        which: See :func:`parameters_of`.
        random: As many elements, at random places of all weights (parameters of two axes or more that ``which`` does not name).
        seed: Of the places.

    Returns:
        How many numbers of each parameter learn; those of which none does are left out.

    Raises:
        ConfigError: There is no such parameter, or it does not learn already. The model is then unchanged.

    Source:
        J. Frankle, D. J. Schwab, A. S. Morcos, "Training BatchNorm and only BatchNorm: on the expressive power of random features in CNNs",
        ICLR 2021; their random parameters are two of every channel, here they lie anywhere.

    >>> model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    >>> train_only(model, torch.optim.SGD(model.parameters(), lr=0.1), "norms")
    {'1.weight': 3, '1.bias': 3}
    """
    bare = unwrapped(model)
    known = dict(bare.named_parameters())
    chosen = [name for name in parameters_of(bare, which) if known[name].requires_grad]
    if not chosen:
        raise ConfigError(f"train.only.parameters: those that are meant by {which!r} must require a gradient, and none does")
    masks: dict[str, Tensor] = {}
    if random:
        others = [name for name, value in known.items() if value.dim() >= 2 and name not in chosen and value.requires_grad]
        masks = random_elements(bare, sum(known[name].numel() for name in chosen), others, seed)
        chosen = list(masks)
    for name, value in known.items():
        value.requires_grad_(name in chosen)
        value.grad = None
    if masks:
        _hold(optimizer, [(known[name], mask) for name, mask in masks.items()])
    return {name: int(masks[name].sum()) if masks else known[name].numel() for name in known if name in chosen}


def _hold(optimizer: torch.optim.Optimizer, parts: list[tuple[nn.Parameter, Tensor]]) -> None:
    """Let only the elements of a mask learn: a gradient for them alone, and every step undone for the others."""
    for value, mask in parts:
        register: Any = value.register_hook
        register(lambda gradient, mask=mask: gradient * mask)
    before: list[Tensor] = []

    def remember(optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        before[:] = [value.detach().clone() for value, _ in parts]

    @torch.no_grad()
    def undo(optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        for (value, mask), old in zip(parts, before, strict=True):
            value.copy_(torch.where(mask, value, old))
        before.clear()

    optimizer.register_step_pre_hook(remember)
    optimizer.register_step_post_hook(undo)

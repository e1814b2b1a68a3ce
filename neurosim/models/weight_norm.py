"""The ``weight_norm`` of a model: a parametrization of the weights of its layers, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from torch import nn
from torch.nn.utils import parametrize

from neurosim.errors import ConfigError, nearest, with_article
from neurosim.initialisers import takes_data, targets
from neurosim.models.checked import named
from neurosim.models.made import check_names, said_at
from neurosim.norms import NORMS, ScaledWeightStandardization, WeightConditioning, WeightNorm, WeightParametrization, norm_free_gamma

_WHERE: Final = "weight_norm"
#: what a config may say: a name, or ``{kind: name, **arguments}``
WeightNormName = Annotated[str | dict[str, Any] | None, named(_WHERE, lambda chosen: check_weight_norm(chosen))]


def check_weight_norm(chosen: WeightNormName, activation: object = "identity", init: object = "torch", scaled: str = "") -> None:
    """Refuse a ``weight_norm`` that a model cannot be given.

    Args:
        chosen: The name of a parametrization in ``NORMS``, or ``{"kind": name, **arguments}``; None: none.
        activation: Of the model.
        init: Of the model.
        scaled: Why first weights must keep the lengths that they are given, if they must.

    Raises:
        ConfigError: There is no such parametrization or argument, a value is out of its domain, or the activation or the first weights do
            not go with it.
    """
    if chosen is None:
        return
    made = _made(chosen, activation)
    pending = isinstance(made, WeightNorm) and made.pending is not None
    if scaled and pending:
        raise ConfigError(f"{_WHERE}.data_init: must be false, for it takes lengths of weights from data, and {scaled}")
    if scaled and isinstance(made, WeightConditioning):
        raise ConfigError(f"{_WHERE}: must not be weight_conditioning, which gives rows of length 1 whatever they were, for {scaled}")
    if not takes_data(init):
        return
    if pending:
        raise ConfigError(f"{_WHERE}.data_init: must be false where init takes the first weights from data, which would be taken twice")
    if isinstance(made, WeightConditioning):
        raise ConfigError(f"init: must not scale weights by a batch where {_WHERE} gives rows of length 1 whatever they were")


def weight_normed(model: nn.Module, chosen: WeightNormName) -> None:
    """Parametrize the weights of all linear and convolution layers but the last, in place; recurrent connections stay as they are.

    Where the parametrization asks for the activation that a layer is fed by, and none is chosen, it is the one that the model has there.

    Args:
        model: Its weights are those that it is to start with, as far as the parametrization has them.
        chosen: The name of a parametrization in ``NORMS``, or ``{"kind": name, **arguments}``; None: nothing is done.

    Raises:
        ConfigError: There is no such parametrization, or a weight cannot have it.

    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))
    >>> weight_normed(model, "weight_standardization")
    >>> [parametrize.is_parametrized(layer) for layer in model]
    [True, False, True, False, False]
    >>> round(model[2].parametrizations.weight[0].gamma, 3)
    1.713
    """
    if chosen is None:
        return
    found = [target for target in targets(model) if target.path.rpartition(".")[2] != "connection"]
    for target in found[:-1]:
        made = _made(chosen, target.activation or "identity")
        try:
            parametrize.register_parametrization(target.layer, "weight", made)
        except ConfigError as error:
            raise ConfigError(f"{_WHERE}: {target.name}: {error}") from None


def _made(chosen: str | Mapping[str, Any], activation: object) -> WeightParametrization:
    """A fresh parametrization, for a layer behind that activation."""
    given: dict[str, Any] = {"kind": chosen} if isinstance(chosen, str) else dict(chosen)
    name = given.pop("kind", None)
    if not isinstance(name, str):
        raise ConfigError(f"{_WHERE}: must be a name, or a mapping with its kind such as {{'kind': 'weight_norm'}}, got {chosen!r:.60}")
    names = [one for one in NORMS if NORMS[one].kind == "parametrization"]
    if name not in names:
        what = f"{name!r} is {with_article(NORMS[name].kind)}" if name in NORMS else f"none is named {name!r}"
        raise ConfigError(f"{_WHERE}: must be a norm of weights, and {what}{nearest(name, names)}")
    make = NORMS[name].make
    check_names(_WHERE, name, make, given, hidden=("dim",))
    if make is ScaledWeightStandardization and not {"activation", "gamma"} & set(given):
        try:
            given["gamma"] = norm_free_gamma(activation)
        except ConfigError as error:
            raise ConfigError(f"{_WHERE}: {name} must know what the activation of the model gives: {error}") from None
    try:
        made: WeightParametrization = make(**given)
    except (ConfigError, TypeError) as error:
        raise said_at(_WHERE, error, given) from None
    return made

"""How deep networks are kept from exploding, with norms and without: the blocks that residual models are made of."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from torch import nn
from torch.nn.utils import parametrize

from neurosim.activations import Choice, Maker, facts
from neurosim.errors import ConfigError
from neurosim.initialisers import Init, initialize, takes_data
from neurosim.models.base import Product, normal_weights, suitable_init
from neurosim.models.checked import check_all, check_fits
from neurosim.models.normed import Chosen, check_norm, named_norm
from neurosim.models.weight_norm import WeightNormName, check_weight_norm, weight_normed
from neurosim.norms import (
    FixupBranch,
    NormFreeBranch,
    Residual,
    ScaledBranch,
    ScaledWeightStandardization,
    WeightNorm,
    deep_gains,
    expected_variances,
)
from neurosim.norms.branches import Branch
from neurosim.norms.placement import Placement, has_end
from neurosim.norms.placing import scale_weights

Scheme = Literal["plain", "fixup", "skipinit", "1/L", "1/√L", "sws+nf", "wn", "selu"]
SCHEMES: Final[tuple[Scheme, ...]] = get_args(Scheme)


#: why a scheme takes no other first weights, and no parametrization
_OWN_WEIGHTS: Final[dict[str, str]] = {
    "fixup": "starts with weights of its own, some of them 0",
    "sws+nf": "has a parametrization of its own",
    "wn": "has a parametrization of its own",
}


@dataclass(frozen=True)
class Choices:
    """What a residual model may be given beside its scheme.

    Args:
        norm: The name of a norm, or ``kind`` and its arguments; with the scheme ``plain`` alone. None: none.
        placement: Where it stands around every branch; see :class:`~neurosim.norms.Residual`. ``none`` leaves the norm out, so
            that a study can have it as a level.
        init: First weights: a name in ``INITIALISERS``, or ``kind`` and settings; None: those of the scheme.
        weight_norm: Parametrization of the weights of all layers but the last; None: none, or that of the scheme.
    """

    norm: Chosen = None
    placement: Placement = "pre"
    init: Init | None = None
    weight_norm: WeightNormName = None


def check_choices(scheme: Scheme, activation: Choice, choices: Choices, places: Iterable[tuple[int, int]] = ()) -> None:
    """Refuse choices that do not go with each other.

    Args:
        scheme, activation: Of the model.
        choices: Beside them.
        places: Channels of the stream, and axes beside batch and channels.

    Raises:
        ConfigError: They do not.
    """
    around = list(places)
    check_all(
        lambda: check_scheme({"activation": activation, "scheme": scheme}),
        lambda: check_fits("activation", activation, around),
        lambda: _check_norm(scheme, choices, around),
        lambda: _check_weights(scheme, activation, choices),
    )


def _check_norm(scheme: Scheme, choices: Choices, places: Iterable[tuple[int, int]]) -> None:
    norm, placement = choices.norm, choices.placement
    if norm is not None and scheme != "plain":
        raise ConfigError(f"norm: must be left out with the scheme {scheme!r}, which does without one; plain takes any, got {norm!r}")
    if norm is None and placement not in ("pre", "none"):
        raise ConfigError(f"placement: must be left out where there is no norm, got {placement!r}")
    check_norm(norm, places)


def _check_weights(scheme: Scheme, activation: Choice, choices: Choices) -> None:
    placement, init = choices.placement, choices.init
    if init is not None:
        suitable_init({"init": init, "activation": activation})
        if scheme == "fixup":
            raise ConfigError(f"init: must be left out with the scheme {scheme!r}, which {_OWN_WEIGHTS[scheme]}, got {init!r}")
        if takes_data(init) and (scheme == "wn" or placement == "deep"):
            why = "the scheme 'wn' takes lengths from data too" if scheme == "wn" else "the placement 'deep' makes branches smaller"
            raise ConfigError(f"init: must not be one that measures on a batch, for {why}, got {init!r}")
    if choices.weight_norm is not None and scheme in _OWN_WEIGHTS:
        raise ConfigError(f"weight_norm: must be left out with the scheme {scheme!r}, which {_OWN_WEIGHTS[scheme]}")
    check_weight_norm(
        choices.weight_norm, activation, init, scaled="the placement 'deep' makes them smaller" if placement == "deep" else ""
    )


def check_scheme(arguments: Mapping[str, Any]) -> None:
    """Refuse a scheme that does not go with the activation.

    Raises:
        ConfigError: It is ``selu`` with another activation, or the activation is no function of one number that varies.
    """
    choice, scheme = arguments.get("activation", "relu"), arguments.get("scheme", "plain")
    name = choice.get("kind") if isinstance(choice, Mapping) else choice
    if scheme == "selu" and name != "selu":
        raise ConfigError(f"activation: must be selu with the scheme selu, which rests on its fixed point, got {name!r}")
    try:
        second = facts(choice).moments().variance
    except ConfigError as error:
        raise ConfigError(f"activation: must be a function of one number: {error}") from None
    if not second > 0:
        raise ConfigError(f"activation: must not be constant, got {name!r}")


class Blocks:
    """Makes the residual blocks of one model: layer, activation, layer.

    ============ ========================================================================================================================
    scheme       a block is
    ============ ========================================================================================================================
    plain        x + f(x)
    fixup        x + s f(x): :class:`~neurosim.norms.FixupBranch`; the last layer of the model starts at 0 as well
    skipinit     x + a f(x), a learned and 0 at the start: :class:`~neurosim.norms.ScaledBranch`
    1/L, 1/√L    x + f(x) / L, x + f(x) / √L, of L blocks in the model
    sws+nf       x + α g f(x / β), g learned and 0 at the start, :class:`~neurosim.norms.NormFreeBranch`, with
                 :class:`~neurosim.norms.ScaledWeightStandardization` of all layers but the last of the model
    wn           x + f(x), with :class:`~neurosim.norms.WeightNorm` of all layers, which takes its lengths from the first batch
    selu         f(x) alone, with an activation at its end: a self-normalizing network
    ============ ========================================================================================================================

    Weights are normal numbers that keep the second moment: standard deviation 1/√(n E f²) behind an activation f, 1/√n elsewhere, with n
    inputs; for SELU those of LeCun. Biases start at 0, and ``fixup`` has single numbers in their place.

    Args:
        scheme: See the table.
        activation: A name in ``ACTIVATIONS``, or ``kind`` and parameters.
        stages: Blocks of every stage; between stages there is a transition.
        alpha: α.
        choices: Norms, first weights and parametrizations. With a norm, a block is a :class:`~neurosim.norms.Residual`.

    Raises:
        ConfigError: The scheme, the activation and the choices do not go together.
    """

    def __init__(self, scheme: Scheme, activation: Choice, stages: Sequence[int], alpha: float, choices: Choices) -> None:
        check_choices(scheme, activation, choices)
        self._choices = choices
        moments = facts(activation).moments()
        self.scheme, self.alpha, self.count = scheme, alpha, sum(stages)
        self.bias = scheme != "fixup"
        self._gain, self._gamma = moments.forward_gain, moments.norm_free_gain
        self._activate = Maker(activation)
        self._variances = expected_variances(stages, alpha)
        self._made = 0

    def layer(self, layer: Product, *, behind: bool = False, last: bool = False) -> Product:
        """A layer of the model with its first weights, and its parametrization.

        Args:
            layer: Made with ``bias`` of this object, but for the last.
            behind: Whether it comes behind an activation.
            last: Whether it is the last of the model.
        """
        if self._choices.init is None:
            normal_weights(layer, self._gain if behind else 1.0)
        if self.scheme == "fixup" and last:
            normal_weights(layer, 0.0)
        if self.scheme == "sws+nf" and not last:
            parametrize.register_parametrization(layer, "weight", ScaledWeightStandardization(gamma=self._gamma if behind else 1.0))
        if self.scheme == "wn":
            parametrize.register_parametrization(layer, "weight", WeightNorm(data_init=True))
        return layer

    def block(self, first: Product, second: Product, shortcut: Product | None = None, pool: nn.Module | None = None) -> nn.Module:
        """The next block.

        Args:
            first: Fresh, made with ``bias`` of this object.
            second: Likewise.
            shortcut: Of a transition, likewise.
            pool: Of a transition, before the branch and the shortcut.
        """
        selu = self.scheme == "selu"
        parts = [self.layer(first, behind=selu and self._made > 0), self._activate(), self.layer(second, behind=True)]
        branch = nn.Sequential(*parts)
        inputs, outputs = first.weight.shape[1], second.weight.shape[0]
        variance = self._variances[self._made]
        self._made += 1
        if selu:
            made: nn.Module = branch.append(self._activate())
        else:
            made = self._branch(branch, variance, None if shortcut is None else self.layer(shortcut), (inputs, outputs))
        return made if pool is None else nn.Sequential(OrderedDict(pool=pool, block=made))

    def end(self, name: str, channels: int, axes: int) -> dict[str, nn.Module]:
        """The norm ``start`` or ``end`` of the stream, where the placement has one there."""
        placement = self._choices.placement
        wanted = placement == "peri" if name == "start" else has_end(placement)
        order = 1 if name == "start" else self.count + 1
        return named_norm(name, self._choices.norm, channels, axes, order=order) if wanted else {}

    def model(self, layers: OrderedDict[str, nn.Module]) -> nn.Sequential:
        """The model of these layers, with the first weights and the parametrizations that were chosen."""
        made = nn.Sequential(layers)
        if self._choices.init is not None:
            initialize(made, self._choices.init)
        weight_normed(made, self._choices.weight_norm)
        if self._choices.placement == "deep":  # once they are parametrized: of standardised weights, the gains keep it
            paths = [block.path for block in made.modules() if isinstance(block, Residual)]
            found = [(name, part) for path in paths for name, part in path.named_modules() if isinstance(part, nn.Linear | nn.Conv2d)]
            scale_weights("placement: deep", found, deep_gains(self.count)[1])
        return made

    def _branch(self, branch: nn.Sequential, variance: float, shortcut: nn.Module | None, channels: tuple[int, int]) -> nn.Module:
        if self._choices.norm is not None:
            around: dict[str, Any] = {"index": self._made, "count": self.count, "shortcut": shortcut, "outputs": channels[1]}
            return Residual(branch, channels[0], self._choices.norm, self._choices.placement, **around)
        if self.scheme == "fixup":
            return FixupBranch(branch, self.count, shortcut=shortcut)
        if self.scheme == "sws+nf":
            return NormFreeBranch(branch, variance, self.alpha, shortcut=shortcut)
        if self.scheme == "skipinit":
            return ScaledBranch(branch, shortcut=shortcut)
        factors = {"1/L": 1 / self.count, "1/√L": 1 / math.sqrt(self.count)}
        if self.scheme in factors:
            return ScaledBranch(branch, factors[self.scheme], learn=False, shortcut=shortcut)
        return Branch(branch, shortcut)

"""Optimisers and learning-rate schedules: the blocks ``train.optimizer`` and ``train.scheduler``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from neurosim.config.base import Block, Count, Flag, Natural, NonNegative, Positive, ProperShare, Share

LearningRate = Annotated[Positive, Field(le=1000)]
WeightDecay = Annotated[NonNegative, Field(le=1000)]


class _Adaptive(Block):
    """What Adam and AdamW share."""

    kind: str
    lr: LearningRate = 1e-3
    """Learning rate before the schedule's factor."""
    betas: tuple[ProperShare, ProperShare] = (0.9, 0.999)
    """Decay of the running means of the gradient and of its square."""
    eps: Annotated[Positive, Field(le=1)] = 1e-8
    """Added to the denominator."""


class AdamConfig(_Adaptive):
    """Adam, weight decay added to the gradient."""

    kind: Literal["adam"]
    weight_decay: WeightDecay = 0.0
    """L2 penalty, added to the gradient."""


class AdamWConfig(_Adaptive):
    """Adam with decoupled weight decay."""

    kind: Literal["adamw"]
    weight_decay: WeightDecay = 0.01
    """Share of a weight taken away per unit of learning rate."""


class _Descent(Block):
    """What plain gradient descent and that of excitatory-inhibitory layers share."""

    kind: str
    lr: LearningRate = 0.01
    """Learning rate before the schedule's factor."""
    weight_decay: WeightDecay = 0.0
    """L2 penalty, added to the gradient."""
    momentum: ProperShare = 0.0
    """Share of the last step that is taken again."""
    nesterov: Flag = False
    """Look ahead along the momentum, which must then be > 0."""

    @field_validator("nesterov")
    @classmethod
    def _needs_momentum(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("momentum") == 0:
            raise ValueError("must be false without momentum, got true; set momentum > 0")
        return value


class SGDConfig(_Descent):
    """Stochastic gradient descent."""

    kind: Literal["sgd"]


class EISGDConfig(_Descent):
    """Stochastic gradient descent as the authors of excitatory-inhibitory layers have it: with momentum, the first step is longer."""

    kind: Literal["eisgd"]


class _Radial(Block):
    """What AdamP and SGDP share: steps do not make weights longer where only their direction counts."""

    delta: NonNegative = 0.1
    """The larger, the more weights count as such; 0: none."""
    wd_ratio: NonNegative = 0.1
    """Of those weights, factor of the weight decay."""


class AdamPConfig(_Adaptive, _Radial):
    """Adam whose steps do not make weights longer where only their direction counts, with decoupled weight decay."""

    kind: Literal["adamp"]
    weight_decay: WeightDecay = 0.0
    """Share of a weight taken away per unit of learning rate."""
    nesterov: Flag = False
    """Look ahead along the running mean."""


class SGDPConfig(_Descent, _Radial):
    """Gradient descent whose steps do not make weights longer where only their direction counts, with decoupled weight decay."""

    kind: Literal["sgdp"]
    weight_decay: WeightDecay = 0.0
    """Share of a weight taken away per unit of learning rate, divided by 1 - momentum."""


class _Schedule(Block):
    """What all schedules share."""

    kind: str
    warmup_steps: Natural = 0
    """Steps over which the learning rate rises linearly to its full value."""


class ConstantConfig(_Schedule):
    """The learning rate stays as it is after the warm-up."""

    kind: Literal["constant"]


class CosineConfig(_Schedule):
    """Half a cosine from the full learning rate to a fraction of it at the end of the run."""

    kind: Literal["cosine"]
    final_fraction: Share = 0.0
    """Learning rate at the end, as a fraction of the full one."""


class StepConfig(_Schedule):
    """The learning rate is multiplied by ``gamma`` every so many epochs."""

    kind: Literal["step"]
    every_epochs: Count = 10
    """Epochs between two steps."""
    gamma: Annotated[Positive, Field(le=1)] = 0.1
    """Factor of a step."""


OptimizerConfig = Annotated[
    AdamConfig | AdamPConfig | AdamWConfig | SGDConfig | SGDPConfig | EISGDConfig,
    Field(discriminator="kind"),
]
SchedulerConfig = Annotated[ConstantConfig | CosineConfig | StepConfig, Field(discriminator="kind")]

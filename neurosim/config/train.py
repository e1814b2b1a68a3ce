"""How a model is trained: the block ``train``."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from neurosim.config.base import Block, Count, Flag, Globs, Natural, NonNegative, Positive, ProperShare, Share
from neurosim.errors import ConfigError


def _activation(choice: object) -> object:
    from neurosim.activations import check_activation

    try:
        return check_activation(choice)
    except ConfigError as error:
        raise ValueError(str(error).removeprefix("activation: ")) from None


ActivationChoice = Annotated[str | dict[str, Any], BeforeValidator(_activation)]
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


class EarlyStoppingConfig(Block):
    """Stop when the validation metric has not improved for some time."""

    patience: Count = 5
    """Epochs without improvement after which the run ends."""
    min_delta: NonNegative = 0.0
    """What counts as an improvement, in units of the metric."""


class TrainNoiseConfig(Block):
    """How the noise of the hardware is used while training."""

    schedule: Literal["constant", "linear_ramp"] = "constant"
    """Full noise from the start, or rising from none."""
    ramp_epochs: Count = 1
    """linear_ramp: epochs until the noise has its full strength."""
    redraw: Literal["step", "epoch"] = "step"
    """New noise in every step, or held for an epoch."""


class ClipWeightsConfig(Block):
    """Limit the weights of the layers on hardware after every step; exactly one key is given."""

    k_sigma: Positive | None = None
    """The limit in standard deviations of a layer's weights."""
    fixed: Positive | None = None
    """The limit itself."""
    average_channel_max: Flag = False
    """The mean, over outputs, of the largest magnitude of each."""

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        given = [name for name, value in self if value not in (None, False)]
        if len(given) != 1:
            raise ValueError(f"give one of k_sigma, fixed and average_channel_max, got {' and '.join(given) or 'none'}")
        return self


class OnlyConfig(Block):
    """Train a part of the parameters; the others stay as they were drawn."""

    parameters: Globs
    """norms (scales and shifts), biases, last (the last layer), or globs over names of parameters; several may be given."""
    random: Flag = False
    """Train elements of the other weights instead, as many as these have, at random places that the run's seed decides."""


class AdaptiveClipConfig(Block):
    """Adaptive gradient clipping: the gradient of every unit is at most a share of the length of its weights."""

    kind: Literal["agc"]
    """The way to clip."""
    limit: Positive = 0.01
    """The share."""
    floor: Positive = 1e-3
    """Weights that are shorter count as that long."""
    skip: Globs = ()
    """Layers whose gradients are not clipped; the authors leave the last one out."""


class NormLossConfig(Block):
    """How far the weights of every output are from length 1, squared and summed, is added to the loss."""

    kind: Literal["norm_loss"]
    """What is added."""
    strength: NonNegative = 1e-3
    """Factor of the sum."""


class SwapConfig(Block):
    """Other activations at first, which give way to those of the model while the network as it was teaches: for the recipe distill."""

    start: ActivationChoice = "gelu"
    """Activation of all places at first: a name, or kind and parameters."""
    schedule: Literal["iterative", "at_once"] = "iterative"
    """One place after another, each followed by learning, or all together."""
    order: Literal["forward", "backward"] = "forward"
    """From the input on, or from the output back."""
    epochs: Count = 10
    """The last epochs, over which the swaps are spread; those before train the network that teaches."""
    labels: Share = 0.0
    """Share of the labels in what is learned from then on; the rest is the teacher's, 1 is without one."""
    temperature: Positive = 2.0
    """By which the outputs of teacher and network are softened."""


class CheckpointConfig(Block):
    """When the state of a run is saved, from which it can be resumed."""

    every_steps: Count | None = None
    """Also within an epoch: steps between two checkpoints."""
    every_epochs: Count = 1
    """Epochs between two checkpoints."""
    keep: Count = 2
    """How many of the last checkpoints stay on disk."""


class TrainConfig(Block):
    """How a model is trained."""

    epochs: Count = 20
    """Passes over the training set."""
    optimizer: Annotated[AdamConfig | AdamWConfig | SGDConfig | EISGDConfig, Field(discriminator="kind")] = AdamConfig(kind="adam")
    decay: Literal["all", "weights"] = "all"
    """What weight_decay acts on: all parameters, or weights alone: not those of norms and activations, biases, and what has no two axes."""
    scheduler: Annotated[ConstantConfig | CosineConfig | StepConfig, Field(discriminator="kind")] = ConstantConfig(kind="constant")
    clip_grad_norm: Positive | None = None
    """Longest gradient, as an L2 norm over all parameters; null: no limit."""
    clip: AdaptiveClipConfig | None = None
    """Of gradients, beside or in the place of clip_grad_norm, which comes after it; null: none."""
    regularizer: NormLossConfig | None = None
    """What is added to the loss that is trained on, and not to the one that is reported; null: nothing."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Of the digital arithmetic; bf16 and fp16 are automatic mixed precision."""
    label_smoothing: ProperShare = 0.0
    """Probability that is spread evenly over the classes."""
    early_stopping: EarlyStoppingConfig | None = None
    """On the validation metric; null: train all epochs."""
    noise: TrainNoiseConfig = TrainNoiseConfig()
    clip_weights: ClipWeightsConfig | None = None
    """Needs hardware; null: weights are free."""
    only: OnlyConfig | None = None
    """null: train all parameters."""
    swap: SwapConfig | None = None
    """null: the model has its own activations from the beginning."""
    checkpoint: CheckpointConfig = CheckpointConfig()
    device: Literal["cpu", "cuda", "auto"] = "auto"
    """Where to compute; auto is a GPU where there is one."""
    threads: Annotated[Count, Field(le=1024)] | None = None
    """CPU threads of torch; null: as torch decides."""

"""How a model is trained: the block ``train``."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from neurosim.config.base import Block, Count, Flag, Globs, NonNegative, Positive, ProperShare, Share
from neurosim.config.optimizer import AdamConfig, ConstantConfig, OptimizerConfig, SchedulerConfig
from neurosim.errors import ConfigError


def _activation(choice: object) -> object:
    from neurosim.activations import check_activation

    try:
        return check_activation(choice)
    except ConfigError as error:
        raise ValueError(str(error).removeprefix("activation: ")) from None


ActivationChoice = Annotated[str | dict[str, Any], BeforeValidator(_activation)]


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
    """norms (scales and shifts), shifts (of norms), biases, last (layer), or globs over names of parameters; several may be given."""
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


class ActivationPenaltyConfig(Block):
    """The mean magnitude in every activation, summed over them, is added to the loss, more and more: models learn to be sparse."""

    kind: Literal["activation_l1"]
    """What is added."""
    ends: Annotated[tuple[Count, ...], Field(min_length=1)]
    """Steps at which stages end, rising; from one strength to the next along half a sine."""
    strengths: Annotated[tuple[NonNegative, ...], Field(min_length=1)]
    """Factor at the end of every stage; the first holds from the beginning, the last to the end."""
    layers: Globs = ("*",)
    """Activations that it is of: globs over their paths."""

    @model_validator(mode="after")
    def _one_each(self) -> Self:
        if len(self.ends) != len(self.strengths) or any(one >= other for one, other in pairwise(self.ends)):
            raise ValueError(f"ends must rise, one a strength, got {list(self.ends)} and {list(self.strengths)}")
        return self


class KeepNormsConfig(Block):
    """Normalize-and-Project: after steps every weight gets its first length back; a computed one too, or its layer must be skipped."""

    kind: Literal["nap"]
    """What is kept."""
    every_steps: Count = 1
    """Steps from one time to the next."""
    skip: Globs = ()
    """Layers whose weights are left alone."""


class KeepVariancesConfig(Block):
    """Target variance rescaling: after some steps the weights of every layer get one standard deviation, computed ones too."""

    kind: Literal["tvr"]
    """What is kept."""
    std: Positive
    """The standard deviation."""
    every_steps: Count = 100
    """Steps from one time to the next."""
    skip: Globs = ()
    """Layers whose weights are left alone."""


class ReviveConfig(Block):
    """ReDo: units that are hardly ever on get new incoming weights, and outgoing weights of 0."""

    every_steps: Count = 1000
    """Steps from one time to the next; the batch of that step decides."""
    tau: NonNegative = 0.025
    """Up to which share of the mean magnitude of its layer a unit is dormant."""


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
    optimizer: OptimizerConfig = AdamConfig(kind="adam")
    decay: Literal["all", "weights"] = "all"
    """What weight_decay acts on: all parameters, or weights alone: no biases, gains, nor what norms, activations, neurons, chips learn."""
    scheduler: SchedulerConfig = ConstantConfig(kind="constant")
    clip_grad_norm: Positive | None = None
    """Longest gradient, as an L2 norm over all parameters; null: no limit."""
    clip: AdaptiveClipConfig | None = None
    """Of gradients, beside or in the place of clip_grad_norm, which comes after it; null: none."""
    regularizer: Annotated[NormLossConfig | ActivationPenaltyConfig, Field(discriminator="kind")] | None = None
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
    rescale: Annotated[KeepNormsConfig | KeepVariancesConfig, Field(discriminator="kind")] | None = None
    """Weights that keep their length or spread; null: none."""
    revive: ReviveConfig | None = None
    """null: units that are hardly ever on stay so."""
    only: OnlyConfig | None = None
    """null: train all parameters."""
    swap: SwapConfig | None = None
    """null: the model has its own activations from the beginning."""
    checkpoint: CheckpointConfig = CheckpointConfig()
    device: Literal["cpu", "cuda", "auto"] = "auto"
    """Where to compute; auto is a GPU where there is one."""
    threads: Annotated[Count, Field(le=1024)] | None = None
    """CPU threads of torch; null: as torch decides."""

    @model_validator(mode="after")
    def _moves_what_it_keeps(self) -> Self:
        if self.only is not None and (self.revive is not None or (self.only.random and self.rescale is not None)):
            raise ValueError("only: what does not learn stays as it is: leave revive out, and with random rescale too")
        return self

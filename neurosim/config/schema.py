"""What a config file may say.

Everything is immutable and checked as it is made. A block that names a registered component (``data``, ``model``) holds that component's
arguments beside its own keys; :mod:`neurosim.config.kinds` checks them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from neurosim.assets import list_assets
from neurosim.config.base import (
    KNOWN_VERSION,
    Block,
    Count,
    Flag,
    FolderName,
    Globs,
    NonNegative,
    Number,
    Overrides,
    Positive,
    ProperShare,
    Seed,
    Share,
    Text,
)
from neurosim.config.kinds import check_arguments, check_kind, plain
from neurosim.config.sensitivity import AcceptConfig as AcceptConfig
from neurosim.config.sensitivity import EngineConfig as EngineConfig
from neurosim.config.sensitivity import SensitivityConfig as SensitivityConfig
from neurosim.config.sparsify import SparsifyConfig as SparsifyConfig
from neurosim.config.train import TrainConfig as TrainConfig
from neurosim.errors import nearest
from neurosim.registry import Registry
from neurosim.yamlfile import show


class ComponentBlock(Block):
    """A block whose ``kind`` names a registered component, with the component's arguments beside its own keys.

    In a file, and in what :meth:`model_dump` gives, the arguments stand among the other keys; here they are ``arguments``.
    """

    kind: Text
    arguments: dict[str, Any] = Field({}, validate_default=True)

    registry: ClassVar[Callable[[], Registry[Callable[..., Any]]]]

    @classmethod
    def own_keys(cls) -> list[str]:
        """The keys that are no arguments."""
        return [key for key in cls.model_fields if key != "arguments"]

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        own = {key: value for key, value in given.items() if key in cls.own_keys()}
        return {**own, "arguments": {key: value for key, value in given.items() if key not in own}}

    @field_validator("kind")
    @classmethod
    def _registered(cls, kind: str) -> str:
        return check_kind(cls.registry(), kind)

    @field_validator("arguments")
    @classmethod
    def _fit(cls, arguments: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "kind" not in info.data:
            return arguments
        return check_arguments(cls.registry(), info.data["kind"], plain(arguments), cls.own_keys())

    @model_serializer(mode="wrap")
    def _spread(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        return {"kind": data.pop("kind"), **data.pop("arguments"), **data}


def _datasets() -> Registry[Callable[..., Any]]:
    from neurosim.datasets import DATASETS

    return DATASETS


def _models() -> Registry[Callable[..., Any]]:
    from neurosim.models import MODELS

    return MODELS


class OutliersConfig(Block):
    """Some samples of the training are too large."""

    kind: Literal["outliers"]
    """What is changed."""
    share: Share = 0.01
    """Probability that a sample is one."""
    factor: Positive = 30.0
    """What its numbers are multiplied by, those of bytes as 0 to 1, and before value_range."""


class DataConfig(ComponentBlock):
    """The data set, and how it is served."""

    registry = _datasets
    batch_size: Count = 64
    """Samples of a training step."""
    validation: ProperShare = 0.15
    """Share of the training set that is held out for choosing."""
    value_range: tuple[Number, Number] = (0.0, 1.0)
    """What black and full brightness become."""
    augment: Literal["none", "flip", "crop_flip"] | OutliersConfig = "none"
    """Random changes of training images; ``{kind: outliers, share: 0.01, factor: 30}``: some samples are that many times as large."""

    @field_validator("value_range")
    @classmethod
    def _ascending(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not value[0] < value[1]:
            raise ValueError(f"must be [low, high] with low < high, got {show(list(value))}")
        return value


class ModelConfig(ComponentBlock):
    """The digital model."""

    registry = _models
    init_from: Text | None = None
    """Weights to start from: a .safetensors file."""

    @field_validator("init_from")
    @classmethod
    def _one_source(cls, value: str | None, info: ValidationInfo) -> str | None:
        from neurosim.initialisers import takes_data

        init = info.data.get("arguments", {}).get("init")
        if value is not None and takes_data(init):
            raise ValueError(f"must be left out where init takes the first weights from data, which would replace these, got {show(value)}")
        return value


class HardwareConfig(Block):
    """The simulated hardware that the model is put on."""

    profile: Text
    """Name of a device profile, or path of one (.yaml)."""
    seed: Seed = 0
    """Which chip."""
    layers: Globs = ("*",)
    """Layers to convert: globs over their paths."""
    skip: Globs = ()
    """Layers of these that stay digital."""
    overrides: Overrides = Field(default_factory=dict)
    """Changes of the chain: by glob over layer paths, by dotted key."""
    dynamic_products: Globs = ()
    """Products of two signals to run on arrays, such as scores of attention: globs over their paths."""
    seconds: NonNegative = 0.0
    """Time since the chip was programmed, s."""

    @property
    def options(self) -> dict[str, Any]:
        """What :func:`neurosim.to_analog` takes beside the profile, by its names."""
        return {name: getattr(self, name) for name in type(self).model_fields if name != "profile"}


class LogConfig(Block):
    """What a run writes down."""

    dir: Text = "runs"
    """Folder of the runs; relative to the working folder."""
    tensorboard: Flag = False
    """Also write TensorBoard files."""
    every_steps: Count = 50
    """Steps between two rows of the step log."""


class RunConfig(Block):
    """One run: a training, a sensitivity study, or both."""

    version: Annotated[Literal[1], KNOWN_VERSION] = 1
    """Of the config format."""
    name: FolderName
    """Of the run and its folder: letters, digits, '_', '-' and '.'."""
    recipe: str = "classify"
    """The shipped program that trains."""
    seed: Seed = 0
    """Of everything random but the hardware: initial weights, order, split, augmentation."""
    data: DataConfig
    model: ModelConfig
    hardware: HardwareConfig | None = None
    """null: the model stays digital."""
    train: TrainConfig = TrainConfig()
    sparsify: SparsifyConfig | None = None
    """null: no input is left out."""
    sensitivity: SensitivityConfig | None = None
    """null: no study is planned."""
    log: LogConfig = LogConfig()

    @field_validator("recipe")
    @classmethod
    def _shipped(cls, value: str) -> str:
        names = [name.removeprefix("training/").removesuffix(".py") for name in list_assets("training", "*.py")]
        if value not in names:
            raise ValueError(f"must be a shipped recipe, got {show(value)}{nearest(value, names)}")
        return value

    @model_validator(mode="after")
    def _swaps_where_it_can(self) -> Self:
        if self.train.swap is not None and self.recipe != "distill":
            raise ValueError(f"train.swap: needs the recipe distill, got {show(self.recipe)}")
        return self

    @model_validator(mode="after")
    def _sparsifies_where_it_can(self) -> Self:
        if self.sparsify is not None and self.recipe != "classify":
            raise ValueError(f"sparsify: needs the recipe classify, got {show(self.recipe)}")
        return self

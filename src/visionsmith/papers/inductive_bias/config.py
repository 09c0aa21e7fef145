"""Sizes of the five networks, of the pictures they all see, and of the experiment. Imports no torch.

The default sizes give the five networks the same number of parameters within two percent; a test holds them to it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from visionsmith.config import config
from visionsmith.errors import ConfigError
from visionsmith.train.recipe import OptimConfig, TrainConfig

__all__ = [
    "ARCHITECTURES",
    "PATCH",
    "PATCHES",
    "SIDE",
    "UNPLACED",
    "BiasRecipe",
    "CnnConfig",
    "ExperimentConfig",
    "FcnConfig",
    "GnnConfig",
    "ModelConfig",
    "RnnConfig",
    "TransformerConfig",
    "recipe",
]

SIDE = 32
"""Side of a picture, pixels."""
PATCH = 8
"""Side of a patch, pixels: what the RNN, the GNN and the Transformer read, and what the experiments permute."""
PATCHES = (SIDE // PATCH) ** 2
"""Patches of a picture."""


def _positive(kind: str, **values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise ConfigError(f"{kind}.{name} = {value} is not positive", do="choose at least 1")


@config
class FcnConfig:
    """A fully connected network: every pixel its own weights."""

    kind: Literal["fcn"] = "fcn"
    width: int = 56
    layers: int = 2
    """Hidden layers."""

    def __post_init__(self) -> None:
        _positive("fcn", width=self.width, layers=self.layers)


@config
class CnnConfig:
    """A convolutional network on a torus: circular padding."""

    kind: Literal["cnn"] = "cnn"
    widths: tuple[int, ...] = (16, 42, 109)
    """Channels of each stage; a stage halves the sides."""

    def __post_init__(self) -> None:
        if not self.widths:
            raise ConfigError("cnn.widths is empty", do="name the channels of at least one stage")
        _positive("cnn", **{f"widths.{place}": width for place, width in enumerate(self.widths)})
        if SIDE % 2 ** len(self.widths):
            raise ConfigError(
                f"cnn.widths has {len(self.widths)} stages, too many for {SIDE} px", do="choose at most 5"
            )


@config
class RnnConfig:
    """A recurrent network that reads the patches row by row."""

    kind: Literal["rnn"] = "rnn"
    width: int = 163
    """Size of the state."""

    def __post_init__(self) -> None:
        _positive("rnn", width=self.width)


@config
class GnnConfig:
    """A message-passing network on the grid of patches, closed to a torus."""

    kind: Literal["gnn"] = "gnn"
    width: int = 88
    layers: int = 4
    """Rounds of messages."""

    def __post_init__(self) -> None:
        _positive("gnn", width=self.width, layers=self.layers)


@config
class TransformerConfig:
    """A transformer over the patches."""

    kind: Literal["transformer"] = "transformer"
    width: int = 80
    heads: int = 4
    """Attention heads; divides width."""
    layers: int = 2
    positions: bool = True
    """Whether a patch's place is added to it; without, the patches are a set."""

    def __post_init__(self) -> None:
        _positive("transformer", width=self.width, heads=self.heads, layers=self.layers)
        if self.width % self.heads:
            raise ConfigError(
                f"transformer.width = {self.width} is not a multiple of transformer.heads = {self.heads}",
                do="choose one that is",
            )


ModelConfig = Annotated[
    FcnConfig | CnnConfig | RnnConfig | GnnConfig | TransformerConfig, Field(discriminator="kind")
]
"""Any of the five."""

ARCHITECTURES: dict[str, ModelConfig] = {
    "FCN": FcnConfig(),
    "CNN": CnnConfig(),
    "RNN": RnnConfig(),
    "GNN": GnnConfig(),
    "Transformer": TransformerConfig(),
}
"""What is compared, by the name that tables and plots use."""
UNPLACED = "Transformer, unplaced"
"""A sixth network in some experiments: the Transformer and its learning rate, with nothing added to a patch."""


@config
class ExperimentConfig:
    """How long everything trains, on how much, and how often. The defaults are those of the reported figures."""

    steps: int = 600
    """Updates of every training, whatever the network and the share of the data."""
    batch_size: int = 32
    seeds: tuple[int, ...] = (0, 1, 2)
    shares: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0)
    """Of the training pictures of each class; the last one is all."""
    rates: tuple[float, ...] = (1e-3, 3e-3, 9e-3)
    """Learning rates to choose from, once for each network, on other classes."""
    choice_seed: int = 100
    """Seed of the trainings that choose the rate."""

    def __post_init__(self) -> None:
        if not self.seeds or not self.rates:
            raise ConfigError("seeds and rates may not be empty", do="name at least one of each")
        if not self.shares or self.shares[-1] != 1 or min(self.shares) <= 0 or max(self.shares) > 1:
            raise ConfigError(
                f"shares = {list(self.shares)}",
                do="choose shares above 0 and up to 1, of which the last is 1",
            )


@config
class BiasRecipe:
    """One training of the experiment."""

    model: ModelConfig
    share: float = 1.0
    """Of the training pictures of each class."""
    classes: Literal["compared", "choice"] = "compared"
    """Whose pictures: the classes that are reported, or those that the learning rate is chosen on."""
    permuted: bool = False
    """Whether the patches of every picture, in training and in testing, are in one fixed other order."""
    probes: bool = False
    """Whether the finished network also answers about changed pictures (`probes.py`)."""
    train: TrainConfig


def recipe(
    experiment: ExperimentConfig, model: ModelConfig, *, rate: float, seed: int, **changes: Any
) -> BiasRecipe:
    """A training as all of them are made: AdamW with warm-up and cosine, one thread.

    Args:
        experiment: its length and batch.
        model: the network.
        rate: peak learning rate.
        seed: of the weights, the share of the data, the order and the augmentation.
        changes: other fields of `BiasRecipe`.
    """
    train = TrainConfig(
        steps=experiment.steps,
        batch_size=experiment.batch_size,
        seed=seed,
        threads=1,
        optim=OptimConfig(lr=rate, warmup_steps=experiment.steps // 20, weight_decay=0.05),
        log_every=max(1, experiment.steps // 4),
        save_every=experiment.steps,
        keep=1,
    )
    return BiasRecipe(model=model, train=train, **changes)

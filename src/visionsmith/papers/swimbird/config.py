"""Sizes and budgets of SwimBird. The defaults are Qwen3-VL-8B's, on which the published model stands."""

from __future__ import annotations

from typing import Literal

from visionsmith.config import config
from visionsmith.errors import ConfigError

__all__ = ["SwimBirdConfig", "TextConfig", "VisionConfig"]


@config
class VisionConfig:
    """Qwen3-VL's vision tower: patches, merged two by two into what the language model reads."""

    depth: int = 27
    hidden_size: int = 1152
    intermediate_size: int = 4304
    num_heads: int = 16
    patch_size: int = 16
    """Side of a patch, pixels."""
    spatial_merge_size: int = 2
    """Patches a side that become one token of the language model."""
    temporal_patch_size: int = 2
    """Frames of a patch; a picture is repeated."""
    num_position_embeddings: int = 2304
    """Learned positions, a square number; interpolated to the grid of a picture."""
    deepstack_visual_indexes: tuple[int, ...] = (8, 16, 24)
    """Blocks whose outputs are added to the first layers of the language model (DeepStack)."""

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_heads:
            raise ConfigError(
                f"vision.hidden_size = {self.hidden_size} is no multiple of {self.num_heads} heads",
                do="choose a multiple",
            )
        if int(self.num_position_embeddings**0.5) ** 2 != self.num_position_embeddings:
            raise ConfigError(
                f"vision.num_position_embeddings = {self.num_position_embeddings} is no square number",
                do="choose one, e.g. 2304",
            )
        if any(not 0 <= index < self.depth for index in self.deepstack_visual_indexes):
            raise ConfigError(
                f"vision.deepstack_visual_indexes = {list(self.deepstack_visual_indexes)} names blocks that are not "
                "there",
                do=f"choose from 0 to {self.depth - 1}",
            )

    @property
    def token_side(self) -> int:
        """Pixels a side that one token of the language model stands for."""
        return self.patch_size * self.spatial_merge_size


@config
class TextConfig:
    """Qwen3's language model."""

    vocab_size: int = 151_936
    hidden_size: int = 4096
    intermediate_size: int = 12_288
    num_hidden_layers: int = 36
    num_attention_heads: int = 32
    num_key_value_heads: int = 8
    head_dim: int = 128
    max_position_embeddings: int = 262_144
    rms_norm_eps: float = 1e-6
    rope_theta: float = 5_000_000.0
    mrope_section: tuple[int, int, int] = (24, 20, 20)
    """How many pairs of a head's dimensions turn with time, height and width; together half of `head_dim`."""

    def __post_init__(self) -> None:
        if 2 * sum(self.mrope_section) != self.head_dim:
            raise ConfigError(
                f"text.mrope_section = {list(self.mrope_section)} does not fill half of head_dim = {self.head_dim}",
                do=f"choose three numbers whose sum is {self.head_dim // 2}",
            )


@config
class SwimBirdConfig:
    """A Qwen3-VL with a span of latent thoughts."""

    vision: VisionConfig = VisionConfig()
    text: TextConfig = TextConfig()
    tie_word_embeddings: bool = False
    image_id: int = 151_655
    """`<|image_pad|>`: stands where a token of a picture goes."""
    vision_start_id: int = 151_652
    vision_end_id: int = 151_653
    latent_id: int = 151_669
    """`<|latent|>`: stands where a thought goes. No weights: what goes in is the last hidden state."""
    latent_start_id: int = 151_670
    latent_end_id: int = 151_671
    end_id: int = 151_645
    """`<|im_end|>`: ends a turn."""
    max_latent_token: int = 32
    """Most tokens of a thought picture in training: its pixels are capped, nothing else."""
    fixed_latent: bool = False
    """Whether every thought picture is made a square of about that many tokens: spans of one length, an ablation."""
    min_latent_token: int = 1
    """Fewest thoughts of a span in generation (N_min)."""
    latent_limit: int | None = None
    """Most thoughts of a span in generation (N_max); None: twice `max_latent_token`, as published."""
    max_image_token: int = 16_384
    """Most tokens of a question's picture."""
    min_image_token: int = 2
    latent_loss: Literal["mse", "sim"] = "mse"
    """Mean squared error, or 1 - cosine."""
    supervise_stay: bool = False
    """Whether each thought but the last is also taught not to end the span. As published only the last place of a span
    is supervised, so that at the others nothing has been learned about when to leave."""
    latent_lambda: float = 0.2
    """Weight of that loss (the paper's; the public code's default is 0.1, and its script sets 0.2)."""

    def __post_init__(self) -> None:
        if not 1 <= self.min_latent_token <= self.most_latents:
            raise ConfigError(
                f"min_latent_token = {self.min_latent_token} is not from 1 to {self.most_latents}",
                do="choose N_min no larger than N_max",
            )
        if self.latent_lambda < 0:
            raise ConfigError(f"latent_lambda = {self.latent_lambda} is negative", do="choose 0 or more")
        largest = max(
            getattr(self, name)
            for name in (
                "image_id",
                "vision_start_id",
                "vision_end_id",
                "latent_id",
                "latent_start_id",
                "latent_end_id",
            )
        )
        if largest >= self.text.vocab_size:
            raise ConfigError(
                f"token {largest} is outside the vocabulary of {self.text.vocab_size}",
                do="make text.vocab_size larger",
            )

    @property
    def most_latents(self) -> int:
        """N_max."""
        return 2 * self.max_latent_token if self.latent_limit is None else self.latent_limit

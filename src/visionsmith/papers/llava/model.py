"""LLaVA's network: a CLIP vision tower, a projector, a Llama (sec. 4.1, fig. 1).

The parts are transformers' own classes; only the projector is the project's, because transformers' is always of two
layers and the paper's is one. Features are scattered to the places of the image tokens, in order.

Axes: b conversations, t tokens, p pictures of the whole batch, n patches of a picture, d width of the language model.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from visionsmith.errors import DataError
from visionsmith.memory.locks import library_load
from visionsmith.papers.llava.config import LanguageConfig, LlavaConfig
from visionsmith.papers.llava.tower import patch_features, vision_model

__all__ = ["Llava", "language_model", "projector"]


def language_model(config: LanguageConfig, end_token: int) -> LlamaForCausalLM:
    """A Llama with new weights."""
    with library_load():
        return LlamaForCausalLM(  # type: ignore[no-untyped-call]
            LlamaConfig(
                vocab_size=config.vocab_size,
                hidden_size=config.width,
                intermediate_size=config.hidden,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                num_key_value_heads=config.key_value_heads or config.heads,
                max_position_embeddings=config.context,
                rms_norm_eps=config.norm_eps,
                rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
                tie_word_embeddings=config.tied,
                initializer_range=config.initial_std,
                bos_token_id=None,
                eos_token_id=end_token,
                pad_token_id=None,
            )
        )


def projector(config: LlavaConfig) -> nn.Module:
    """From patch features to words: one linear layer, or two with GELU between them."""
    inside, outside = config.vision.width, config.language.width
    if config.projector == "linear":
        return nn.Linear(inside, outside)
    return nn.Sequential(nn.Linear(inside, outside), nn.GELU(), nn.Linear(outside, outside))


class Llava(nn.Module):
    """Tower, projector and language model; trained and read through `hidden`, written with through `embed`."""

    def __init__(self, config: LlavaConfig) -> None:
        super().__init__()
        self.config = config
        self.vision = vision_model(config.vision)
        self.projector = projector(config)
        self.language = language_model(config.language, config.end_token)

    def look(self, pixels: Tensor) -> Tensor:
        """What the frozen tower sees: `p n c`, without a gradient.

        Args:
            pixels: float `p 3 h w`, normalised as CLIP's.
        """
        with torch.no_grad():
            return patch_features(self.vision, pixels, self.config.select_layer)

    def embed(self, ids: Tensor, features: Tensor | None = None) -> Tensor:
        """Embeddings `b t d` of tokens and pictures.

        Args:
            ids: int64 `b t`; every picture is n times the image token.
            features: `p n c` of `look`, in the order in which the pictures occur in the rows; None without any.

        Raises:
            DataError: there are more places for patches than patches, or fewer.
        """
        places = ids == self.config.image_token
        expected, given = int(places.sum()), 0 if features is None else features.shape[0] * features.shape[1]
        if expected != given:
            raise DataError(
                f"the conversations have room for {expected} patches and the pictures have {given}",
                do="give one picture for each <image>",
            )
        words: Tensor = self.language.model.embed_tokens(ids.masked_fill(places, self.config.end_token))
        if features is None:
            return words
        projected = self.projector(features).to(words.dtype)
        return words.masked_scatter(places[..., None], projected.flatten(0, 1))

    def hidden(self, embeddings: Tensor, mask: Tensor | None = None) -> Tensor:
        """The language model's last states `b t d`.

        Args:
            embeddings: `b t d` of `embed`.
            mask: `b t`, 1 at tokens; needed only where rows are padded at the left. Padding at the right is behind
                every token, and none looks back to it.
        """
        states: Tensor = self.language.model(
            inputs_embeds=embeddings, attention_mask=mask, use_cache=False
        ).last_hidden_state
        return states

    def logits(self, states: Tensor) -> Tensor:
        """Scores of the next words, `... v`."""
        scores: Tensor = self.language.lm_head(states)
        return scores

    def forward(self, ids: Tensor, features: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Logits `b t v` everywhere; training does without them."""
        return self.logits(self.hidden(self.embed(ids, features), mask))

"""SwimBird: a Qwen3-VL whose last hidden state may be its own next input (sec. 3).

    picture -> tower -> merger -> tokens --.
    text ----------------> embeddings -----+--> language model --> last hidden state --> head --> next token
    thoughts (hidden states, fed back) ----'                              '--> next thought, inside a latent span

The library's modules are used as they are; what is added is where thoughts go in and what is read out.

Axes: b samples, t positions, d width of the language model, n patches, i pictures, m thoughts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from visionsmith.errors import DataError
from visionsmith.papers.swimbird.config import SwimBirdConfig

__all__ = ["Seen", "SwimBird", "library_config"]


@dataclass
class Seen:
    """What the tower makes of pictures."""

    tokens: Tensor
    """`k d`, the tokens of all pictures in order."""
    deep: list[Tensor]
    """DeepStack features, one `k d` a tapped block."""


class SwimBird(nn.Module):
    """Qwen3-VL with latent thoughts."""

    def __init__(self, config: SwimBirdConfig) -> None:
        """Make a model of random weights.

        Args:
            config: sizes and token ids.
        """
        super().__init__()
        from visionsmith.memory.locks import library_load

        self.config = config
        with library_load():
            from transformers import Qwen3VLForConditionalGeneration

            self.qwen = Qwen3VLForConditionalGeneration(library_config(config))  # type: ignore[no-untyped-call]

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = self.qwen.device
        return device

    def see(self, values: Tensor, grids: Tensor) -> Seen:
        """Run the tower.

        Args:
            values: patches `n (c t p p)`, as `patches.cut` makes them.
            grids: int64 `i 3`.
        """
        visual = self.qwen.model.visual
        found = visual(values.to(visual.dtype), grid_thw=grids)
        return Seen(found.pooler_output, list(found.deepstack_features))

    def positions(self, ids: Tensor, mask: Tensor, grids: Tensor | None) -> Tensor:
        """Places of every position: int64 `4 b t`, in the text, and in time, height and width.

        A thought is text here, as in the public code: it has no place in a picture.
        """
        kinds = (ids == self.config.image_id).int()
        rope, _ = self.qwen.model.get_rope_index(ids, kinds, image_grid_thw=grids, attention_mask=mask)
        text = (mask.long().cumsum(dim=-1) - 1).clamp(min=0)
        return torch.cat([text[None], rope])

    def hidden(
        self,
        ids: Tensor,
        mask: Tensor,
        *,
        values: Tensor | None = None,
        grids: Tensor | None = None,
        thoughts: Tensor | None = None,
    ) -> Tensor:
        """Last hidden states, normalised.

        Args:
            ids: int64 `b t`; `image_id` and `latent_id` stand where tokens of pictures and thoughts go.
            mask: int64 `b t`, 1 where there is a token; padding may stand on either side.
            values: patches of all pictures of the batch, in order.
            grids: their grids.
            thoughts: `m d`, in the order of the `latent_id`s.

        Returns:
            `b t d`.

        Raises:
            DataError: pictures or thoughts do not fit their places.
        """
        states, positions, deep, places = self.inputs(
            ids, mask, values=values, grids=grids, thoughts=thoughts
        )
        found = self.qwen.model.language_model(
            inputs_embeds=states,
            attention_mask=mask,
            position_ids=positions,
            visual_pos_masks=places,
            deepstack_visual_embeds=deep,
            use_cache=False,
        )
        last: Tensor = found.last_hidden_state
        return last

    def inputs(
        self,
        ids: Tensor,
        mask: Tensor,
        *,
        values: Tensor | None,
        grids: Tensor | None,
        thoughts: Tensor | None,
    ) -> tuple[Tensor, Tensor, list[Tensor] | None, Tensor | None]:
        """What the language model is given: embeddings `b t d`, places, and DeepStack features with their mask."""
        states: Tensor = self.qwen.get_input_embeddings()(ids)
        deep, places = None, None
        if values is not None:
            assert grids is not None, "patches come with their grids"
            seen = self.see(values, grids)
            places = ids == self.config.image_id
            states = _put(states, places, seen.tokens, "pictures")
            deep = seen.deep
        elif bool((ids == self.config.image_id).any()):
            raise DataError("the text has places for a picture, and none was given", do="give the picture")
        if thoughts is not None:
            states = _put(states, ids == self.config.latent_id, thoughts, "thoughts")
        return states, self.positions(ids, mask, grids), deep, places

    def head(self, states: Tensor) -> Tensor:
        """Hidden states -> logits over the vocabulary."""
        logits: Tensor = self.qwen.lm_head(states)
        return logits

    def thoughts_of(self, values: Tensor, grids: Tensor) -> Tensor:
        """Targets of thoughts: the tower's merged tokens of thought pictures, `m d`, without gradient.

        DeepStack features of thought pictures are not used (sec. 3).
        """
        with torch.no_grad():
            return self.see(values, grids).tokens.detach()


def library_config(config: SwimBirdConfig) -> object:
    """The library's `Qwen3VLConfig` of the same sizes."""
    from transformers import Qwen3VLConfig

    text, vision = config.text, config.vision
    return Qwen3VLConfig(
        text_config={
            "vocab_size": text.vocab_size,
            "hidden_size": text.hidden_size,
            "intermediate_size": text.intermediate_size,
            "num_hidden_layers": text.num_hidden_layers,
            "num_attention_heads": text.num_attention_heads,
            "num_key_value_heads": text.num_key_value_heads,
            "head_dim": text.head_dim,
            "max_position_embeddings": text.max_position_embeddings,
            "rms_norm_eps": text.rms_norm_eps,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": text.rope_theta,
                "mrope_section": list(text.mrope_section),
                "mrope_interleaved": True,
            },
        },
        vision_config={
            "depth": vision.depth,
            "hidden_size": vision.hidden_size,
            "intermediate_size": vision.intermediate_size,
            "num_heads": vision.num_heads,
            "patch_size": vision.patch_size,
            "spatial_merge_size": vision.spatial_merge_size,
            "temporal_patch_size": vision.temporal_patch_size,
            "out_hidden_size": text.hidden_size,
            "num_position_embeddings": vision.num_position_embeddings,
            "deepstack_visual_indexes": list(vision.deepstack_visual_indexes),
        },
        image_token_id=config.image_id,
        vision_start_token_id=config.vision_start_id,
        vision_end_token_id=config.vision_end_id,
        tie_word_embeddings=config.tie_word_embeddings,
    )


def _put(states: Tensor, places: Tensor, what: Tensor, name: str) -> Tensor:
    """Embeddings with some places filled: `b t d`."""
    if (wanted := int(places.sum())) != len(what):
        raise DataError(
            f"the text has places for {wanted} tokens of {name}, and {len(what)} were given",
            do="give as many pictures as the text names, in their order",
        )
    return states.masked_scatter(places[..., None], what.to(states.dtype))

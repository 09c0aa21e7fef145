"""C3: a language model writes a text into N latents, another reads them (arXiv:2511.15244, fig. 2).

Both are transformers' own Qwen2; what is added are the queries, one linear map, and the way in and out.

Axes: b texts, t tokens, n latents, c compressor width, d decoder width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Model
from transformers.models.qwen2.modeling_qwen2 import apply_rotary_pos_emb

from visionsmith.memory.locks import library_load
from visionsmith.papers.c3.config import C3Config, LanguageConfig

__all__ = ["C3", "TIED", "DecoderInput", "Latents", "last_rows", "qwen_config"]


@dataclass(frozen=True)
class Latents:
    """Texts in the decoder's input space."""

    values: Tensor
    """`b n d`; what lies in rows that a short text does not have means nothing."""
    present: Tensor
    """bool `b n`, True up to the number of latents that a text has."""


@dataclass(frozen=True)
class DecoderInput:
    """A batch for the decoder."""

    states: Tensor
    """`b t d`, embeddings and latents."""
    present: Tensor
    """bool `b t`, False where a row is filled up."""
    places: Tensor
    """int64 `b t`, rotary positions."""


class C3(nn.Module):
    """Compressor, queries, projection and decoder."""

    def __init__(self, config: C3Config) -> None:
        super().__init__()
        self.config = config
        with library_load():
            self.compressor = Qwen2Model(qwen_config(config, config.compressor))
            self.decoder = Qwen2ForCausalLM(qwen_config(config, config.decoder))  # type: ignore[no-untyped-call]
        self.queries = nn.Embedding(config.latents, config.compressor.width)
        nn.init.normal_(self.queries.weight, std=0.02)
        self.projector = nn.Linear(config.compressor.width, config.decoder.width)
        if config.decoder.tied:
            self.register_state_dict_post_hook(_drop_tied)  # type: ignore[no-untyped-call]
            self.register_load_state_dict_pre_hook(_add_tied)  # type: ignore[no-untyped-call]

    def compress(self, texts: Tensor, present: Tensor) -> Latents:
        """Read texts into latents; those of a text do not depend on the others of its batch.

        Args:
            texts: int64 `b t`, token ids.
            present: bool `b t`, False where a short text is filled up on its right.
        """
        embed = self.compressor.embed_tokens
        rows, longest = texts.shape
        lengths = present.sum(dim=1)
        wanted = self._wanted(lengths)
        count = wanted.shape[1]
        start = embed(texts.new_full((rows, 1), self.config.image_start))
        queries = self.queries.weight[:count].to(start.dtype).expand(rows, -1, -1)
        numbers = torch.arange(count, device=texts.device)
        if self.config.stride is None:
            places = lengths[:, None] + 1 + numbers
        else:
            # DIFFERS: a query stands at the last of the tokens that it is for, so a head that looks a fixed way back
            # finds them. A published query must learn how far off they are.
            places = (numbers * self.config.stride + self.config.stride - 1).expand(rows, -1)
        read = torch.arange(longest, device=texts.device).expand(rows, -1)
        found = last_rows(
            self.compressor,
            # The published layout ends with one more token, which the queries before it cannot see.
            torch.cat([embed(texts), start, queries], dim=1),
            torch.cat([present, present.new_ones(rows, 1), wanted], dim=1),
            torch.cat([read, lengths[:, None], places], dim=1),
            count,
        )
        return Latents(self.projector(found), wanted)

    def _wanted(self, lengths: Tensor) -> Tensor:
        """Which latents texts of these lengths have: bool `b n`."""
        if self.config.stride is None:
            return torch.ones(len(lengths), self.config.latents, dtype=torch.bool, device=lengths.device)
        counts = (lengths + self.config.stride - 1) // self.config.stride
        return torch.arange(int(counts.max()), device=lengths.device) < counts[:, None]

    def decoder_input(self, latents: Latents, ids: Tensor, present: Tensor, asked: Tensor) -> DecoderInput:
        """Embeddings and positions of the decoder, with the latents in the places that are kept for them.

        Args:
            latents: of the texts.
            ids: int64 `b t`, the prompt and as much of an answer as there is, with `image_pad` in as many places of a
                row as its text has latents.
            present: bool `b t`, False where a row is filled up, on either side.
            asked: int64 `b`, tokens of each prompt, latents not counted.
        """
        slots = (ids == self.config.image_pad) & present
        words = present & ~slots
        embedded = self.decoder.model.embed_tokens(ids)
        values = latents.values[latents.present].to(embedded.dtype)
        states = embedded.masked_scatter(slots[:, :, None], values)
        if self.config.stride is None:
            places = present.cumsum(dim=1) - 1
        else:
            # DIFFERS: a latent stands where its tokens do in the answer, as the queries do in the text; one place
            # earlier, since the state at a token speaks of the next.
            own = asked[:, None] - 1 + self.config.stride * (slots.cumsum(dim=1) - 1)
            places = torch.where(slots, own, words.cumsum(dim=1) - 1)
        return DecoderInput(states, present, places.clamp(min=0))

    def read(self, given: DecoderInput) -> Tensor:
        """The decoder's last states `b t d`."""
        # Always with a mask: without one the library takes a jump in the positions for the start of another text.
        output = self.decoder.model(
            inputs_embeds=given.states,
            attention_mask=given.present.to(torch.int64),
            position_ids=given.places,
            use_cache=False,
        )
        states: Tensor = output.last_hidden_state
        return states


TIED = "decoder.lm_head.weight"
"""The output layer, which a model whose decoder is tied keeps as its embedding."""
EMBEDDING = "decoder.model.embed_tokens.weight"


def _drop_tied(module: nn.Module, state: dict[str, Tensor], prefix: str, metadata: object) -> None:
    """The tied output layer is kept once, as the embedding: safetensors refuses tensors that share memory."""
    state.pop(prefix + TIED, None)


def _add_tied(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    if prefix + EMBEDDING in state:
        state.setdefault(prefix + TIED, state[prefix + EMBEDDING])


def last_rows(model: Qwen2Model, states: Tensor, present: Tensor, places: Tensor, count: int) -> Tensor:
    """The last `count` output states of a Qwen2 model, as its own `forward` gives them.

    The last layer's queries, attention and feed-forward part are computed for those rows alone.

    Args:
        model: with scaled-dot-product attention.
        states: `b t c`, input embeddings.
        present: bool `b t`; what is not present is not attended to.
        places: int64 `b t`, rotary positions.
        count: of rows.
    """
    length = states.shape[1]
    rotary = model.rotary_emb(states, places)
    mask = torch.ones(length, length, dtype=torch.bool, device=states.device).tril()
    if not bool(present.all()):
        # A row sees itself, so that one that is not present does not divide by zero.
        own = torch.eye(length, dtype=torch.bool, device=states.device)
        mask = (mask & present[:, None, None, :]) | own
    for layer in model.layers[:-1]:
        # Without a mask the attention is causal by itself, and faster.
        states = layer(
            states,
            attention_mask=mask if mask.ndim == 4 else None,
            position_ids=places,
            position_embeddings=rotary,
        )
    last: Any = model.layers[-1]
    attention = last.self_attn
    normed = last.input_layernorm(states)

    def heads(values: Tensor) -> Tensor:
        return values.view(*values.shape[:-1], -1, attention.head_dim).transpose(1, 2)  # b h t e

    cos, sin = rotary
    key, value = heads(attention.k_proj(normed)), heads(attention.v_proj(normed))
    key, _ = apply_rotary_pos_emb(key, key, cos, sin)
    query = heads(attention.q_proj(normed[:, -count:]))
    query, _ = apply_rotary_pos_emb(query, query, cos[:, -count:], sin[:, -count:])
    mixed = F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask[..., -count:, :], scale=attention.scaling, enable_gqa=True
    )
    rows = states[:, -count:] + attention.o_proj(mixed.transpose(1, 2).flatten(2))
    rows = rows + last.mlp(last.post_attention_layernorm(rows))
    normal: Tensor = model.norm(rows)
    return normal


def qwen_config(config: C3Config, part: LanguageConfig) -> Qwen2Config:
    """The library's config of one of the two models."""
    return Qwen2Config(
        vocab_size=config.vocab_size,
        hidden_size=part.width,
        num_hidden_layers=part.layers,
        num_attention_heads=part.heads,
        num_key_value_heads=part.key_heads,
        intermediate_size=part.hidden,
        rms_norm_eps=config.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": part.rope_theta},
        tie_word_embeddings=part.tied,
        attn_implementation="sdpa",  # type: ignore[call-arg]
    )

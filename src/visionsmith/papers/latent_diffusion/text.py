"""The text encoder: the text tower of a CLIP as transformers' `CLIPTextModel`, and its tokenizer.

Pipelines of diffusers take these two classes; the tower itself is not changed.
"""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from visionsmith.memory.locks import library_load
from visionsmith.papers.clip import CLIP, ClipTokenizer
from visionsmith.papers.latent_diffusion.config import TextConfig

__all__ = ["make_text_encoder", "make_tokenizer", "text_config", "text_state"]

BLOCK = {
    "attn.out_proj": "self_attn.out_proj",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
"""Names inside a block: OpenAI's, and transformers'."""


def make_text_encoder(config: TextConfig) -> CLIPTextModel:
    """A new `CLIPTextModel` of these sizes."""
    with library_load():
        return CLIPTextModel(
            CLIPTextConfig(
                vocab_size=config.vocab_size,
                hidden_size=config.width,
                intermediate_size=4 * config.width,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                max_position_embeddings=config.context_length,
                hidden_act=config.activation,
                bos_token_id=config.start_token,
                eos_token_id=config.end_token,
                pad_token_id=config.pad_token,
            )
        )


def make_tokenizer(content: bytes, config: TextConfig) -> PreTrainedTokenizerFast:
    """The tokenizer of a `tokenizer.json`; captions are padded to the context with `pad_token`, and cut to it."""
    words = Tokenizer.from_str(content.decode())
    start, end, pad = (
        words.id_to_token(token) for token in (config.start_token, config.end_token, config.pad_token)
    )
    make: Any = PreTrainedTokenizerFast  # without types
    made: PreTrainedTokenizerFast = make(
        tokenizer_object=words,
        model_max_length=config.context_length,
        bos_token=start,
        eos_token=end,
        unk_token=end,
        pad_token=pad,
    )
    return made


def text_config(clip: CLIP, tokenizer: ClipTokenizer) -> TextConfig:
    """The sizes of a CLIP's text tower."""
    text = clip.config.text
    return TextConfig(
        vocab_size=text.vocab_size,
        context_length=text.context_length,
        width=text.width,
        heads=text.heads,
        layers=text.layers,
        activation=text.activation,
        start_token=tokenizer.start_token,
        end_token=tokenizer.end_token,
        pad_token=tokenizer.end_token,
    )


def text_state(clip: CLIP) -> dict[str, Tensor]:
    """The text tower's weights under the names of `CLIPTextModel`."""
    ours = {name: value.detach().float() for name, value in clip.state_dict().items()}
    theirs = {
        "embeddings.token_embedding.weight": ours["token_embedding.weight"],
        "embeddings.position_embedding.weight": ours["positional_embedding"],
    }
    for kind in ("weight", "bias"):
        theirs[f"final_layer_norm.{kind}"] = ours[f"ln_final.{kind}"]
        for layer in range(clip.config.text.layers):
            block, place = f"transformer.resblocks.{layer}", f"encoder.layers.{layer}"
            parts = torch.chunk(ours[f"{block}.attn.in_proj_{kind}"], 3)
            theirs |= {
                f"{place}.self_attn.{part}_proj.{kind}": value
                for part, value in zip("qkv", parts, strict=True)
            }
            theirs |= {
                f"{place}.{there}.{kind}": ours[f"{block}.{here}.{kind}"] for here, there in BLOCK.items()
            }
    return theirs

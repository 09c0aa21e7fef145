"""The settings of the VAE, the text encoders and the Flux transformer, read from names and shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from visionsmith.errors import CheckpointError, ConfigError
from visionsmith.single_file.header import Shape

__all__ = ["count_layers", "read_flux", "read_t5", "read_text", "read_vae", "shape_of"]

ROPE = (16, 56, 56)
"""Published split of a Flux head's width, 128, among the axes (text, row, column)."""


def shape_of(shapes: Mapping[str, Shape], name: str) -> Shape:
    """The shape of a tensor that a part needs.

    Raises:
        CheckpointError: it is missing.
    """
    if name not in shapes:
        raise CheckpointError(f"lacks {name}", do="use the file as it was published")
    return shapes[name]


def count_layers(shapes: Mapping[str, Shape], start: str) -> int:
    """One more than the largest number that follows `start` in a name; 0 without any."""
    numbers = [name.removeprefix(start).partition(".")[0] for name in shapes if name.startswith(start)]
    return max((int(number) for number in numbers if number.isdigit()), default=-1) + 1


def read_vae(shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """Settings of diffusers' AutoencoderKL that shapes show."""
    levels = count_layers(shapes, "encoder.down.")
    layers = count_layers(shapes, "encoder.down.0.block.")
    if not levels or not layers:
        raise CheckpointError(
            "the VAE has no encoder (encoder.down.0.block.0)", do="use a file with a whole VAE"
        )
    return {
        "in_channels": shape_of(shapes, "encoder.conv_in.weight")[1],
        "out_channels": shape_of(shapes, "decoder.conv_out.weight")[0],
        "latent_channels": shape_of(shapes, "decoder.conv_in.weight")[1],
        "block_out_channels": [
            shape_of(shapes, f"encoder.down.{level}.block.0.conv2.weight")[0] for level in range(levels)
        ],
        "layers_per_block": layers,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "use_quant_conv": "quant_conv.weight" in shapes,
        "use_post_quant_conv": "post_quant_conv.weight" in shapes,
    }


def read_text(shapes: Mapping[str, Shape], *, openclip: bool, head_width: int) -> dict[str, Any]:
    """Settings of transformers' CLIPTextModel.

    Args:
        shapes: of the text encoder's tensors, names without the prefix.
        openclip: whether the names are OpenCLIP's.
        head_width: of one attention head, which shapes do not show.

    Raises:
        CheckpointError: a tensor that shows a setting is missing.
        ConfigError: the heads do not fit the width.
    """
    if openclip:
        layers = count_layers(shapes, "transformer.resblocks.")
        token, place = "token_embedding.weight", "positional_embedding"
        first = "transformer.resblocks.0.mlp.c_fc.weight"
    else:
        layers = count_layers(shapes, "text_model.encoder.layers.")
        token = "text_model.embeddings.token_embedding.weight"
        place = "text_model.embeddings.position_embedding.weight"
        first = "text_model.encoder.layers.0.mlp.fc1.weight"
    vocabulary, width = shape_of(shapes, token)
    if width % head_width:
        raise ConfigError(
            f"a text encoder of width {width} has no heads of width {head_width}", do="give --text-head-width"
        )
    projection = shapes.get("text_projection")
    return {
        "model_type": "clip_text_model",
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": shape_of(shapes, first)[0],
        "max_position_embeddings": shape_of(shapes, place)[0],
        "num_hidden_layers": layers,
        "num_attention_heads": width // head_width,
        "hidden_act": "gelu" if openclip else "quick_gelu",
        "projection_dim": projection[1] if openclip and projection else width,
        "layer_norm_eps": 1e-5,
        "bos_token_id": 0,
        # With 2 transformers takes the state at the highest token, which is the end in CLIP's vocabulary.
        "eos_token_id": 2,
        "pad_token_id": 1,
    }


def read_t5(shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """Settings of transformers' T5EncoderModel; its heads are shown by the relative positions."""
    vocabulary, width = shape_of(shapes, "shared.weight")
    attention = "encoder.block.0.layer.0.SelfAttention."
    buckets, heads = shape_of(shapes, f"{attention}relative_attention_bias.weight")
    return {
        "model_type": "t5",
        "vocab_size": vocabulary,
        "d_model": width,
        "d_kv": shape_of(shapes, f"{attention}q.weight")[0] // heads,
        "d_ff": shape_of(shapes, "encoder.block.0.layer.1.DenseReluDense.wi_0.weight")[0],
        "num_layers": count_layers(shapes, "encoder.block."),
        "num_heads": heads,
        "relative_attention_num_buckets": buckets,
        "feed_forward_proj": "gated-gelu",
        "layer_norm_epsilon": 1e-6,
        "is_encoder_decoder": False,
        "use_cache": False,
        "tie_word_embeddings": False,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
    }


def read_flux(shapes: Mapping[str, Shape], *, rope_axes: tuple[int, ...] | None) -> dict[str, Any]:
    """Settings of diffusers' FluxTransformer2DModel.

    Args:
        shapes: of the transformer's tensors, names without the prefix.
        rope_axes: channels of a head that turn with (text, row, column), which shapes do not show; None: as
            published for the head's width.

    Raises:
        CheckpointError: a tensor that shows a setting is missing.
        ConfigError: the axes do not fit the head.
    """
    head = shape_of(shapes, "double_blocks.0.img_attn.norm.key_norm.scale")[0]
    width, inputs = shape_of(shapes, "img_in.weight")
    outputs = shape_of(shapes, "final_layer.linear.weight")[0]
    axes = rope_axes or ROPE
    if sum(axes) != head:
        raise ConfigError(
            f"the rotary axes {axes} do not add up to a head's width, {head}",
            do="give --rope-axes, such as 16,56,56",
        )
    return {
        "patch_size": 1,
        "in_channels": inputs,
        "out_channels": None if outputs == inputs else outputs,
        "num_layers": count_layers(shapes, "double_blocks."),
        "num_single_layers": count_layers(shapes, "single_blocks."),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": shape_of(shapes, "txt_in.weight")[1],
        "pooled_projection_dim": shape_of(shapes, "vector_in.in_layer.weight")[1],
        "guidance_embeds": "guidance_in.in_layer.weight" in shapes,
        "axes_dims_rope": list(axes),
    }

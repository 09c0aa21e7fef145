"""What a CrossViT costs: parameters and multiply-adds, by its config alone.

A multiply-add (MAC) is one product of a linear map, a convolution or an attention matrix; norms, activations, biases,
softmax and resizing are not counted. So counted, the eleven published models come to the paper's "FLOPs" (table 1).
"""

from __future__ import annotations

from visionsmith.papers.crossvit.config import STEM_STRIDES, CrossViTConfig

__all__ = ["count_macs", "count_parameters", "fusion_macs"]

PAIRS = ((0, 1), (1, 0))
"""A branch and the other one, both ways round."""


def count_parameters(config: CrossViTConfig) -> int:
    """Learned numbers of a model, positions and class tokens included."""
    import torch

    from visionsmith.papers.crossvit.model import CrossViT

    with torch.device("meta"):
        model = CrossViT(config)
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(config: CrossViTConfig, *, as_run: bool = False) -> int:
    """Multiply-adds for one picture of the config's input size.

    Args:
        config: of the model.
        as_run: count what this project computes; False: what the public code does, which is what the paper prints.
            They differ in the cross-attention alone (see `fusion.CrossAttention`).
    """
    tokens = (1 + config.grids[0] ** 2, 1 + config.grids[1] ** 2)
    total = sum(config.widths) * config.classes
    for branch in (0, 1):
        blocks = sum(stage[branch] for stage in config.depths)
        total += _stem_macs(config, branch) + blocks * _block_macs(config, branch, tokens[branch])
    return total + sum(fusion_macs(config, tokens, rounds=stage[2], as_run=as_run) for stage in config.depths)


def fusion_macs(
    config: CrossViTConfig, tokens: tuple[int, int], *, rounds: int = 1, as_run: bool = False
) -> int:
    """Multiply-adds of one stage's fusion for one picture.

    Args:
        config: of the model.
        tokens: of the small and of the large branch, class tokens included.
        rounds: of cross-attention.
        as_run: see `count_macs`.
    """
    small, large = config.widths
    both_ways = 2 * small * large
    match config.fusion:
        case "none":
            return 0
        case "class_token":
            return both_ways
        case "pairwise":
            return tokens[0] * both_ways
        case "all_attention":
            projections = 2 * large * (tokens[0] * small + tokens[1] * large)
            together = sum(tokens)
            return projections + together * 4 * large**2 + 2 * together**2 * large
        case "cross_attention":
            total = 2 * both_ways
            for _, other in PAIRS:
                width, count = config.widths[other], tokens[other]
                if as_run:
                    once = 4 * width**2 + 2 * count * width * config.heads[other]
                else:
                    once = (2 + 2 * count) * width**2 + 2 * count * width
                total += rounds * once
            return total


def _block_macs(config: CrossViTConfig, branch: int, tokens: int) -> int:
    width = config.widths[branch]
    linear = tokens * (4 * width**2 + 2 * width * config.hidden(branch))
    return linear + 2 * tokens**2 * width


def _stem_macs(config: CrossViTConfig, branch: int) -> int:
    width, patch = config.widths[branch], config.patch_sizes[branch]
    if config.stem == "linear":
        return config.grids[branch] ** 2 * 3 * patch**2 * width
    side, channels, total = config.image_sizes[branch], 3, 0
    outputs = (width // 4, width // 2, width)
    for kernel, stride, output in zip((7, 3, 3), STEM_STRIDES[patch], outputs, strict=True):
        side //= stride
        total += side**2 * kernel**2 * channels * output
        channels = output
    return total

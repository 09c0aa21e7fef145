"""A network for inference: batch norms folded into the convolutions before them."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from visionsmith.papers.mobilevit.model import ConvLayer

__all__ = ["fold_batch_norm"]

Network = TypeVar("Network", bound=nn.Module)


def fold_batch_norm(model: Network) -> Network:
    """A copy that computes what `model` computes in evaluation mode, with fewer passes over memory.

    Each batch norm becomes part of the convolution before it, and SiLU works in place. The copy has other weight names
    and cannot be trained; keep the model for both.

    Args:
        model: a `MobileViT`, or another network of its layers; is not changed.

    Returns:
        In evaluation mode, without gradients, convolutions channels last in memory.
    """
    folded = copy.deepcopy(model).eval().requires_grad_(False)
    for layer in folded.modules():
        if not isinstance(layer, ConvLayer):
            continue
        convolution, *rest = layer.block
        assert isinstance(convolution, nn.Conv2d), "a layer begins with its convolution"
        for part in rest:
            if isinstance(part, nn.BatchNorm2d):
                convolution = fuse_conv_bn_eval(convolution, part)
        activation = [nn.SiLU(inplace=True) for part in rest if isinstance(part, nn.SiLU)]
        layer.block = nn.Sequential(convolution, *activation)
    return folded.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

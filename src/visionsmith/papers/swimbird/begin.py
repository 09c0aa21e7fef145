"""How a model that is trained from nothing begins.

The library draws every weight with a deviation of 0.02, which is right for widths of thousands and for models that are
then filled from a file. In a small one the tokens of a picture come out fifty times as large as those of words, and no
layer of the language model can add to them; and a place weighs nothing beside the patch that stands there.
"""

from __future__ import annotations

import torch
from torch import nn

from visionsmith.papers.swimbird.model import SwimBird

__all__ = ["begin"]

WORD = 0.06
"""Deviation of a word's embedding, and of what a picture's tokens are to have."""
PLACE = 0.5
"""Deviation of the tower's positions; a patch embedding's is about 1."""


@torch.no_grad()
def begin(model: SwimBird) -> SwimBird:
    """Draw the weights anew, each layer by its own fan-in, from torch's random state; in place."""
    visual, language = model.qwen.model.visual, model.qwen.model.language_model
    for part, depth in ((visual, len(visual.blocks)), (language, len(language.layers))):
        for name, module in part.named_modules():
            if isinstance(module, nn.Linear | nn.Conv3d):
                std = module.weight[0].numel() ** -0.5
                # What a block adds to its stream is to stay small beside it, however many blocks there are.
                if name.endswith(("attn.proj", "mlp.linear_fc2", "o_proj", "down_proj")):
                    std *= (2 * depth) ** -0.5
                nn.init.normal_(module.weight, std=std)
    nn.init.normal_(language.embed_tokens.weight, std=WORD)
    nn.init.normal_(visual.pos_embed.weight, std=PLACE)
    for merger in (visual.merger, *visual.deepstack_merger_list):
        merger.linear_fc2.weight.mul_(2 * WORD)
    return model

"""transformers' MobileViT of given sizes, with weights under which every part of it matters."""

from __future__ import annotations

import torch
from transformers import MobileViTConfig as LibraryConfig
from transformers import MobileViTForImageClassification

from visionsmith.papers.mobilevit.config import MobileViTConfig

SMALL = MobileViTConfig(channels=(8, 8, 16, 16, 24), expansion=2, widths=(16, 24, 32), classes=7)


def library_model(config: MobileViTConfig, seed: int = 0) -> MobileViTForImageClassification:
    torch.manual_seed(seed)
    model = MobileViTForImageClassification(
        LibraryConfig(
            neck_hidden_sizes=[config.stem, *config.channels, config.last_channels],
            hidden_sizes=list(config.widths),
            expand_ratio=float(config.expansion),
            num_attention_heads=config.heads,
            mlp_ratio=float(config.feedforward),
            patch_size=config.patches[0],
            id2label={number: f"thing {number}" for number in range(config.classes)},
        )
    )
    # As initialised, norms are identities and answers hardly depend on the picture: a mix-up would hide.
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d | torch.nn.LayerNorm):
                module.weight.uniform_(0.7, 1.3)
                module.bias.normal_(0, 0.2)
            elif isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    module.bias.normal_(0, 0.2)
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
        model.train()(torch.rand(8, 3, 64, 64))  # running statistics as after a training
    return model.eval()

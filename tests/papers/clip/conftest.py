"""A small CLIP that the tests of this folder share."""

from __future__ import annotations

import pytest
import torch

from visionsmith.papers.clip.config import CLIPConfig, TextConfig, VisionTransformerConfig
from visionsmith.papers.clip.model import CLIP

CONFIG = CLIPConfig(
    embed_dim=32,
    vision=VisionTransformerConfig(image_size=16, patch_size=8, width=64, layers=2, heads=1),
    text=TextConfig(vocab_size=600, context_length=20, width=64, heads=1, layers=3),
)


@pytest.fixture(scope="module")
def model() -> CLIP:
    torch.manual_seed(1)
    return CLIP(CONFIG)

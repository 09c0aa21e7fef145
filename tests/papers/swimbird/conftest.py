"""A small SwimBird of random weights with its vocabulary."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer

from visionsmith.data.sampler import generator
from visionsmith.papers.swimbird.chat import SPECIAL
from visionsmith.papers.swimbird.config import SwimBirdConfig, TextConfig, VisionConfig
from visionsmith.papers.swimbird.model import SwimBird
from visionsmith.papers.swimbird.tasks import KINDS, exercise
from visionsmith.papers.vocabulary import learn_byte_pairs, token_id


def small_config(vocabulary: Tokenizer, **changes) -> SwimBirdConfig:
    ids = {
        "image_id": "<|image_pad|>",
        "vision_start_id": "<|vision_start|>",
        "vision_end_id": "<|vision_end|>",
        "latent_id": "<|latent|>",
        "latent_start_id": "<|latent_start|>",
        "latent_end_id": "<|latent_end|>",
        "end_id": "<|im_end|>",
    }
    values = {
        "vision": VisionConfig(
            depth=2, hidden_size=16, intermediate_size=32, num_heads=2, patch_size=6,
            num_position_embeddings=16, deepstack_visual_indexes=(0,),
        ),
        "text": TextConfig(
            vocab_size=vocabulary.get_vocab_size(), hidden_size=24, intermediate_size=48, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1, head_dim=12, mrope_section=(2, 2, 2), rope_theta=10_000.0,
        ),
        "max_latent_token": 4,
        "max_image_token": 36,
        **{name: token_id(vocabulary, token) for name, token in ids.items()},
    }  # fmt: skip
    return SwimBirdConfig(**(values | changes))


@pytest.fixture(scope="package")
def vocabulary() -> Tokenizer:
    exercises = [exercise(kind, generator(0, 0, index), side=36) for index in range(20) for kind in KINDS]
    texts = [turn.text for each in exercises for turn in each.turns()]
    return learn_byte_pairs(texts, size=400, special=SPECIAL)


@pytest.fixture(scope="package")
def model(vocabulary: Tokenizer) -> SwimBird:
    torch.manual_seed(0)
    model = SwimBird(small_config(vocabulary))
    with torch.no_grad():
        # Random weights of the library's scale make every state alike; these have opinions.
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6)
    return model.eval()

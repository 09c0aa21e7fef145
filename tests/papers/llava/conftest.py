"""A small LLaVA with random weights, its tokenizer, and folders of it in the published layouts."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer

from visionsmith.papers.llava.assistant import Assistant
from visionsmith.papers.llava.config import LanguageConfig, LlavaConfig, TowerConfig
from visionsmith.papers.llava.model import Llava
from visionsmith.papers.llava.words import learn_words


@pytest.fixture(scope="session")
def words() -> Tokenizer:
    return learn_words(320)


def small(**changes: object) -> LlavaConfig:
    values = {
        "vision": TowerConfig(image_size=24, patch_size=12, width=16, hidden=24, layers=3, heads=2),
        "language": LanguageConfig(
            vocab_size=320, width=24, hidden=32, layers=2, heads=4, key_value_heads=2, context=160
        ),
        "image_token": 2,
        "start_token": 1,
        "end_token": 3,
        "system": "",
    }
    return LlavaConfig(**{**values, **changes})  # type: ignore[arg-type]


def random_llava(config: LlavaConfig, seed: int = 0) -> Llava:
    torch.manual_seed(seed)
    model = Llava(config)
    with torch.no_grad():
        # Weights as initialised make near-uniform guesses, which ties decide.
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.eval()


@pytest.fixture(scope="session")
def assistant(words: Tokenizer) -> Assistant:
    return Assistant(random_llava(small()), words)

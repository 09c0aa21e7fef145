"""A model from nothing begins with pictures and words of one size, and with places that show."""

from __future__ import annotations

import numpy as np
import torch

from visionsmith.data.sampler import generator
from visionsmith.data.world import draw, make_scene
from visionsmith.papers.swimbird.patches import cut
from visionsmith.papers.swimbird.recipes import tiny
from visionsmith.papers.swimbird.train import make_reasoner


def test_pictures_weigh_as_much_as_words() -> None:
    torch.manual_seed(0)
    model = make_reasoner(tiny()).model
    part = cut(draw(make_scene(generator(0, 0, 0), 3), 72), model.config.vision, least=2, most=64)
    with torch.no_grad():
        tokens = model.see(part.values, part.grids).tokens
        blank = cut(np.full((72, 72, 3), 255, np.uint8), model.config.vision, least=2, most=64)
        empty = model.see(blank.values, blank.grids).tokens
    words = model.qwen.get_input_embeddings().weight.detach()
    assert 0.3 < float(tokens.std() / words.std()) < 3
    # Nine places of a white picture differ by nothing but where they are.
    apart = (empty[:, None] - empty[None]).norm(dim=-1)[~torch.eye(9, dtype=torch.bool)]
    assert float(apart.min() / empty.norm(dim=-1).mean()) > 0.3

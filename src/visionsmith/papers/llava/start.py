"""What a training starts from: the parts that the recipe names, joined by a new projector; or a whole LLaVA."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer
from torch import nn

from visionsmith.data.sampler import generator
from visionsmith.data.world import SEEN, draw, make_scene
from visionsmith.nn.masters import load_masters
from visionsmith.papers.clip import normalise
from visionsmith.papers.llava.conversation import IMAGE_MARK
from visionsmith.papers.llava.model import Llava
from visionsmith.papers.llava.official import load_any, load_language, load_tower
from visionsmith.papers.llava.recipes import LlavaRecipe
from visionsmith.papers.llava.words import END, START, learn_words
from visionsmith.papers.model_folder import find_folder
from visionsmith.papers.vocabulary import read_vocabulary, token_id

__all__ = ["starting_point", "weigh_as_words", "with_image_token"]


def starting_point(recipe: LlavaRecipe) -> tuple[Llava, Tokenizer]:
    """The model as training finds it, and its tokenizer."""
    if recipe.initial is not None:
        llava = load_any(recipe.initial)
        tokenizer = read_vocabulary(find_folder(recipe.initial))
        return llava, with_image_token(llava, tokenizer)
    config, weights = recipe.model, {}
    if recipe.tower is not None:
        vision, weights["vision"] = load_tower(recipe.tower)
        config = dataclasses.replace(config, vision=vision)
    if recipe.language is not None:
        language, weights["language"] = load_language(recipe.language)
        config = dataclasses.replace(config, language=language)
        tokenizer = read_vocabulary(find_folder(recipe.language))
    else:
        tokenizer = learn_words(config.language.vocab_size)
    if {START, END} <= tokenizer.get_vocab().keys():
        config = dataclasses.replace(
            config,
            start_token=token_id(tokenizer, START),
            end_token=token_id(tokenizer, END),
        )
    llava = Llava(config)
    for name, part in weights.items():
        own = getattr(llava, name)
        if name == "language" and config.language.tied:
            part = {**part, "lm_head.weight": part["model.embed_tokens.weight"]}
        kept = own.state_dict().keys()
        load_masters(
            own, {key: value for key, value in part.items() if key in kept}, otherwise="give another part"
        )
    if config.language.tied:
        llava.language.tie_weights()
    if recipe.tower_recipe is not None:
        weigh_as_words(llava)
    return llava, with_image_token(llava, tokenizer)


@torch.no_grad()
def weigh_as_words(llava: Llava) -> None:
    """Scale a new projector so that what it makes of patches is as large as words are; in place.

    What a block adds to a token is of one size whatever the token's. To a patch twenty times as large as a word the
    blocks of a small model that was trained for minutes can add nothing that shows.
    """
    side = llava.config.vision.image_size
    pictures = np.stack([draw(make_scene(generator(0, 0, index), pairs=SEEN), side) for index in range(16)])
    made = llava.projector(llava.look(normalise(torch.from_numpy(pictures))))
    last = [layer for layer in llava.projector.modules() if isinstance(layer, nn.Linear)][-1]
    share = llava.language.model.embed_tokens.weight.square().mean().sqrt() / made.square().mean().sqrt()
    last.weight.mul_(share)
    last.bias.mul_(share)


def with_image_token(llava: Llava, tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer with a token for a picture, which becomes the model's; one that lacks it gets it as its next id."""
    if tokenizer.token_to_id(IMAGE_MARK) is None:
        tokenizer.add_special_tokens([AddedToken(IMAGE_MARK, special=True, normalized=False)])
    llava.config = dataclasses.replace(llava.config, image_token=token_id(tokenizer, IMAGE_MARK))
    return tokenizer

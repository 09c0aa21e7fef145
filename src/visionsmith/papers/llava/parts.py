"""The parts of the small model as tasks: a vision tower trained as CLIP, a language model trained on told scenes."""

from __future__ import annotations

from accelerate.utils import set_seed
from torch import Tensor

from visionsmith.config import encode as plain
from visionsmith.data.sampler import ShuffledBatches
from visionsmith.papers.llava.contrast import CaptionCollate, ContrastiveTower, GroupDataset
from visionsmith.papers.llava.conversation import Layout
from visionsmith.papers.llava.model import language_model
from visionsmith.papers.llava.objective import ToldObjective
from visionsmith.papers.llava.official import LANGUAGE, TOWER
from visionsmith.papers.llava.probing import tower_scores
from visionsmith.papers.llava.recipes import WORDS, LanguageRecipe, TowerRecipe
from visionsmith.papers.llava.samples import ConversationCollate, ToldDataset
from visionsmith.papers.llava.score import told_scores
from visionsmith.papers.llava.words import END, IMAGE, PAD, START, learn_words
from visionsmith.papers.vocabulary import token_id, vocabulary_file
from visionsmith.train.task import Export, Task

__all__ = ["language_task", "tower_task"]

ASKED = 50
"""Questions of a family that the language model is measured with."""
PROBED = 600
"""Pictures that the tower is measured with, and a third of them for the test."""
EPOCH = 4096
"""Samples that make an epoch; every epoch has new ones."""

_ABOUT = {
    "source": "scene world",
    "split": "all pairs of kind and colour but the twenty that are kept for testing",
}


def tower_task(recipe: TowerRecipe) -> Task:
    """Model, objective and data of a vision tower."""
    tokenizer = learn_words(WORDS)
    set_seed(recipe.train.seed)
    objective = ContrastiveTower(
        recipe.model,
        words=tokenizer.get_vocab_size(),
        end_token=token_id(tokenizer, END),
        width=recipe.text_width,
        embed=recipe.embed,
    )
    size = recipe.train.batch_size
    prefix = "clip.vision_model."

    def export(state: dict[str, Tensor]) -> Export:
        kept = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        kept.pop("embeddings.position_ids", None)
        return Export(config=plain(recipe.model), tensors=kept, files={})

    return Task(
        paper=TOWER,
        objective=objective,
        dataset=GroupDataset(recipe.model, recipe.train.seed, said=recipe.said, singles=recipe.singles),
        # An epoch is a lesson: the next has pictures of one thing more.
        plan=ShuffledBatches(range(recipe.lesson * size), size, recipe.train.seed),
        collate=CaptionCollate(tokenizer),
        export=export,
        about=_ABOUT,
        after_step=objective.clamp,
        evaluate=lambda: tower_scores(
            objective.clip.vision_model, recipe.model.image_size, fit=PROBED, test=PROBED // 3
        ),
    )


def language_task(recipe: LanguageRecipe) -> Task:
    """Model, objective and data of a language model that has never seen a picture."""
    tokenizer = learn_words(recipe.model.vocab_size)
    set_seed(recipe.train.seed)
    language = language_model(recipe.model, token_id(tokenizer, END))
    objective = ToldObjective(language)
    layout = Layout(
        template="v1",
        tokenizer=tokenizer,
        image_token=token_id(tokenizer, IMAGE),
        patches=1,
        context=recipe.model.context,
        start_token=token_id(tokenizer, START),
        system="",
    )
    size = recipe.train.batch_size

    def export(state: dict[str, Tensor]) -> Export:
        kept = {name.removeprefix("language."): value for name, value in state.items()}
        if recipe.model.tied:
            del kept["lm_head.weight"]
        return Export(config=plain(recipe.model), tensors=kept, files=vocabulary_file(tokenizer))

    return Task(
        paper=LANGUAGE,
        objective=objective,
        dataset=ToldDataset(layout, recipe.mix, recipe.train.seed),
        plan=ShuffledBatches(range(EPOCH), size, recipe.train.seed),
        collate=ConversationCollate(token_id(tokenizer, PAD)),
        export=export,
        about=_ABOUT,
        evaluate=lambda: told_scores(language, layout, count=ASKED),
    )

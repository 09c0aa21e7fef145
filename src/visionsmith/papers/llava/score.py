"""Exact answers by family of questions, on scenes that training has not shown.

Greedy writing gives an answer word for word exactly when each of its tokens, and the end, is the best guess after those
before it. So one pass over questions with their answers tells, and nothing has to be written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor
from transformers import LlamaForCausalLM

from visionsmith.data.sampler import generator
from visionsmith.data.world import NEW_PAIRS, PAIRS, SCENE_FAMILIES, SEEN, Question, ask, draw
from visionsmith.losses.language import IGNORED
from visionsmith.papers.clip import normalise
from visionsmith.papers.llava.conversation import IMAGE_MARK, Layout, encode
from visionsmith.papers.llava.dialogue import tell
from visionsmith.papers.llava.instruct import InstructConfig
from visionsmith.papers.llava.model import Llava
from visionsmith.papers.llava.objective import AnswerObjective
from visionsmith.papers.llava.samples import ConversationCollate, ConversationDataset, Sample
from visionsmith.papers.llava.sources import WorldCaptions, WorldConversations

__all__ = ["TEST_SEED", "heldout_losses", "known_questions", "new_questions", "seen_scores", "told_scores"]

TEST_SEED = 9_001
"""Of the questions that models are measured with; trainings have seeds of their own."""

BATCH = 64


def known_questions(family: str, count: int) -> list[Question]:
    """Questions about new scenes of known things."""
    return [ask(family, generator(TEST_SEED, 0, index), SEEN) for index in range(count)]


def new_questions(family: str, count: int) -> list[Question]:
    """Questions to whose answer a thing belongs whose kind and colour training has never shown together."""
    found: list[Question] = []
    index = 0
    while len(found) < count:
        question = ask(family, generator(TEST_SEED, 1, index), PAIRS)
        if any((thing.kind, thing.colour) in NEW_PAIRS for thing in question.evidence):
            found.append(question)
        index += 1
    return found


def told_scores(language: LlamaForCausalLM, layout: Layout, *, count: int = 50) -> dict[str, float]:
    """Share of exact answers of a language model that is told the scene in words: "exact", and by family."""
    collate = ConversationCollate(0)
    shares = {}
    for family in SCENE_FAMILIES:
        samples = []
        for index, question in enumerate(known_questions(family, count)):
            told = tell(question.scenes[0], generator(TEST_SEED, 2, index))
            samples.append(Sample(encode([(f"{told}\n{question.text}", question.answer)], layout)))
        batch = collate(samples)
        states = language.model(input_ids=batch["ids"], use_cache=False).last_hidden_state
        shares[family] = _right(language.lm_head(states), batch["labels"])
    return {"exact": sum(shares.values()) / len(shares), **shares}


def seen_scores(
    llava: Llava,
    layout: Layout,
    questions: Mapping[str, Sequence[Question]],
    *,
    blind: bool = False,
) -> dict[str, float]:
    """Share of exact answers, by family.

    Args:
        llava: the model.
        layout: how it is asked.
        questions: by family.
        blind: whether the pictures are withheld: the words of the question are all there is.
    """
    side, collate = llava.config.vision.image_size, ConversationCollate(0)
    shares = {}
    for family, asked in questions.items():
        right = 0.0
        for start in range(0, len(asked), BATCH):
            some = asked[start : start + BATCH]
            batch = collate([_sample(question, layout, side, blind) for question in some])
            features = llava.look(normalise(batch["images"])) if "images" in batch else None
            logits = llava(batch["ids"], features)
            right += _right(logits, batch["labels"]) * len(some)
        shares[family] = right / len(asked)
    return shares


def heldout_losses(llava: Llava, layout: Layout, *, count: int = 64) -> dict[str, float]:
    """Nats a token of answers about new scenes, by what is asked for: caption, conversation, detail, reasoning."""
    side, collate, objective = llava.config.vision.image_size, ConversationCollate(0), AnswerObjective(llava)
    mixes = {
        "conversation": InstructConfig(conversation=1, detail=0, reasoning=0),
        "detail": InstructConfig(conversation=0, detail=1, reasoning=0),
        "reasoning": InstructConfig(conversation=0, detail=0, reasoning=1),
    }
    data = {
        name: ConversationDataset(WorldConversations(mix, side, TEST_SEED), layout)
        for name, mix in mixes.items()
    }
    captions = ConversationDataset(WorldCaptions(count, side, TEST_SEED), replace(layout, template="plain"))
    losses = {}
    for name, dataset in {"caption": captions, **data}.items():
        batch = collate([dataset[0, index] for index in range(count)])
        losses[name] = float(objective(batch)["loss"])
    return losses


def _sample(question: Question, layout: Layout, side: int, blind: bool) -> Sample:
    if blind:
        return Sample(encode([(question.text, question.answer)], layout))
    marks = "".join(f"{IMAGE_MARK}\n" for _ in question.scenes)
    images = [draw(scene, side) for scene in question.scenes]
    return Sample(encode([(f"{marks}{question.text}", question.answer)], layout), images=images)


def _right(logits: Tensor, labels: Tensor) -> float:
    """Share of rows all of whose supervised tokens are the best guess."""
    targets = labels[:, 1:]
    fits = (logits[:, :-1].argmax(dim=-1) == targets) | (targets == IGNORED)
    return float(fits.all(dim=1).float().mean())

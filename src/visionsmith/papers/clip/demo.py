"""What `visionsmith demo` shows of CLIP: captions ranked, pictures found by a sentence, photographs labelled."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from visionsmith.data.records import RecordStore
    from visionsmith.papers.clip.clip import Clip
    from visionsmith.papers.clip.questions import Questions
    from visionsmith.report.page import Page

__all__ = ["demo"]

SENTENCES = (
    "a woman with red hair",
    "a person in a wheelchair with dark skin",
    "a sad face",
    "an apple",
    "the sun behind clouds",
    "a musical instrument",
)
PHOTO_LABELS = (
    "cat face",
    "cup of hot coffee",
    "astronaut",
    "rocket",
    "dog face",
    "person",
    "flower",
    "building",
)


def demo(page: Page, *, folder: Path, progress: bool) -> Sequence[str]:
    """Add CLIP's sections to the page.

    Args:
        page: of the demo.
        folder: where the record store and the sheets are written.
        progress: whether to show bars.

    Returns:
        Commands that a user would type next.
    """
    from visionsmith.data.builtin import openmoji_store
    from visionsmith.data.openmoji import ATTRIBUTION
    from visionsmith.data.records import open_or_make, pack
    from visionsmith.data.split import split_combinations
    from visionsmith.papers.clip.questions import openmoji_questions
    from visionsmith.papers.clip.run import load
    from visionsmith.papers.paper import shipped_checkpoint

    clip = load()
    built_in = openmoji_store(clip.model.config.vision.image_size, progress=progress)
    kept = folder / "openmoji.records"
    # A copy, for the commands that the README shows with it.
    store = open_or_make(
        kept, lambda: pack(built_in, kept, attributes=built_in.info()["attributes"], check=False)
    )
    split = split_combinations(store)
    questions = openmoji_questions(store, split)
    _figures(page, clip, store, questions, split.train)
    _training(page, shipped_checkpoint("clip"))
    _answers(page, clip, store, questions)
    _search(page, clip, store)
    _photographs(page, clip, folder)
    page.note(ATTRIBUTION)
    return (
        f'visionsmith run clip {folder / "cat-face.png"} --labels "cat face, dog face, cup of hot coffee"',
        'visionsmith run clip --search "a red bicycle" --in YOUR_FOLDER',
        "visionsmith train clip --data YOUR_FOLDER --output runs/mine steps=500",
    )


def _figures(page: Page, clip: Clip, store: RecordStore, questions: Questions, train: Sequence[int]) -> None:
    from visionsmith.papers.clip.evaluate import bag_of_words_baseline, zero_shot_scores
    from visionsmith.report.tables import percent

    scores = zero_shot_scores(clip, store, questions)
    baseline = bag_of_words_baseline(store, questions, train)
    parameters = sum(parameter.numel() for parameter in clip.model.parameters())
    page.section(
        "CLIP: combinations it has never seen",
        f"A CLIP of {parameters / 1e6:.1f} million parameters, trained from scratch on {len(train):,} emoji, "
        f"is asked about {scores['pictures']:,.0f} others. Their parts were seen (this profession, that hair, this "
        f"skin tone), their combinations and their pictures were not. For each picture all {scores['candidates']:,.0f} "
        "captions compete, those of the training included.\n\n"
        "Pictures drawn alike stay on one side of the split, and every caption of an identical picture counts as true. "
        "About one in six of these pictures has a neighbour in training that differs by less than one gray level on "
        "average, which is why a baseline that only compares pixels does not start from nothing.",
    )
    page.table(
        ("who answers", "true caption first", "within the first five"),
        [
            ("chance", percent(scores["chance"], 2), percent(5 * scores["chance"], 2)),
            ("bag of words from pixels", percent(baseline["top1"]), percent(baseline["top5"])),
            ("CLIP", percent(scores["top1"]), percent(scores["top5"])),
        ],
        caption="Share of held-out pictures. `visionsmith evaluate clip` measures the same and more.",
        best=2,
    )


def _training(page: Page, checkpoint: Path) -> None:
    """Curves of the training that made the checkpoint, from the log that ships with it."""
    from visionsmith.report.plots import curves
    from visionsmith.report.run_report import read_log

    card = json.loads((checkpoint / "card.json").read_text(encoding="utf-8"))
    log = read_log(checkpoint / "log.jsonl")
    page.section(
        "How it learned",
        f"Trained by `{card['command']}` in {card['minutes']:.0f} minutes on {card['machine']}.",
    )
    loss = {step: values["loss"] for step, values in log.training.items() if "loss" in values}
    page.figure(
        curves({"contrastive loss": (list(loss), list(loss.values()))}, x="step", y="loss", smooth=0.9),
        "The loss on training batches.",
        "curve of the training loss",
    )
    steps = [step for step, values in log.evaluation.items() if "zero_shot.top1" in values]
    series = {
        name: (steps, [log.evaluation[step][key] for step in steps])
        for name, key in (("first", "zero_shot.top1"), ("within five", "zero_shot.top5"))
    }
    page.figure(
        curves(series, x="step", y="share of held-out pictures"),
        "Held-out combinations during training: the true caption first, and within the first five.",
        "curves of zero-shot accuracy on held-out pictures",
    )


def _answers(page: Page, clip: Clip, store: RecordStore, questions: Questions, count: int = 8) -> None:
    from visionsmith.papers.clip.questions import embed_pictures
    from visionsmith.report.page import RankedItem

    step = max(1, len(questions.pictures) // count)
    places = list(range(step // 2, len(questions.pictures), step))[:count]
    indices = tuple(questions.pictures[place] for place in places)
    scale = float(clip.model.logit_scale.detach().exp())
    logits = scale * embed_pictures(clip, store, indices) @ clip.encode_texts(questions.captions).T
    items = []
    for place, index, row in zip(places, indices, logits.softmax(dim=1), strict=True):
        best = row.topk(5)
        ranks = [
            (questions.captions[choice], float(share), choice in questions.truth[place])
            for share, choice in zip(best.values, best.indices.tolist(), strict=True)
        ]
        items.append(RankedItem(png=store[index].image, caption=store[index].caption, ranks=ranks))
    page.section(
        "Picture by picture",
        f"Every {step}th held-out picture, not a selection: the five captions ranked first, with their probabilities "
        "among all captions.",
    )
    page.ranking(items)


def _search(page: Page, clip: Clip, store: RecordStore, top: int = 6) -> None:
    from visionsmith.papers.clip.questions import embed_pictures
    from visionsmith.report.page import GalleryItem

    images = embed_pictures(clip, store, tuple(range(len(store))))
    texts = clip.encode_texts(SENTENCES)
    page.section(
        "Pictures found by a sentence",
        f"The nearest of all {len(store):,} pictures. The last sentence shows the limit: no caption says instrument, "
        "and its training captions are all the English that this model has ever read.",
    )
    for sentence, scores in zip(SENTENCES, texts @ images.T, strict=True):
        page.code(f'--search "{sentence}"')
        order = scores.argsort(descending=True)[:top].tolist()
        page.gallery(
            [GalleryItem(png=store[index].image, caption=store[index].caption) for index in order],
            columns=top,
        )


def _photographs(page: Page, clip: Clip, folder: Path) -> None:
    """Where the small model ends: photographs, which it has never seen."""
    from visionsmith.image.io import encode_png, write_image
    from visionsmith.papers.clip.preprocess import resize_and_crop
    from visionsmith.papers.clip.prompts import PHRASES, PLAIN
    from visionsmith.report.page import RankedItem

    photographs = _installed_photographs()
    found = clip.classify_all(photographs.values(), PHOTO_LABELS, (PLAIN, *PHRASES))
    items = []
    for (true, photograph), scores in zip(photographs.items(), found, strict=True):
        write_image(folder / f"{true.replace(' ', '-')}.png", photograph)
        ranks = [(label, share, label == true) for label, share in list(scores.items())[:5]]
        items.append(
            RankedItem(
                png=encode_png(resize_and_crop(photograph, 160)), caption=f"photograph: {true}", ranks=ranks
            )
        )
    right = sum(next(iter(scores)) == true for true, scores in zip(photographs, found, strict=True))
    page.section(
        "Photographs: how far a model trained on emoji goes",
        f"{right} of {len(photographs)} photographs are labelled rightly among {len(PHOTO_LABELS)} labels; chance is "
        f"one in {len(PHOTO_LABELS)}. This model has seen nothing but flat drawings on white, so its answers about "
        "photographs are guesses by colour and outline, however sure they look. For photographs load the published "
        "weights: "
        "`visionsmith run clip PHOTO --checkpoint FOLDER_OF_OPENAI_CLIP`.",
    )
    page.ranking(items)


def _installed_photographs() -> dict[str, np.ndarray]:
    """Label -> photograph, from an installed package: no download."""
    from skimage import data

    read: Any = data  # the library's functions carry no types
    return {
        "cat face": read.chelsea(),
        "cup of hot coffee": read.coffee(),
        "astronaut": read.astronaut(),
        "rocket": read.rocket(),
    }

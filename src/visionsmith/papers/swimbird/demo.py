"""What `visionsmith demo` shows of SwimBird: how it thinks about new pictures, and where its thoughts look."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from visionsmith.papers.swimbird.reasoner import Reasoner
    from visionsmith.papers.swimbird.tasks import Exercise
    from visionsmith.report.page import Page

__all__ = ["demo"]

SEED = 41
"""Of the scene that is asked about; no training uses it."""
SHOWN = ("what", "colour", "relation", "odd", "where", "count")
"""Kinds of question about one picture."""
ASKED = 12
"""Questions of a kind for the table: it is done in seconds."""


def demo(page: Page, *, folder: Path, progress: bool) -> Sequence[str]:
    """Add SwimBird's section to the page.

    Args:
        page: of the demo.
        folder: where a scene is written, to try the command on.
        progress: whether to show bars.

    Returns:
        Commands that a user would type next.
    """
    from visionsmith.data.openmoji import ATTRIBUTION
    from visionsmith.data.world import draw
    from visionsmith.image.io import encode_png, write_image
    from visionsmith.papers.paper import shipped_checkpoint
    from visionsmith.papers.swimbird.looks import draw_looks
    from visionsmith.papers.swimbird.run import load
    from visionsmith.report.sheet import contact_sheet

    bird = load()
    card = json.loads((shipped_checkpoint("swimbird") / "card.json").read_text(encoding="utf-8"))
    parameters = sum(parameter.numel() for parameter in bird.model.parameters())
    asked = _about_one_picture()
    picture = draw(asked[0].scenes[0], 288)
    found = bird.ask_all([(each.question, each.pictures) for each in asked])
    page.section(
        "SwimBird: thinking in words and in looks",
        f"{parameters / 1e6:.1f} million parameters, trained from nothing by `{card['command']}`. It opens and closes "
        "a span of latent thoughts by itself; [4 thoughts] stands where four hidden states went back in as inputs. "
        "Every word is what the model wrote; beside it stands what is true.",
    )
    page.figure(encode_png(picture), "The picture.", "a scene of coloured drawings")
    page.table(
        ("asked", "thought in", "reason", "answered", "true"),
        [
            (each.question, answer.mode, answer.reason, answer.text, each.answer)
            for each, (answer, _) in zip(asked, found, strict=True)
        ],
    )
    drawn, captions = [], []
    for each, (answer, written) in zip(asked, found, strict=True):
        for look in draw_looks(bird.model, each.pictures, written):
            drawn.append(look)
            captions.append(f"{each.question} {answer.text}")
    if drawn:
        page.figure(
            encode_png(contact_sheet(drawn, captions, columns=3, cell=220)),
            "Where its thoughts look: parts of the picture are light where the tower's tokens are near to a thought.",
            "the picture, dark but for the parts that the thoughts resemble",
        )
    _kinds(page, bird)
    page.note(ATTRIBUTION)
    place = folder / "scene-to-think-about.png"
    write_image(place, picture)
    return (
        f'visionsmith run swimbird {place} --ask "What is at the top?" --show-thoughts thoughts.png',
        "visionsmith train swimbird --data YOUR_DIALOGUES.json --output runs/mine",
    )


def _about_one_picture() -> list[Exercise]:
    """A question of each kind about the first scene that has one of each, and one without a picture."""
    import numpy as np

    from visionsmith.papers.swimbird.tasks import exercise, follow_up

    rng = np.random.default_rng(SEED)
    while True:
        first = exercise("odd", rng, side=72)
        found = {"odd": first}
        for _ in range(200):
            each = follow_up(first, rng, side=72)
            if each is not None:
                found.setdefault(each.kind, each)
        if set(SHOWN) <= set(found):
            return [*(found[kind] for kind in SHOWN), exercise("order", rng, side=72)]


def _kinds(page: Page, bird: Reasoner) -> None:
    """How often answers are exact, and how each kind of question is thought about."""
    from visionsmith.papers.swimbird.evaluate import ask_exercises, exercises, summary
    from visionsmith.papers.swimbird.tasks import KINDS
    from visionsmith.report.tables import percent

    asked = exercises(ASKED, side=72)
    answers = ask_exercises(bird, asked)
    shares = summary(asked, answers)
    page.table(
        ("kind", "for example", "exact answers", "thought in"),
        [
            (
                kind,
                next(each.question for each in asked if each.kind == kind),
                percent(shares["by_kind"][kind]),
                ", ".join(f"{mode} {count}" for mode, count in shares["modes"][kind].items()),
            )
            for kind in KINDS
        ],
        caption=f"{ASKED} new questions of each kind. `visionsmith evaluate swimbird` measures more.",
    )

"""What `visionsmith demo` shows of LLaVA: a conversation about a new picture, and how often it is right."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from visionsmith.papers.llava.assistant import Assistant
    from visionsmith.report.page import Page

__all__ = ["demo"]

SEED = 5
ASKED = 40
"""Questions of a family for the table: it is done in seconds."""


def demo(page: Page, *, folder: Path, progress: bool) -> Sequence[str]:
    """Add LLaVA's section to the page.

    Args:
        page: of the demo.
        folder: where a scene is written, to try the command on.
        progress: whether to show bars.

    Returns:
        Commands that a user would type next.
    """
    import numpy as np

    from visionsmith.data.openmoji import ATTRIBUTION
    from visionsmith.data.world import SCENE_FAMILIES, SEEN, ask_about, draw, make_scene
    from visionsmith.image.io import encode_png, write_image
    from visionsmith.papers.llava.dialogue import DETAIL, PLACE_BY_PLACE
    from visionsmith.papers.llava.run import KNOWS, load
    from visionsmith.papers.paper import shipped_checkpoint

    assistant = load()
    card = json.loads((shipped_checkpoint("llava") / "card.json").read_text(encoding="utf-8"))
    parameters = sum(parameter.numel() for parameter in assistant.model.parameters())
    rng = np.random.default_rng(SEED)
    scene = make_scene(rng, 4, pairs=SEEN)
    picture = draw(scene, 288)
    page.section(
        "LLaVA: a conversation about a picture",
        f"{parameters / 1e6:.1f} million parameters, trained from nothing by `{card['command']}`. Every answer is what "
        "the model wrote; beside it stands what is true. " + KNOWS,
    )
    page.figure(encode_png(picture), "The picture.", "a scene of four coloured drawings")
    chat, rows = assistant.chat(picture), []
    for family in SCENE_FAMILIES:
        question = ask_about(family, scene, rng, SEEN)
        if question is not None:
            rows.append((question.text, chat.ask(question.text), question.answer))
    rows.append((PLACE_BY_PLACE, chat.ask(PLACE_BY_PLACE), ""))
    rows.append((DETAIL[0], chat.ask(DETAIL[0]), ""))
    page.table(("asked", "answered", "true"), rows, caption="One conversation, in this order.")
    _families(page, assistant)
    page.note(ATTRIBUTION)
    place = folder / "scene.png"
    write_image(place, picture)
    return (
        f'visionsmith run llava {place} --ask "How many things are there?" --ask "What is in the middle?"',
        f"visionsmith run llava {place} --chat",
        "visionsmith train llava --data YOUR_CONVERSATIONS.json --output runs/mine",
    )


def _families(page: Page, assistant: Assistant) -> None:
    """How often answers are exact, with the picture and without."""
    import numpy as np
    import torch

    from visionsmith.data.world import SCENE_FAMILIES, SEEN, ask
    from visionsmith.papers.llava.score import known_questions, seen_scores
    from visionsmith.report.tables import percent

    with torch.no_grad():
        questions = {family: known_questions(family, ASKED) for family in SCENE_FAMILIES}
        seen = seen_scores(assistant.model, assistant.layout, questions)
        blind = seen_scores(assistant.model, assistant.layout, questions, blind=True)
    examples = {family: ask(family, np.random.default_rng(1), SEEN).text for family in SCENE_FAMILIES}
    page.table(
        ("family", "for example", "exact answers", "without the picture"),
        [
            (family, examples[family], percent(seen[family]), percent(blind[family]))
            for family in SCENE_FAMILIES
        ],
        caption=f"{ASKED} questions of each family about new scenes. `visionsmith evaluate llava` measures more.",
    )

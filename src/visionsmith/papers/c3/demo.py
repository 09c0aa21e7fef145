"""What `visionsmith demo` shows of C3: a text kept as latents, restored, and asked about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from visionsmith.papers.c3.codec import Codec
    from visionsmith.report.page import Page

__all__ = ["demo"]

SHOWN = 4
"""Test chunks on the page: done in seconds."""
ASKED = 200
"""Questions that are measured."""
TURNS = 6
"""Questions that are shown."""


def demo(page: Page, *, folder: Path, progress: bool) -> Sequence[str]:
    """Add C3's section to the page.

    Args:
        page: of the demo.
        folder: where a text for the commands is written.
        progress: whether to show bars.

    Returns:
        Commands that a user would type next.
    """
    from visionsmith.data.texts import open_texts
    from visionsmith.durable import write_whole
    from visionsmith.papers.c3.book import stored
    from visionsmith.papers.c3.codec import Packed
    from visionsmith.papers.c3.measure import HeldOut, by_position, join, position_plot
    from visionsmith.papers.c3.run import load
    from visionsmith.papers.c3.score import differences, score
    from visionsmith.report.tables import percent

    codec = load()
    texts = open_texts(None, progress=progress)
    chunks = HeldOut(join(texts.test, codec.speech), codec.model.config.chunk, SHOWN).chunks
    packed = stored(Packed(codec.compress_tokens(chunks, progress=progress), tuple(map(len, chunks))))
    decode = codec.speech.decode
    originals, restored = map(decode, chunks), map(decode, codec.restore_tokens(packed, progress=progress))
    pairs = list(zip(originals, restored, strict=True))
    found = differences(*zip(*pairs, strict=True))
    latents = sum(map(len, packed.latents))
    page.section(
        "C3: a text kept as latents",
        f"One language model reads {sum(packed.tokens):,} tokens of a text that training has not seen and keeps them "
        f"as {latents:,} vectors, {packed.ratio:.3g} tokens each. Another model reads the vectors and writes the text "
        f"down: {percent(found['characters'])} of the characters come back. Both have "
        f"{sum(p.numel() for p in codec.model.parameters()) / 1e6:.1f} million parameters together.",
    )
    rows = [(own, other, score(own, other)["characters"]) for own, other in pairs]
    page.table(
        ("the text", "restored from its latents", "characters right"), rows, "Texts and what came back."
    )
    page.figure(
        position_plot({"text": by_position(*zip(*pairs, strict=True))}),
        "Where characters are lost: the paper finds errors at the end of a text.",
        "curve of the share of characters lost over the place in the chunk",
    )
    scene, questions = _asked(page, codec)
    page.note(
        "The ratio counts what a decoder has to read, not bytes: as files, the latents are many times larger than the "
        "text. What is saved is the decoder's time and memory."
    )
    book = folder / "c3-text.txt"
    write_whole(book, "".join(own for own, _ in pairs).encode(), synced=False)
    kept = book.with_suffix(".c3")
    told = folder / "c3-scene.txt"
    write_whole(told, scene.encode(), synced=False)
    return (
        f"visionsmith run c3 compress {book} --out {kept} --verify",
        f"visionsmith run c3 restore {kept}",
        f"visionsmith run c3 compress {told} --out {told.with_suffix('.c3')}",
        f'visionsmith run c3 ask {told.with_suffix(".c3")} "{questions[0]}"',
    )


def _asked(page: Page, codec: Codec) -> tuple[str, list[str]]:
    """Questions to the latents of a scene that is told in words; its text, and what was asked."""
    from visionsmith.data.sampler import generator
    from visionsmith.papers.c3.measure import ANSWER, answers
    from visionsmith.papers.c3.scenes import TEST_SEED, known_questions, questions_about, tell
    from visionsmith.report.tables import percent

    measured = answers(codec, known_questions(ASKED))
    rng = generator(TEST_SEED, 2, 0)
    scene, told = tell(rng)
    questions = questions_about(scene, TURNS, rng)
    (latents,) = codec.compress_tokens([codec.speech.encode(told)])
    asked = [question.text for question in questions]
    found = codec.ask([latents] * TURNS, asked, limit=ANSWER)
    page.section(
        "C3: a text asked about",
        f"“{told}” was read once, into {len(latents)} vectors. The questions came later, and the decoder never saw the "
        f"text. Of {ASKED} such questions about other scenes {percent(measured['exact'])} were answered to the letter; "
        f"with another scene's vectors {percent(measured['unread'])}, and with the commonest answer to each kind of "
        f"question {percent(measured['majority'])}.",
    )
    page.table(
        ("question", "answer", "true"),
        [(one.text, said.text, one.answer) for one, said in zip(questions, found, strict=True)],
        "A dialogue with a text that is vectors only.",
    )
    return told, asked

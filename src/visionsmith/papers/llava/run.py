"""LLaVA on a user's own pictures: questions, or a chat in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visionsmith.errors import ConfigError
from visionsmith.report.console import show_json

if TYPE_CHECKING:
    from visionsmith.papers.llava.assistant import Assistant

__all__ = ["command", "load"]

KNOWS = (
    "The shipped model has seen nothing but scenes of the built-in world: one to five drawings of 24 kinds in eight "
    "colours on a light ground, in three by three places. About any other picture it guesses."
)


def load(
    source: str | Path | None = None,
    *,
    tokenizer: str | Path | None = None,
    adapter: str | Path | None = None,
    download: bool = False,
    device: str = "cpu",
) -> Assistant:
    """Open a LLaVA, ready to answer.

    Args:
        source: a checkpoint of the project, a folder of the public code or of transformers, or a hub id; None for the
            checkpoint that ships.
        tokenizer: folder with the tokenizer.json, where the weights bring none.
        adapter: folder of a low-rank adapter for these weights.
        download: allow the network for a hub id that is not in the local cache.
        device: where to place the model.
    """
    from visionsmith.papers.llava.assistant import Assistant
    from visionsmith.papers.llava.lora import merge_adapter
    from visionsmith.papers.llava.official import load_any
    from visionsmith.papers.llava.start import with_image_token
    from visionsmith.papers.model_folder import find_folder
    from visionsmith.papers.paper import shipped_checkpoint
    from visionsmith.papers.vocabulary import read_vocabulary

    source = shipped_checkpoint("llava") if source is None else source
    model = load_any(source, download=download)
    if adapter is not None:
        merge_adapter(model, find_folder(adapter, download=download))
    words = read_vocabulary(find_folder(tokenizer or source, download=download))
    return Assistant(model, with_image_token(model, words)).to(device)


def command(
    images: Annotated[
        list[Path] | None, typer.Argument(help="Pictures that the questions are about.")
    ] = None,
    ask: Annotated[list[str] | None, typer.Option(help="A question. Repeatable: a conversation.")] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Ask in the terminal; an empty line ends.")] = False,
    checkpoint: Annotated[
        str | None, typer.Option(help="Checkpoint, LLaVA folder or hub id; without it, the one that ships.")
    ] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Folder with the tokenizer, for weights without.")
    ] = None,
    adapter: Annotated[Path | None, typer.Option(help="Folder of a low-rank adapter.")] = None,
    most: Annotated[int, typer.Option(help="Most tokens an answer.", min=1)] = 96,
    download: Annotated[bool, typer.Option("--download", help="Allow the network for a hub id.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Answer questions about pictures; each question knows those before it."""
    if bool(ask) == chat:
        raise ConfigError(
            "exactly one of --ask and --chat is needed", do='e.g. scene.png --ask "What is at the top?"'
        )
    if not images:
        raise ConfigError("no picture was given", do="name a file, or several that are asked about together")
    if chat and as_json:
        raise ConfigError("a chat is for people", do="ask with --ask for JSON")
    from visionsmith.image.io import read_image

    pictures: list[Any] = [read_image(path) for path in images]
    assistant = load(checkpoint, tokenizer=tokenizer, adapter=adapter, download=download)
    talk = assistant.chat(pictures)
    strange = checkpoint is None and not all(_like_the_world(picture) for picture in pictures)
    if chat:
        if strange:
            typer.echo(f"note: {KNOWS}")
        _converse(talk, most)
        return
    answers = [(question, talk.ask(question, longest=most)) for question in ask or []]
    if as_json:
        plain = [{"question": question, "answer": answer} for question, answer in answers]
        show_json(
            {"pictures": [str(path) for path in images], "answers": plain, "note": KNOWS if strange else None}
        )
        return
    for question, answer in answers:
        typer.echo(f"{question}\n  {answer}")
    if strange:
        typer.echo(f"note: {KNOWS}")


def _converse(talk: Any, most: int) -> None:
    """Questions from the terminal until an empty line or the end of the input."""
    from visionsmith.errors import VisionsmithError

    while True:
        try:
            question = typer.prompt("you", default="", show_default=False).strip()
        except typer.Abort:
            typer.echo()
            return
        if not question:
            return
        try:
            typer.echo("it: ", nl=False)
            talk.ask(question, longest=most, on_text=lambda text: typer.echo(text, nl=False))
            typer.echo()
        except VisionsmithError as error:
            # What was said stays; the next question may be a better one.
            typer.echo(str(error))


def _like_the_world(picture: Any) -> bool:
    """Whether most of a picture is one light ground, as every scene's is."""
    import numpy as np

    small = picture[:: max(1, len(picture) // 64), :: max(1, picture.shape[1] // 64)].reshape(-1, 3)
    values, counts = np.unique(small, axis=0, return_counts=True)
    ground = values[counts.argmax()]
    return bool(ground.min() >= 230 and counts.max() > 0.3 * len(small))

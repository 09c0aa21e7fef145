"""C3 on a user's own text: keep it as latents, restore it, ask about it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visionsmith.errors import ConfigError
from visionsmith.report.console import show_json, show_table, show_values

if TYPE_CHECKING:
    from visionsmith.papers.c3.codec import Codec

__all__ = ["command", "load"]

TRIED = 8
"""Chunks of a text that are restored before it is written, to say how well."""
BADLY = 0.9
"""Share of characters that come back below which a warning is given."""
ANSWERS = 3
"""Chunks whose answers are shown, the surest first."""
SHOWN = 3
"""Chunks of a text in which the first difference is shown."""


class Action(StrEnum):
    """What to do with the file."""

    compress = "compress"
    restore = "restore"
    ask = "ask"


def load(source: str | Path | None = None, *, download: bool = False, device: str = "cpu") -> Codec:
    """Open a C3, ready to use.

    Args:
        source: a checkpoint of the project, or a folder or hub id in the published layout; None for the checkpoint that
            ships.
        download: allow the network for a hub id that is not in the local cache.
        device: where to place the model.
    """
    from visionsmith.papers.c3.codec import Codec
    from visionsmith.papers.c3.official import load_any, tokenizer_for
    from visionsmith.papers.paper import shipped_checkpoint

    source = shipped_checkpoint("c3") if source is None else source
    model = load_any(source, download=download)
    return Codec(model.eval(), tokenizer_for(source, model.config, download=download)).to(device)


def command(
    action: Annotated[Action, typer.Argument(help="What to do.")],
    file: Annotated[Path, typer.Argument(help="compress: a text; restore and ask: what compress wrote.")],
    question: Annotated[
        str | None, typer.Argument(help='ask: an instruction, e.g. "What colour is the cat?".')
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="compress: the file of latents; restore: a text file.")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="compress: restore what was written, and compare.")
    ] = False,
    checkpoint: Annotated[
        str | None,
        typer.Option(help="Checkpoint, published folder or hub id; without it, the one that ships."),
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="Allow the network for a hub id.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Keep a text as latents (compress), get it back (restore), or put a question to the latents (ask)."""
    from visionsmith.papers.c3.book import require_free

    if (action is Action.ask) == (question is None):
        raise ConfigError(
            "ask needs a question" if action is Action.ask else f"{action} takes no question",
            do='e.g. visionsmith run c3 ask book.c3 "What colour is the cat?"',
        )
    if action is Action.ask and out is not None:
        raise ConfigError("ask writes no file", do="leave --out away")
    if verify and action is not Action.compress:
        raise ConfigError("--verify belongs to compress", do="leave it away")
    if action is Action.compress:
        out = file.with_suffix(".c3") if out is None else out
    if out is not None:
        require_free(out, overwrite=overwrite)
    show = not quiet and not as_json
    if action is Action.compress:
        assert out is not None, "compress has a place to write to"
        _compress(checkpoint, download, file, out, verify, overwrite, as_json, show)
    elif action is Action.restore:
        _restore(load(checkpoint, download=download), file, out, as_json, show)
    else:
        _ask(load(checkpoint, download=download), file, question or "", as_json, show)


def _compress(
    checkpoint: str | None,
    download: bool,
    file: Path,
    out: Path,
    verify: bool,
    overwrite: bool,
    as_json: bool,
    show: bool,
) -> None:
    from visionsmith.data.texts import read_text
    from visionsmith.papers.c3.book import read_book, write_book
    from visionsmith.papers.c3.score import differences

    text = read_text(file)
    codec = load(checkpoint, download=download)
    result = _expected(codec, text, show)
    if not as_json:
        _show_expected(file, result)
    packed = codec.compress(text, progress=show)
    size = write_book(out, packed, codec, text, overwrite=overwrite)
    result |= {"file": str(out), "bytes": size, "times_the_text": size / len(text.encode())}
    if not as_json:
        typer.echo(
            f"{out}: {size:,} bytes, {result['times_the_text']:.3g} times the text's: the ratio counts tokens that a "
            "decoder reads, not bytes on disk"
        )
    if verify:
        restored = codec.restore_tokens(read_book(out, codec).packed, progress=show)
        decode = codec.speech.decode
        result["verified"] = differences(list(map(decode, codec.cut(text))), list(map(decode, restored)))
        if not as_json:
            _show_differences(result["verified"])
    if as_json:
        show_json(result)


def _expected(codec: Codec, text: str, show: bool) -> dict[str, Any]:
    """Sizes and ratio, and how much of some chunks comes back: before anything is written."""
    from visionsmith.papers.c3.book import stored
    from visionsmith.papers.c3.codec import Packed
    from visionsmith.papers.c3.measure import spread_out
    from visionsmith.papers.c3.score import mean_score, score

    chunks = codec.cut(text)
    tried = [chunks[place] for place in spread_out(len(chunks), TRIED)]
    packed = stored(Packed(codec.compress_tokens(tried), tuple(map(len, tried))))
    restored = codec.restore_tokens(packed, progress=show)
    decode = codec.speech.decode
    pairs = [(decode(own), decode(found)) for own, found in zip(tried, restored, strict=True)]
    tokens = sum(map(len, chunks))
    latents = sum(codec.model.config.latents_of(len(chunk)) for chunk in chunks)
    return {
        "characters": len(text),
        "tokens": tokens,
        "chunks": len(chunks),
        "latents": latents,
        "tokens_a_latent": tokens / latents,
        "characters_a_token": len(text) / tokens,
        "expected": {**mean_score([score(*pair) for pair in pairs]), "chunks": len(tried)},
    }


def _show_expected(file: Path, result: dict[str, Any]) -> None:
    expected = result["expected"]
    typer.echo(
        f"{file}: {result['characters']:,} characters, {result['tokens']:,} tokens, {_chunks(result['chunks'])}\n"
        f"{result['latents']:,} latents: {result['tokens_a_latent']:.3g} tokens, "
        f"{result['characters'] / result['latents']:.3g} characters a latent\n"
        f"expected: {expected['characters']:.1%} of the characters come back "
        f"(measured on {_chunks(expected['chunks'])})"
    )
    if expected["characters"] < BADLY:
        spelt = result["characters_a_token"]
        why = f", whose vocabulary spells it with {spelt:.2g} characters a token" if spelt < 1.5 else ""
        typer.echo(f"warning: this model keeps this text badly{why}; keep the original", err=True)


def _chunks(count: int) -> str:
    return f"{count:,} chunk" + ("s" if count != 1 else "")


def _restore(codec: Codec, file: Path, out: Path | None, as_json: bool, show: bool) -> None:
    from visionsmith.durable import write_whole
    from visionsmith.papers.c3.book import digest, read_book

    book = read_book(file, codec)
    text = codec.restore(book.packed, progress=show)
    exact = digest(text) == book.sha256
    if out is not None:
        write_whole(out, text.encode("utf-8", "replace"))
    if as_json:
        show_json(
            {"exact": exact, "characters": len(text), **({"file": str(out)} if out else {"text": text})}
        )
        return
    if out is None:
        typer.echo(text)
    said = "the original, to the letter" if exact else "not the original to the letter: some of it was lost"
    typer.echo(f"{out}: {said}" if out else said, err=out is None)


def _ask(codec: Codec, file: Path, question: str, as_json: bool, show: bool) -> None:
    from visionsmith.papers.c3.book import read_book
    from visionsmith.papers.c3.scenes import taught
    from visionsmith.papers.c3.speech import REPEAT

    packed = read_book(file, codec).packed
    answers = codec.ask(packed.latents, [question] * len(packed.latents), progress=show)
    ranked = sorted(enumerate(answers), key=lambda pair: -pair[1].sure)
    found = [{"chunk": place + 1, "answer": one.text, "sure": one.sure} for place, one in ranked]
    if codec.model.config.stride is not None and not (question.startswith(REPEAT) or taught(question)):
        typer.echo(
            "note: a model trained from scratch knows questions about scenes told in words, such as 'What colour is "
            f"the cat?', and '{REPEAT.strip()}'; to others it says something (docs/papers/c3.md)",
            err=True,
        )
    if as_json:
        show_json({"question": question, "answers": found})
        return
    show_table(
        ("chunk", "answer", "sure"),
        [(one["chunk"], repr(one["answer"]), one["sure"]) for one in found[:ANSWERS]],
    )


def _show_differences(verified: dict[str, Any]) -> None:
    shown = {name: value for name, value in verified.items() if name != "first"}
    show_values(shown, title="verified")
    if verified["first"]:
        rows = [
            (one["character"], repr(one["original"]), repr(one["restored"]))
            for one in verified["first"][:SHOWN]
        ]
        show_table(("character", "original", "restored"), rows, title="first differences")

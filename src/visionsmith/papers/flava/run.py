"""FLAVA on a user's own input: texts ranked for pictures, missing words filled in, embeddings of either or both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visionsmith.errors import ConfigError, OutputError
from visionsmith.report.console import list_first, show_json, show_table

if TYPE_CHECKING:
    from visionsmith.data.pictures import Pictures
    from visionsmith.papers.flava.flava import Flava

__all__ = ["command", "load"]


def load(source: str | Path | None = None, *, download: bool = False, device: str = "cpu") -> Flava:
    """Open a FLAVA, ready to use.

    Args:
        source: a checkpoint of the project, or a transformers folder or hub id of `FlavaForPreTraining`; None for the
            checkpoint that ships.
        download: allow the network for a hub id that is not in the local cache.
        device: where to place the model.
    """
    from visionsmith.papers.flava.flava import Flava
    from visionsmith.papers.flava.official import load_any, load_codebook, read_words
    from visionsmith.papers.model_folder import find_folder
    from visionsmith.papers.paper import shipped_checkpoint

    source = shipped_checkpoint("flava") if source is None else source
    model = load_any(source, download=download)
    words = read_words(find_folder(source), model.config)
    return Flava(model.eval(), words, load_codebook(source)).to(device)


def command(
    images: Annotated[list[Path] | None, typer.Argument(help="Pictures, or folders of pictures.")] = None,
    texts: Annotated[
        list[str] | None, typer.Option(help='Texts: "a cat, a dog"; repeat it for texts with commas.')
    ] = None,
    fill: Annotated[str | None, typer.Option(help='A text to complete: "a [MASK] cat".')] = None,
    embeddings: Annotated[
        Path | None,
        typer.Option(help="Write embeddings of pictures, texts and pairs to this .safetensors file."),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(help="Checkpoint, transformers folder or hub id; without it, the one that ships."),
    ] = None,
    top: Annotated[int, typer.Option(help="How many answers to show.", min=1)] = 5,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the embeddings' file.")] = False,
    download: Annotated[bool, typer.Option("--download", help="Allow the network for a hub id.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Rank texts for pictures, fill in missing words, or write embeddings of pictures, texts and both."""
    said = _texts(texts)
    if fill is not None and (said or embeddings):
        raise ConfigError("--fill does not go with --texts or --embeddings", do="give two commands")
    if fill is None and embeddings is None and not (images and said):
        raise ConfigError(
            "there is nothing to do",
            do='give pictures and --texts "a cat, a dog", or --fill "a [MASK] cat", or --embeddings FILE',
        )
    if embeddings is not None:
        _require_place(embeddings, bool(images or said), overwrite=overwrite)
    from visionsmith.data.pictures import Pictures, find_pictures

    pictures = Pictures(find_pictures(images or []))
    flava = load(checkpoint, download=download)
    if fill is not None:
        result, columns, rows = _fill(flava, pictures, fill, top)
    elif embeddings is not None:
        result, columns, rows = _embed(flava, pictures, said, embeddings)
    else:
        result, columns, rows = _rank(flava, pictures, said, top)
    if as_json:
        show_json({**result, "left_out": [str(error) for error in pictures.broken]})
    else:
        show_table(columns, rows)
        list_first([f"left out: {error}" for error in pictures.broken])


Answer = tuple[dict[str, Any], Sequence[str], Sequence[Sequence[object]]]
"""What goes into JSON, and the table's columns and rows."""


def _texts(given: Sequence[str] | None) -> list[str]:
    """One option is a list with commas; several options are one text each."""
    parts = given[0].split(",") if given is not None and len(given) == 1 else given or []
    return list(dict.fromkeys(part.strip() for part in parts if part.strip()))


def _rank(flava: Flava, pictures: Pictures, texts: Sequence[str], top: int) -> Answer:
    found = flava.rank_all(pictures, texts)
    answers, rows = [], []
    for name, ranked in zip(pictures.names, found, strict=True):
        answers.append(
            {
                "picture": str(name),
                "texts": [
                    {"text": text, "contrastive": round(share, 4), "match": round(match, 4)}
                    for text, share, match in ranked[:top]
                ],
            }
        )
        rows += [
            (str(name) if rank == 0 else "", rank + 1, text, round(share, 4), round(match, 4))
            for rank, (text, share, match) in enumerate(ranked[:top])
        ]
    return {"pictures": answers}, ("picture", "rank", "text", "contrastive", "match"), rows


def _fill(flava: Flava, pictures: Pictures, text: str, top: int) -> Answer:
    alone = flava.fill(text, top=top)
    seen = [flava.fill(text, image, top=top) for image in pictures]
    answers = [("", alone), *((str(name), words) for name, words in zip(pictures.names, seen, strict=True))]
    several = len(alone) > 1
    rows = [
        (
            name or "(without a picture)" if rank == 0 and mask == 0 else "",
            *((mask + 1,) if several else ()),
            rank + 1,
            word,
            round(share, 4),
        )
        for name, masks in answers
        for mask, words in enumerate(masks)
        for rank, (word, share) in enumerate(words)
    ]
    plain = [
        {
            "picture": name or None,
            "masks": [{word: round(share, 4) for word, share in mask} for mask in masks],
        }
        for name, masks in answers
    ]
    columns = ("picture", *(("mask",) if several else ()), "rank", "word", "probability")
    return {"text": text, "filled": plain}, columns, rows


def _embed(flava: Flava, pictures: Pictures, texts: Sequence[str], file: Path) -> Answer:
    """Unit-norm embeddings of pictures and texts, and of every pair the multimodal first token."""
    import json

    import torch
    from safetensors.torch import save

    from visionsmith.durable import write_whole

    tensors: dict[str, torch.Tensor] = {}
    names: list[str] = []
    if pictures.paths:
        tensors["images"] = flava.encode_images(pictures)
        names = [str(name) for name in pictures.names]
    if texts:
        tensors["texts"] = flava.encode_texts(texts)
    if names and texts:
        shown = [pictures.read(name) for name in pictures.names]
        pairs = [flava.pair_features([image] * len(texts), texts) for image in shown]
        tensors["pairs"] = torch.stack(pairs)
    about = {
        "images": json.dumps(names, ensure_ascii=False),
        "texts": json.dumps(list(texts), ensure_ascii=False),
    }
    write_whole(file, save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata=about))
    rows = [(name, " x ".join(map(str, tensor.shape))) for name, tensor in tensors.items()]
    result = {"file": str(file), "images": names, "texts": list(texts)}
    return (
        result | {"shapes": {name: list(tensor.shape) for name, tensor in tensors.items()}},
        (
            f"in {file}",
            "shape",
        ),
        rows,
    )


def _require_place(file: Path, given: bool, *, overwrite: bool) -> None:
    if not given:
        raise ConfigError("there is nothing to embed", do="name pictures, or give --texts")
    if file.suffix != ".safetensors":
        raise ConfigError(f"the file to write, '{file}', is not a .safetensors", do="end it in .safetensors")
    if file.exists() and not overwrite:
        raise OutputError("exists", where=file, do="add --overwrite, or choose another name")

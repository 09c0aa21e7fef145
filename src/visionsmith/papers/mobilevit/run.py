"""MobileViT on a user's own pictures: labels, and the network as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visionsmith.errors import ConfigError

if TYPE_CHECKING:
    from visionsmith.papers.mobilevit.classifier import MobileViTClassifier

__all__ = ["command", "load"]


def load(source: str | Path | None = None, *, device: str = "cpu") -> MobileViTClassifier:
    """Open a MobileViT, ready to answer: batch norms are folded, so it cannot be trained.

    Args:
        source: a checkpoint of the project, a transformers folder or a .safetensors file with the published names;
            None for the checkpoint that ships. `official.load_any` opens the same for training.
        device: where to place the model.
    """
    from visionsmith.papers.mobilevit.classifier import MobileViTClassifier
    from visionsmith.papers.mobilevit.folding import fold_batch_norm
    from visionsmith.papers.mobilevit.official import load_any, shown_as
    from visionsmith.papers.paper import shipped_checkpoint

    source = shipped_checkpoint("mobilevit") if source is None else source
    model = load_any(source)
    shown = shown_as(source, model.config.classes)
    folded = fold_batch_norm(model).to(device)
    return MobileViTClassifier(folded, shown.classes, size=shown.size, resize=shown.resize)


def command(
    images: Annotated[list[Path] | None, typer.Argument(help="Pictures, or folders of pictures.")] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Checkpoint or transformers folder; without it, the one that ships."),
    ] = None,
    top: Annotated[int, typer.Option(help="How many labels a picture.", min=1)] = 5,
    size: Annotated[
        int | None, typer.Option(help="Side at which pictures are shown, px; without it, the model's own.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="The contact sheet, a PNG.")] = None,
    onnx: Annotated[Path | None, typer.Option(help="Also write the network to this .onnx file.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the .onnx file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Label pictures with the classes that the model was trained on."""
    if not images and onnx is None:
        raise ConfigError(
            "no pictures were given", do="name pictures or a folder, or write the network with --onnx"
        )
    from visionsmith.data.pictures import Pictures, find_pictures, free_name
    from visionsmith.papers.classify import label_files, show_labels
    from visionsmith.papers.mobilevit.onnx_file import require_free, write_onnx

    sheet = free_name("mobilevit", output)
    pictures = Pictures(find_pictures(images or []))
    if onnx is not None:
        require_free(onnx, overwrite=overwrite)
    classifier = load(checkpoint)
    classifier = classifier if size is None else classifier.at(size)
    if onnx is not None:
        difference = write_onnx(classifier.network, onnx, classifier.size, overwrite=overwrite)
        typer.echo(
            f"network: {onnx} (input images 1 x 3 x {classifier.size} x {classifier.size}, BGR, 0 to 1; "
            f"run by OpenCV it differs by {difference:.1e} at most)",
            err=as_json,
        )
    if images:
        found = label_files(classifier, pictures, top=top, sheet=sheet)
        show_labels(found, pictures, sheet, as_json=as_json)

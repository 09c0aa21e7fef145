"""`visionsmith image network`: an ONNX network over pictures, and faces as the ready-made case."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visionsmith.cli.image_files import Files, named, on_files, refuse_to_replace
from visionsmith.cli.image_numbers import numbers, whole_pair

if TYPE_CHECKING:
    from visionsmith.image.batch import Job

__all__ = ["network"]


@on_files
def network(
    files: Files,
    model: Annotated[Path, typer.Option(help="The ONNX file.")],
    faces: Annotated[
        bool, typer.Option("--faces", help="The model is YuNet: draw the faces that it finds.")
    ] = False,
    score: Annotated[float, typer.Option(help="With --faces: least score, 0 to 1.")] = 0.7,
    size: Annotated[
        str | None, typer.Option(help="Pictures are resized to it; else the model's own.", metavar="W,H")
    ] = None,
    scale: Annotated[
        str, typer.Option(help="Factor, one or one a channel, after the mean.", metavar="N")
    ] = "1",
    mean: Annotated[
        str, typer.Option(help="Subtracted, one or one a channel, of 0 to 255.", metavar="N")
    ] = "0",
    swap: Annotated[bool, typer.Option("--swap", help="Give the channels as B, G, R.")] = False,
) -> None:
    """Run an ONNX network, or find faces.

    Outputs are written as OUTPUT/NAME.npz; with --faces, pictures with the faces drawn.
    """
    from visionsmith.errors import ConfigError
    from visionsmith.image.batch import plan
    from visionsmith.image.network import OnnxNetwork

    if faces:
        if size is not None or swap or (scale, mean) != ("1", "0"):
            raise ConfigError(
                "--faces prepares pictures as YuNet needs them",
                do="leave --size, --scale, --mean, --swap out",
            )
        _draw_faces(files, model, score)
        return
    if files.format is not None:
        raise ConfigError("--format is for pictures, and outputs are .npz files", do="leave it out")
    net = OnnxNetwork(
        model,
        size=whole_pair(size, "--size") if size is not None else None,
        scale=numbers(scale, "--scale"),
        mean=numbers(mean, "--mean"),
        swap=swap,
    )

    def work(job: Job) -> dict[str, Any]:
        refuse_to_replace(job.target, files.overwrite)
        outputs = named(job.source, lambda: net(files.read(job.source)))
        _write_arrays(job.target, outputs)
        return {"outputs": {name: list(array.shape) for name, array in outputs.items()}}

    files.run(plan(files.inputs, files.output, ending=".npz"), work, _shapes)


def _draw_faces(files: Files, model: Path, score: float) -> None:
    from visionsmith.image.batch import plan
    from visionsmith.image.faces import detect_faces, draw_faces, read_yunet

    read_yunet(model)  # another file is told once, not for every picture

    def work(job: Job) -> dict[str, Any]:
        refuse_to_replace(job.target, files.overwrite)
        image = files.read(job.source)
        found = named(job.source, lambda: detect_faces(image, model, score=score))
        files.write(job.target, draw_faces(image, found))
        return {"faces": [asdict(face) for face in found]}

    files.run(plan(files.inputs, files.output, ending=files.ending), work, _count)


def _write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    import io

    import numpy as np

    from visionsmith.durable import write_whole

    stream = io.BytesIO()
    np.savez(stream, **arrays)
    write_whole(path, stream.getvalue())


def _shapes(found: dict[str, Any]) -> str:
    return ", ".join(f"{name} {' x '.join(map(str, shape))}" for name, shape in found["outputs"].items())


def _count(found: dict[str, Any]) -> str:
    faces = found["faces"]
    return f"{len(faces)} face{'' if len(faces) == 1 else 's'}"

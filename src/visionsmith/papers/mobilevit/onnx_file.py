"""A MobileViT as an ONNX file for one size of picture, compared with its source before it is written."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import cv2
import numpy as np
import torch

from visionsmith.durable import write_whole
from visionsmith.errors import ConfigError, OutputError
from visionsmith.papers.mobilevit.folding import fold_batch_norm
from visionsmith.papers.mobilevit.model import MobileViT

__all__ = ["require_free", "write_onnx"]

TOLERANCE = 1e-4
"""Largest difference between the file's answers and the model's, as a share of the largest answer."""
OPSET = 17


def require_free(path: Path, *, overwrite: bool) -> None:
    """Refuse a name that cannot become the file.

    Raises:
        ConfigError: it does not end in .onnx.
        OutputError: it exists and may not be replaced.
    """
    if path.suffix.lower() != ".onnx":
        raise ConfigError(f"the network to write, '{path}', is not an .onnx file", do="end its name in .onnx")
    if path.is_dir() or (path.exists() and not overwrite):
        raise OutputError("exists already", where=path, do="choose another name or allow --overwrite")


def write_onnx(model: MobileViT, path: Path, size: int, *, overwrite: bool = False) -> float:
    """Write a model as an ONNX file: input "images" 1 3 size size, BGR, 0 to 1; output "logits" 1 classes.

    Batch norms are folded. Where every feature map divides into whole patches the file holds no interpolation.

    Args:
        model: folded or not.
        path: the file; appears whole or not at all.
        size: side of the pictures, pixels.
        overwrite: whether an existing file may be replaced.

    Returns:
        The largest difference between the model's answers and those of the file, run by OpenCV.

    Raises:
        ConfigError: the name does not end in .onnx, or the package `onnx` is missing.
        OutputError: the file exists, cannot be written, or gives other answers than the model.
    """
    require_free(path, overwrite=overwrite)
    folded = fold_batch_norm(model).cpu()
    images = torch.from_numpy(np.random.default_rng(0).random((1, 3, size, size), np.float32))
    content = _export(folded, images)
    with torch.inference_mode():
        expected = folded(images).numpy()
    network = cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8))
    network.setInput(images.numpy())
    difference = float(np.abs(network.forward() - expected).max())
    if not difference <= TOLERANCE * float(np.abs(expected).max()):
        raise OutputError(
            f"the exported network differs from the model by {difference:.1e}, so it is not written",
            where=path,
            do="report it with the model's config.json",
        )
    write_whole(path, content)
    return difference


def _export(model: MobileViT, images: torch.Tensor) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        # The tracer warns of every size that it takes for fixed; here they are.
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                model,
                (images,),
                stream,  # type: ignore[arg-type]
                dynamo=False,
                opset_version=OPSET,
                input_names=["images"],
                output_names=["logits"],
            )
        except (ImportError, torch.onnx.OnnxExporterError) as error:
            raise ConfigError(
                f"the network cannot be exported ({error})", do="install the package: pip install onnx"
            ) from error
    return stream.getvalue()

"""The ONNX file answers as its source, and holds an interpolation only where patches do not divide."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from tests.papers.mobilevit.library import SMALL, library_model
from visionsmith.errors import ConfigError, OutputError
from visionsmith.papers.mobilevit import MobileViT, fold_batch_norm, from_official, write_onnx
from visionsmith.papers.mobilevit.transformers_layout import state_from_transformers


@pytest.fixture(scope="module")
def model() -> MobileViT:
    return from_official(state_from_transformers(library_model(SMALL).state_dict(), SMALL), SMALL).eval()


def operations(path: Path) -> set[str]:
    return {node.op_type for node in onnx.load(path).graph.node}


@pytest.mark.parametrize(("size", "interpolates"), [(64, False), (128, False), (96, True), (80, True)])
def test_an_exported_network_answers_as_its_source(
    tmp_path: Path, model: MobileViT, size: int, interpolates: bool
) -> None:
    path = tmp_path / "network.onnx"
    assert write_onnx(model, path, size) < 1e-4
    found = operations(path)
    assert ("Resize" in found) == interpolates
    assert "BatchNormalization" not in found
    images = torch.rand(1, 3, size, size)
    with torch.no_grad():
        expected = model(images).numpy()
    # Two runners that know nothing of torch; OpenCV was one.
    answers = ReferenceEvaluator(str(path)).run(None, {"images": images.numpy()})[0]
    np.testing.assert_allclose(answers, expected, atol=1e-4, rtol=1e-4)


def test_unfold_and_fold_are_one_transpose_each(tmp_path: Path, model: MobileViT) -> None:
    write_onnx(fold_batch_norm(model), tmp_path / "network.onnx", 64)
    graph = onnx.load(tmp_path / "network.onnx").graph
    six_axes = [
        node
        for node in graph.node
        if node.op_type == "Transpose" and len(next(a for a in node.attribute if a.name == "perm").ints) == 6
    ]
    assert len(six_axes) == 2 * 3, "one each way in each of three blocks"


def test_mistakes(tmp_path: Path, model: MobileViT, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"is not an \.onnx file"):
        write_onnx(model, tmp_path / "network.txt", 64)
    path = tmp_path / "network.onnx"
    path.write_bytes(b"kept")
    with pytest.raises(OutputError, match="exists already"):
        write_onnx(model, path, 64)
    assert path.read_bytes() == b"kept"
    monkeypatch.setattr("visionsmith.papers.mobilevit.onnx_file.TOLERANCE", 0.0)
    with pytest.raises(OutputError, match=r"differs from the model by .* so it is not written"):
        write_onnx(model, path, 64, overwrite=True)
    assert path.read_bytes() == b"kept"


def test_a_missing_package_is_told(tmp_path: Path, model: MobileViT, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ConfigError, match="pip install onnx"):
        write_onnx(model, tmp_path / "network.onnx", 64)
    assert not (tmp_path / "network.onnx").exists()

"""ONNX networks that are built here, with ONNX's own reference evaluator and blobFromImage as the oracles."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from visionsmith.errors import CheckpointError, ConfigError, DataError
from visionsmith.image.network import OnnxNetwork, network
from visionsmith.image.onnx_header import TensorInfo, read_onnx_header

RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(size=(2, 3, 3, 3)).astype(np.float32)
BIAS = np.array([0.1, -0.2], np.float32)
PICTURE = RNG.integers(0, 256, (12, 20, 3), np.uint8)
Shape = Sequence[int | str]


def build(
    nodes: Sequence[Any],
    inputs: dict[str, Shape],
    outputs: dict[str, Shape],
    constants: dict[str, np.ndarray] | None = None,
    types: dict[str, int] | None = None,
) -> onnx.ModelProto:
    def info(name: str, shape: Shape) -> Any:
        return helper.make_tensor_value_info(name, (types or {}).get(name, TensorProto.FLOAT), shape)

    graph = helper.make_graph(
        nodes,
        "graph",
        [info(*item) for item in inputs.items()],
        [info(*item) for item in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def convolution(shape: Shape = (1, 3, "h", "w")) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Conv", ["x", "weight", "bias"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["y"]),
        helper.make_node("GlobalAveragePool", ["y"], ["mean"]),
    ]
    outputs = {"y": (1, 2, *shape[2:]), "mean": (1, 2, 1, 1)}
    return build(nodes, {"x": shape}, outputs, {"weight": WEIGHT, "bias": BIAS})


def identity(shape: Shape) -> onnx.ModelProto:
    return build([helper.make_node("Identity", ["x"], ["y"])], {"x": shape}, {"y": shape})


def saved(model: onnx.ModelProto, folder: Path, name: str = "model.onnx") -> Path:
    path = folder / name
    path.write_bytes(model.SerializeToString())
    return path


def test_outputs_are_those_of_the_reference_evaluator(tmp_path: Path) -> None:
    model = convolution()
    net = OnnxNetwork(saved(model, tmp_path), scale=1 / 255, mean=(120, 115, 100))
    results = net(PICTURE)
    blob = ((PICTURE.astype(np.float32) - (120, 115, 100)) / 255).transpose(2, 0, 1)[None].astype(np.float32)
    expected = dict(zip(("y", "mean"), ReferenceEvaluator(model).run(None, {"x": blob}), strict=True))
    assert list(results) == ["y", "mean"]
    for name, array in expected.items():
        assert results[name].dtype == np.float32
        assert np.allclose(results[name], array, atol=1e-5)
    assert np.array_equal(
        network(PICTURE, tmp_path / "model.onnx", scale=1 / 255, mean=(120, 115, 100))["y"], results["y"]
    )
    first = results["y"].copy()
    net(255 - PICTURE)
    assert np.array_equal(results["y"], first), "a result changed with the next run"


@pytest.mark.parametrize("size", [None, (8, 6), (33, 25)])
@pytest.mark.parametrize("swap", [False, True])
def test_a_picture_enters_as_blob_from_image_makes_it(
    tmp_path: Path, size: tuple[int, int] | None, swap: bool
) -> None:
    options: dict[str, Any] = {"size": size, "scale": 0.25, "mean": (10, 20, 30), "swap": swap}
    net = OnnxNetwork(saved(identity((1, 3, "h", "w")), tmp_path), **options)
    expected = cv2.dnn.blobFromImage(PICTURE, 0.25, size or (20, 12), (10, 20, 30), swapRB=swap)
    assert np.abs(net(PICTURE)["y"] - expected).max() < 1e-4


def test_the_declared_size_is_taken(tmp_path: Path) -> None:
    path = saved(convolution((1, 3, 6, 8)), tmp_path)
    assert OnnxNetwork(path)(PICTURE)["y"].shape == (1, 2, 6, 8)
    assert OnnxNetwork(path, size=(8, 6))(PICTURE)["y"].shape == (1, 2, 6, 8)
    with pytest.raises(ConfigError, match="size = 6 x 8: the network takes 8 x 6 px only"):
        OnnxNetwork(path, size=(6, 8))


def test_channels_and_depths(tmp_path: Path) -> None:
    colour = OnnxNetwork(saved(identity((1, 3, "h", "w")), tmp_path))
    gray = OnnxNetwork(saved(identity(("n", 1, "h", "w")), tmp_path, "gray.onnx"))
    last = OnnxNetwork(saved(identity((1, "h", "w", 3)), tmp_path, "last.onnx"))
    expected = PICTURE.astype(np.float32).transpose(2, 0, 1)[None]
    assert np.array_equal(colour(PICTURE)["y"], expected)
    assert np.array_equal(last(PICTURE)["y"], PICTURE[None])
    assert np.allclose(colour(PICTURE.astype(np.uint16) * 257)["y"], expected, atol=1e-3)
    assert np.allclose(colour(PICTURE.astype(np.float32) / 255)["y"], expected, atol=1e-3)
    luma = cv2.cvtColor(PICTURE, cv2.COLOR_RGB2GRAY)
    assert np.array_equal(gray(PICTURE)["y"], luma[None, None])
    assert np.array_equal(gray(luma)["y"], luma[None, None])
    assert np.array_equal(colour(luma)["y"], np.stack([luma] * 3)[None])
    clear = np.dstack([PICTURE, np.zeros_like(luma)])
    assert (colour(clear)["y"] == 255).all()
    assert np.array_equal(colour(PICTURE[::-1, ::-1])["y"], expected[:, :, ::-1, ::-1])


def test_several_inputs_are_given_by_name(tmp_path: Path) -> None:
    model = build(
        [helper.make_node("Gather", ["table", "rows"], ["y"], axis=0)],
        {"table": (4, 3), "rows": ("n",)},
        {"y": ("n", 3)},
        types={"rows": TensorProto.INT64},
    )
    net = OnnxNetwork(saved(model, tmp_path))
    table = np.arange(12, dtype=np.float32).reshape(4, 3)
    rows = np.array([3, 1, 1], np.int64)
    assert np.array_equal(net.run({"table": table, "rows": rows})["y"], table[rows])
    mistakes = {
        r"input 'rows' \(int64 \?\) was not given": {"table": table},
        "no input 'tabel'; did you mean 'table'": {"tabel": table, "rows": rows},
        "'rows' takes int64 .*; got int32 3": {"table": table, "rows": rows.astype(np.int32)},
        "'table' takes float32 4 x 3; got float32 3 x 4": {"table": table.T, "rows": rows},
    }
    for words, tensors in mistakes.items():
        with pytest.raises(DataError, match=words):
            net.run(tensors)
    with pytest.raises(DataError, match=r"takes 2 inputs \(table, rows\), not one picture"):
        net(PICTURE)


def test_a_wrong_number_of_channels_is_refused(tmp_path: Path) -> None:
    # OpenCV 5.0 computes with two channels for three, from memory that is not the input's.
    net = OnnxNetwork(saved(convolution(), tmp_path))
    with pytest.raises(DataError, match=r"'x' takes float32 1 x 3 x \? x \?; got float32 1 x 2 x 12 x 20"):
        net.run({"x": np.zeros((1, 2, 12, 20), np.float32)})


@pytest.mark.parametrize("shape", [(1, 10), (1, 5, "h", "w"), (1, 3, 4, 4, 4)])
def test_a_network_that_takes_no_picture(tmp_path: Path, shape: Shape) -> None:
    with pytest.raises(DataError, match="is no picture of 1 or 3 channels"):
        network(PICTURE, saved(identity(shape), tmp_path))


def test_threads_share_a_network(tmp_path: Path) -> None:
    net = OnnxNetwork(saved(convolution(), tmp_path))
    pictures = [np.roll(PICTURE, shift, axis=1) for shift in range(20)] * 3
    alone = [net(picture)["y"] for picture in pictures]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda picture: net(picture)["y"], pictures))
    assert all(map(np.array_equal, alone, together))


def test_header_says_what_onnx_says(tmp_path: Path) -> None:
    header = read_onnx_header(convolution().SerializeToString())
    assert header.inputs == (TensorInfo("x", "float32", (1, 3, None, None)),)
    assert header.outputs[1] == TensorInfo("mean", "float32", (1, 2, 1, 1))
    assert header.files == frozenset()
    listed = build(
        [helper.make_node("Add", ["x", "c"], ["y"])],
        {"x": (-1, 0), "c": (2,)},
        {"y": ()},
        {"c": np.ones(2, np.float16)},
        {"x": TensorProto.FLOAT16, "c": TensorProto.FLOAT16, "y": TensorProto.BFLOAT16},
    )
    header = read_onnx_header(listed.SerializeToString())
    assert header.inputs == (TensorInfo("x", "float16", (None, None)),)
    assert header.outputs == (TensorInfo("y", "bfloat16", ()),)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damage_of_the_header_raises_nothing_but_one_error(data: st.DataObject) -> None:
    content = bytearray(convolution().SerializeToString())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        header = read_onnx_header(cut, where="m.onnx")
    except CheckpointError as error:
        message = str(error)
    else:
        message = "m.onnx: is no ONNX network (but it was read)"
        assert all(isinstance(info, TensorInfo) for info in header.inputs + header.outputs)
    assert message.startswith("m.onnx: is no ONNX network (")
    assert "\n" not in message


def test_what_would_crash_opencv_is_refused(tmp_path: Path) -> None:
    # OpenCV 5.0 ends the process on an operation whose name is no text.
    whole = convolution().SerializeToString()
    (tmp_path / "m.onnx").write_bytes(whole.replace(b"Relu", b"\xfaelu"))
    with pytest.raises(CheckpointError, match="is no ONNX network"):
        OnnxNetwork(tmp_path / "m.onnx")
    model = convolution()
    model.graph.initializer[0].dims[0] = 2000
    with pytest.raises(
        CheckpointError, match="weights 'weight' hold 216 bytes where their shape has 216,000"
    ):
        OnnxNetwork(saved(model, tmp_path))


def test_weights_in_a_file_beside_it(tmp_path: Path) -> None:
    model = convolution()
    onnx.save_model(
        model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0
    )
    assert read_onnx_header((tmp_path / "m.onnx").read_bytes()).files == {"m.data"}
    expected = network(PICTURE, saved(convolution(), tmp_path))["y"]
    assert np.allclose(network(PICTURE, tmp_path / "m.onnx")["y"], expected)
    (tmp_path / "m.data").unlink()
    with pytest.raises(CheckpointError, match=r"keeps its weights in 'm.data', which is not beside it"):
        OnnxNetwork(tmp_path / "m.onnx")


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "a/../../b", "..\\secret", ""])
def test_no_file_outside_its_folder_is_read(tmp_path: Path, location: str) -> None:
    model = convolution()
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", location
    (tmp_path / "secret.bin").write_bytes(bytes(WEIGHT.nbytes))
    (tmp_path / "inside").mkdir()
    with pytest.raises(CheckpointError, match="outside its folder; do not trust it"):
        OnnxNetwork(saved(model, tmp_path / "inside"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("net.caffemodel", "Caffe network, which OpenCV 5 no longer reads; convert the network to ONNX"),
        ("deploy.prototxt", "Caffe network"),
        ("yolov3.weights", "Darknet network, which OpenCV 5 no longer reads"),
        ("yolov3.CFG", "Darknet network"),
        ("net.t7", "Torch 7"),
        ("frozen.pb", "TensorFlow graph, and only ONNX files are run; convert it with tf2onnx"),
        ("m.tflite", "TensorFlow Lite"),
        ("m.pt", "file of PyTorch, and only ONNX files are run; export the network with torch.onnx.export"),
        ("m.safetensors", "holds weights and no network"),
        ("haarcascade_frontalface_default.xml", "cascade classifier, .*network --faces"),
        ("missing.onnx", "cannot be read .no such file or directory."),
    ],
)
def test_other_files_get_the_sentence_that_helps(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(CheckpointError, match=words) as caught:
        OnnxNetwork(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))


def test_contents_that_are_no_network(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    unknown = build(
        [helper.make_node("Frobnicate", ["x"], ["y"], domain="custom")],
        {"x": (1, 3, 4, 4)},
        {"y": (1, 3, 4, 4)},
    )
    unknown.opset_import.append(helper.make_opsetid("custom", 1))
    whole = convolution().SerializeToString()
    contents = {
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n": "pointer of Git LFS; .*git lfs pull",
        b"": "no graph in it",
        b"<!DOCTYPE html><html></html>": "is no ONNX network",
        whole[: len(whole) // 2]: "is no ONNX network .it ends too early.",
        unknown.SerializeToString(): r"cannot run this network \(operation .*Frobnicate",
    }
    for content, words in contents.items():
        (tmp_path / "m.onnx").write_bytes(content)
        with pytest.raises(CheckpointError, match=words) as caught:
            OnnxNetwork(tmp_path / "m.onnx")
        assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": (0, 5)}, "at least 1 px"),
        ({"size": 7}, "not two numbers"),
        ({"scale": float("nan")}, "scale = nan"),
        ({"mean": (1, 2)}, r"mean = \(1, 2\): allowed are one finite number or three"),
        ({"mean": "blue"}, "mean = 'blue'"),
    ],
)
def test_settings_that_cannot_be(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        OnnxNetwork(saved(convolution(), tmp_path), **options)


def test_three_means_for_one_channel(tmp_path: Path) -> None:
    net = OnnxNetwork(saved(identity((1, 1, "h", "w")), tmp_path), mean=(1, 2, 3))
    with pytest.raises(ConfigError, match="mean has 3 numbers; the network takes 1 channels"):
        net(PICTURE)

"""ONNX networks on pictures, run by OpenCV on the CPU.

    network = OnnxNetwork("model.onnx", scale=1 / 255)
    network(image)                                  # {"output": float32 array, ...}

OpenCV computes on whatever it is given: with a wrong number of channels it reads memory that is not the
picture's and says nothing. So the file's own header is read first, and what does not fit it is refused.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from visionsmith.errors import CheckpointError, ConfigError, DataError, nearest
from visionsmith.image.channels import convert
from visionsmith.image.checks import check_image, top_of
from visionsmith.image.onnx_header import TensorInfo, read_onnx_header
from visionsmith.image.quiet import quiet

__all__ = ["OnnxNetwork", "network", "read_onnx"]

_CONVERT = "convert the network to ONNX where it was trained, or take an ONNX file of it"
_FOREIGN = {
    ".caffemodel": ("is a Caffe network, which OpenCV 5 no longer reads", _CONVERT),
    ".prototxt": ("is a Caffe network, which OpenCV 5 no longer reads", _CONVERT),
    ".weights": ("is a Darknet network, which OpenCV 5 no longer reads", _CONVERT),
    ".cfg": ("is a Darknet network, which OpenCV 5 no longer reads", _CONVERT),
    ".t7": ("is a Torch 7 network, which OpenCV 5 no longer reads", _CONVERT),
    ".pb": ("is a TensorFlow graph, and only ONNX files are run", "convert it with tf2onnx"),
    ".tflite": ("is a TensorFlow Lite network, and only ONNX files are run", "convert it with tf2onnx"),
    ".pt": ("is a file of PyTorch, and only ONNX files are run", "export the network with torch.onnx.export"),
    ".pth": (
        "is a file of PyTorch, and only ONNX files are run",
        "export the network with torch.onnx.export",
    ),
    ".safetensors": ("holds weights and no network", "export the network with torch.onnx.export"),
}
_CASCADE = (
    "is a cascade classifier, which OpenCV 5 no longer has",
    "find faces with the network YuNet instead: visionsmith image network --faces --model yunet.onnx",
)
# What OpenCV's message says of an operation that it does not have.
_OPERATION = re.compile(r'of type "([^"]+)"|Node \[([^\]]+)\]')


class OnnxNetwork:
    """An ONNX file, and how a picture is made ready for it.

    A picture enters as `(resized picture - mean) * scale`, float32, as `cv2.dnn.blobFromImage` makes it.
    Threads may share a network; they take turns.
    """

    inputs: dict[str, TensorInfo]
    """What the network takes, by name."""
    outputs: dict[str, TensorInfo]
    """What it gives, by name."""

    def __init__(
        self,
        path: str | Path,
        *,
        size: tuple[int, int] | None = None,
        scale: float | Sequence[float] = 1.0,
        mean: float | Sequence[float] = 0.0,
        swap: bool = False,
    ) -> None:
        """Read the file; a picture must fit its first input, when there is only one.

        Args:
            path: of the ONNX file.
            size: (width, height) that pictures are resized to, bilinearly, pixels. Without it the size that
                the file declares, or where that is free the picture's own.
            scale: factor, one or one a channel; 1 / 255 brings values to [0, 1].
            mean: subtracted before, one or one a channel, on the scale of 0 to 255.
            swap: give the channels as B, G, R to a network that was trained with OpenCV's order.

        Raises:
            CheckpointError: the file is missing, is no ONNX network, or holds something that OpenCV cannot run.
            ConfigError: a size, scale or mean that cannot be, or a size that the network does not take.
        """
        self.path = Path(path)
        data, self.inputs, self.outputs = read_onnx(self.path)
        self._scale, self._mean, self._swap = _channelwise("scale", scale), _channelwise("mean", mean), swap
        self._lock = threading.Lock()
        self._net = _load(self.path, data)
        self._size = self._checked_size(size)

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Outputs for one picture, by name.

        Args:
            image: HW, HWC RGB or HWC RGBA (laid on white); uint8, uint16, or float32 in [0, 1].

        Raises:
            DataError: the array is no picture, or the network does not take pictures.
        """
        if len(self.inputs) != 1:
            names = ", ".join(self.inputs)
            raise DataError(
                f"takes {len(self.inputs)} inputs ({names}), not one picture",
                where=self.path,
                do="give them by name to run",
            )
        return self.run({next(iter(self.inputs)): self.blob(image)})

    def run(self, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs for tensors, by name.

        Args:
            tensors: one array an input, of its type and shape.

        Raises:
            DataError: an input is unknown, missing, or of another type or shape; or OpenCV fails on it.
        """
        for name in tensors:
            if name not in self.inputs:
                close = nearest(name, self.inputs)
                advice = f"did you mean '{close}'" if close else f"it has {', '.join(self.inputs)}"
                raise DataError(f"has no input '{name}'", where=self.path, do=advice)
        for name, info in self.inputs.items():
            if name not in tensors:
                raise DataError(f"input '{name}' ({info}) was not given", where=self.path)
            _check_tensor(tensors[name], info, self.path)
        with self._lock, quiet():
            try:
                for name, tensor in tensors.items():
                    self._net.setInput(np.ascontiguousarray(tensor), name)
                results = self._net.forward(list(self.outputs))
            except cv2.error as error:
                raise DataError(f"fails on this input ({_reason(error)})", where=self.path) from error
        # OpenCV reuses its buffers in the next run.
        return {name: np.array(result) for name, result in zip(self.outputs, results, strict=True)}

    def blob(self, image: np.ndarray) -> np.ndarray:
        """A picture as the network takes it: a batch of one, float32, channels where its input has them."""
        check_image(image, "network")
        info = next(iter(self.inputs.values()))
        last = _channels_last(info)
        channels = _channels(info, last)
        if channels not in (1, 3):
            raise DataError(f"input '{info.name}' ({info}) is no picture of 1 or 3 channels", where=self.path)
        pixels = convert(image, "gray" if channels == 1 else "rgb")
        if image.dtype != np.uint8:  # mean and scale are given on the scale of 0 to 255
            pixels = pixels.astype(np.float32) * np.float32(255 / top_of(image))
        if self._size is not None and self._size != (image.shape[1], image.shape[0]):
            pixels = cv2.resize(pixels, self._size, interpolation=cv2.INTER_LINEAR)
        pixels = pixels.reshape(*pixels.shape[:2], channels)
        if self._swap:
            pixels = pixels[:, :, ::-1]
        for name, value in (("mean", self._mean), ("scale", self._scale)):
            if value.size not in (1, channels):
                raise ConfigError(f"{name} has {value.size} numbers; the network takes {channels} channels")
        values = (pixels.astype(np.float32) - self._mean) * self._scale
        return np.ascontiguousarray((values if last else values.transpose(2, 0, 1))[None])

    def _checked_size(self, size: tuple[int, int] | None) -> tuple[int, int] | None:
        """The size that pictures get: the one that was asked for, if the network takes it, or the file's."""
        info = next(iter(self.inputs.values()), None)
        declared = None
        if info is not None and info.shape is not None and len(info.shape) == 4:
            height, width = info.shape[1:3] if _channels_last(info) else info.shape[2:4]
            declared = (width, height) if width is not None and height is not None else None
        if size is None:
            return declared
        try:
            width, height = (int(side) for side in size)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"size = {size!r}: not two numbers", do="write it as (width, height)"
            ) from error
        if min(width, height) < 1:
            raise ConfigError(f"size = {size!r}: both sides must be at least 1 px")
        if declared is not None and declared != (width, height):
            raise ConfigError(
                f"size = {width} x {height}: the network takes {declared[0]} x {declared[1]} px only",
                where=self.path,
                do="leave the size out",
            )
        return width, height


def network(
    image: np.ndarray,
    model: str | Path,
    *,
    size: tuple[int, int] | None = None,
    scale: float | Sequence[float] = 1.0,
    mean: float | Sequence[float] = 0.0,
    swap: bool = False,
) -> dict[str, np.ndarray]:
    """Outputs of an ONNX network for one picture; for several make an `OnnxNetwork` once.

    Args:
        image: HW, HWC RGB or HWC RGBA; uint8, uint16, or float32 in [0, 1].
        model: the ONNX file.
        size: (width, height) that the picture is resized to, pixels.
        scale: factor, one or one a channel.
        mean: subtracted before, one or one a channel, on the scale of 0 to 255.
        swap: give the channels as B, G, R.

    Raises:
        CheckpointError: the file is no network that OpenCV runs.
        DataError: the array is no picture, or none that the network takes.
        ConfigError: a size, scale or mean that cannot be.
    """
    return OnnxNetwork(model, size=size, scale=scale, mean=mean, swap=swap)(image)


def read_onnx(path: Path) -> tuple[bytes, dict[str, TensorInfo], dict[str, TensorInfo]]:
    """Content, inputs and outputs of an ONNX file that is safe to give to OpenCV.

    Raises:
        CheckpointError: it is missing, is another kind of file, or reads weights from outside its folder.
    """
    _refuse_foreign(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CheckpointError(
            f"cannot be read ({reason})", where=path, do="give the path of an ONNX file"
        ) from error
    header = read_onnx_header(data, where=path)
    for name in header.files:
        if Path(name).is_absolute() or ".." in Path(name).parts or "\\" in name or not name:
            raise CheckpointError(
                f"wants to read '{name}', outside its folder", where=path, do="do not trust it"
            )
        if not (path.parent / name).is_file():
            raise CheckpointError(
                f"keeps its weights in '{name}', which is not beside it", where=path, do="copy both"
            )
    return (
        data,
        {info.name: info for info in header.inputs},
        {info.name: info for info in header.outputs},
    )


def _refuse_foreign(path: Path) -> None:
    what, advice = _FOREIGN.get(path.suffix.lower(), (None, None))
    if path.suffix.lower() == ".xml":
        what, advice = _CASCADE
    if what:
        raise CheckpointError(what, where=path, do=advice)


def _load(path: Path, data: bytes) -> cv2.dnn.Net:
    with quiet():
        try:
            if read_onnx_header(data).files:
                return cv2.dnn.readNetFromONNX(str(path))
            return cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))
        except cv2.error as error:
            operation = _OPERATION.search(str(error))
            reason = f"operation {operation[1] or operation[2]}" if operation else _reason(error)
            raise CheckpointError(
                f"OpenCV {cv2.__version__} cannot run this network ({reason})",
                where=path,
                do="export it with another opset or without that operation",
            ) from error


def _reason(error: cv2.error) -> str:
    """The clause of OpenCV's message that says what is wrong."""
    text = error.err or str(error)
    return " ".join(text.split())[:160].rstrip(" .>")


def _channelwise(name: str, value: float | Sequence[float]) -> np.ndarray:
    try:
        numbers = np.atleast_1d(np.asarray(value, np.float32))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name} = {value!r}: not a number, nor one a channel") from error
    if numbers.ndim != 1 or numbers.size not in (1, 3) or not np.isfinite(numbers).all():
        raise ConfigError(f"{name} = {value!r}: allowed are one finite number or three")
    return numbers


def _channels_last(info: TensorInfo) -> bool:
    """Whether an input is N H W C, as exporters from TensorFlow make it."""
    shape = info.shape
    return shape is not None and len(shape) == 4 and shape[3] in (1, 3) and shape[1] not in (1, 3)


def _channels(info: TensorInfo, last: bool) -> int | None:
    if info.shape is None or len(info.shape) != 4 or info.dtype != "float32":
        return None
    channels = info.shape[3 if last else 1]
    return 3 if channels is None else channels


def _check_tensor(tensor: np.ndarray, info: TensorInfo, path: Path) -> None:
    got = f"{tensor.dtype} {' x '.join(map(str, tensor.shape)) or 'scalar'}"
    fits = tensor.size > 0 and str(tensor.dtype) == info.dtype
    if fits and info.shape is not None:
        fits = len(info.shape) == tensor.ndim and all(
            wanted in (None, size) for wanted, size in zip(info.shape, tensor.shape, strict=True)
        )
    if not fits:
        raise DataError(f"input '{info.name}' takes {info}; got {got}", where=path)

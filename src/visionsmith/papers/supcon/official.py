"""The ways in for weights made elsewhere, or by this project.

| source                                                   | function        |
|----------------------------------------------------------|-----------------|
| a state dict under the public code's or torchvision's names | `from_official` |
| a checkpoint of this project, or a `.safetensors` file   | `load_any`      |

The public code's training files hold `encoder.*`, `head.*` and, for the classifier, `fc.*`; DataParallel puts
`module.` before the names of the encoder. The released ImageNet weights have torchvision's names and its stem.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from visionsmith import checkpoint
from visionsmith.config import decode
from visionsmith.errors import CheckpointError
from visionsmith.keys import reason_by_names
from visionsmith.nn.masters import load_masters
from visionsmith.papers.supcon.config import ResNetConfig, SupConConfig
from visionsmith.papers.supcon.model import SupConResNet
from visionsmith.vet import refuse_unsafe

__all__ = ["config_from_state", "from_official", "load_any", "rename"]

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "image_size": 224}
"""What goes with the large stem; the defaults of the config go with the small one."""


def rename(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights under the names of `SupConResNet`.

    Args:
        state: names of the public code, with or without `module.`; or of torchvision, where `encoder.` is lacking and
            `shortcut` is called `downsample`.
    """
    plain = {name.removeprefix("module.").replace("encoder.module.", "encoder."): name for name in state}
    bare = not any(name.startswith("encoder.") for name in plain)
    renamed = {}
    for name, old in plain.items():
        inside = name.startswith(("conv1.", "bn1.", "layer")) and bare
        new = f"encoder.{name}" if inside else name
        renamed[re.sub(r"(layer\d+\.\d+)\.downsample\.", r"\1.shortcut.", new)] = state[old]
    return renamed


def config_from_state(state: Mapping[str, Tensor]) -> SupConConfig:
    """Sizes from the names and shapes of the weights alone.

    Args:
        state: under the names of `SupConResNet`. Classes are named by their numbers. The size of the pictures, their
            mean and deviation are those of CIFAR-10 or ImageNet by the stem: shapes do not show them.

    Raises:
        CheckpointError: a weight that shows a size is missing.
    """
    try:
        conv1 = state["encoder.conv1.weight"]
        stages = _count(state, r"encoder\.layer(\d+)\.0\.conv1\.")
        encoder = ResNetConfig(
            block="bottleneck" if "encoder.layer1.0.conv3.weight" in state else "basic",
            widths=tuple(len(state[f"encoder.layer{stage + 1}.0.conv1.weight"]) for stage in range(stages)),
            layers=tuple(
                _count(state, rf"encoder\.layer{stage + 1}\.(\d+)\.conv1\.") for stage in range(stages)
            ),
            stem="large" if conv1.shape[-1] > 3 else "small",
        )
    except KeyError as error:
        alone = {name.partition(".")[0] for name in state} == {"fc"}
        raise CheckpointError(
            "the weights are those of a classifier alone"
            if alone
            else f"the weights are not those of a ResNet: there is no {error.args[0]}",
            do="put the weights of its encoder beside them" if alone else _likely_reason(state),
        ) from error
    projection = state.get("head.2.weight", state.get("head.weight"))
    classes = len(state["fc.weight"]) if "fc.weight" in state else 0
    known = IMAGENET if encoder.stem == "large" else {}
    return decode(
        SupConConfig,
        {
            "encoder": encoder,
            "head": None if projection is None else "mlp" if "head.2.weight" in state else "linear",
            "embed_dim": 128 if projection is None else len(projection),
            "classes": tuple(str(number) for number in range(classes)),
            **known,
        },
    )


def from_official(state: Mapping[str, Tensor], config: SupConConfig | None = None) -> SupConResNet:
    """A model with the weights of a state dict.

    Args:
        state: weights in any floating type, as `rename` takes them; they become float32, which training needs.
        config: sizes, names of the classes, mean and deviation; None: what the names and shapes show.

    Raises:
        CheckpointError: names or shapes do not fit; says which and why that may be.
    """
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError("the state dict holds more than tensors", do=_likely_reason(state))
    state = rename(state)
    config = config_from_state(state) if config is None else config
    with torch.device("meta"):
        model = SupConResNet(config)
    load_masters(model, state, otherwise=_likely_reason(state))
    return model


def load_any(source: str | Path) -> SupConResNet:
    """A model from a checkpoint of this project, or a `.safetensors` file under published names.

    Raises:
        CheckpointError: it is neither, is damaged, or is a pickle.
    """
    path = Path(source)
    if path.is_file():
        refuse_unsafe(path, paper="supcon")
        return from_official(checkpoint.read_tensors(path))
    opened = checkpoint.read(path, paper="supcon")
    return from_official(opened.tensors(), decode(SupConConfig, opened.config, where=path / "config.json"))


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    found = {match[1] for key in state if (match := re.match(pattern, key))}
    if not found:
        raise KeyError(pattern.replace(r"(\d+)", "0").replace("\\", "") + "*")
    return len(found)


def _likely_reason(state: Mapping[str, Tensor]) -> str:
    """What to do about a state dict that does not fit, judged by its names."""
    stem = state.get("encoder.conv1.weight")
    if isinstance(stem, Tensor) and stem.ndim == 4 and stem.shape[-1] == 7:
        return "these weights have the 7x7 stem of ImageNet: leave the config out, or give it stem: large"
    if any(name.startswith(("encoder_q.", "encoder_k.")) for name in state):
        return "this is the state of MoCo: give what lies under 'encoder_q.', without that prefix"
    return (
        reason_by_names(state) or "give the weights of a ResNet as the public code or torchvision names them"
    )

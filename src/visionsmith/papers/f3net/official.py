"""The ways in for weights made elsewhere.

| source                                                          | what it holds                   |
|-----------------------------------------------------------------|---------------------------------|
| the public re-implementation's state dict (FAD_head., FAD_xcep.) | FAD, LFS or both, no MixBlock   |
| DeepfakeBench's state dict (backbone., FAD_head.)               | FAD with a two-class layer      |
| a checkpoint's state dict of this project                       | anything                        |
| an ImageNet Xception (`start_from_xception`)                    | a start for every stream        |

The first two keep the fixed transforms and bands beside the weights; here they are computed.
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
from visionsmith.keys import reason_by_names, require_keys
from visionsmith.nn.masters import load_masters
from visionsmith.papers.f3net.config import F3NetConfig, XceptionConfig
from visionsmith.papers.f3net.model import F3Net
from visionsmith.vet import read_foreign

__all__ = ["config_from_state", "from_official", "load_any", "start_from_xception"]

_FIXED = re.compile(r"^(FAD|LFS)_head\.(_DCT_\w+|filters\.\d+\.(base|ft_num))$")
_MASK = re.compile(r"^(FAD|LFS)_head\.filters\.(\d+)\.learnable$")
_UNUSED = re.compile(r"^(backbone\.adjust_channel\..*|(FAD|LFS)_xcep\.(fc|last_linear)\..*)$")
_MIX = re.compile(r"^mix_block(7|12)\.(FAD|LFS)_(\w+)(.*)$")
_ADVICE = (
    "give a state dict of the public re-implementation (FAD_head., FAD_xcep.) or of DeepfakeBench (backbone.)"
)


def from_official(state: Mapping[str, Tensor], config: F3NetConfig | None = None) -> F3Net:
    """A model with the weights of a state dict.

    Args:
        state: under the public re-implementation's names, with or without "module.", under DeepfakeBench's, or under
        this
            project's. Old Xceptions with two-dimensional 1 x 1 convolutions are taken too.
        config: sizes; None: those that the shapes show, in the public form, with the published strides.

    Raises:
        CheckpointError: names or shapes do not fit; says which and why that may be.
    """
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError("the state dict holds more than tensors", do=reason_by_names(state) or _ADVICE)
    own = _own_names({key.removeprefix("module."): value for key, value in state.items()})
    config = config_from_state(own) if config is None else config
    model = F3Net(config)
    load_masters(model, own, otherwise=_ADVICE)
    return model


def config_from_state(state: Mapping[str, Tensor]) -> F3NetConfig:
    """Sizes of a model in the public form from the shapes of its weights, under this project's names.

    Raises:
        CheckpointError: a weight that shows a size is missing.
    """
    names = {match[1] for key in state if (match := re.match(r"streams\.(\w+)\.", key))}
    try:
        branches = (
            "both"
            if {"fad", "lfs"} <= names
            else next(name for name in ("fad", "lfs", "rgb") if name in names)
        )
        stream = f"streams.{branches if branches != 'both' else 'fad'}."
        blocks = len(
            {match[1] for key in state if (match := re.match(re.escape(stream) + r"block(\d+)\.", key))}
        )
        entry = tuple(len(state[f"{stream}block{number}.skip.weight"]) for number in (1, 2, 3))
        sizes = XceptionConfig(
            stem=(len(state[f"{stream}conv1.weight"]), len(state[f"{stream}conv2.weight"])),
            entry=entry,
            middle=blocks - 4,
            exit=(
                len(state[f"{stream}block{blocks}.skip.weight"]),
                len(state[f"{stream}conv3.pointwise.weight"]),
                len(state[f"{stream}conv4.pointwise.weight"]),
            ),
        )
    except (KeyError, StopIteration) as error:
        missing = error.args[0] if error.args else "streams.*"
        raise CheckpointError(
            f"the weights are not those of an F3-Net: there is no {missing}",
            do=reason_by_names(state) or _ADVICE,
        ) from error
    masks = state.get("fad.filters.learned")
    return F3NetConfig(
        image_size=F3NetConfig().image_size if masks is None else masks.shape[-1],
        branches=branches,  # type: ignore[arg-type]
        mix=any(key.startswith("mix_middle.") for key in state),
        form="public",
        learnable=masks is not None or "lfs.filters.learned" in state,
        stream=sizes,
    )


def load_any(source: str | Path) -> F3Net:
    """A model from a checkpoint folder of this project, or from a file of weights made elsewhere.

    Raises:
        CheckpointError: there is none, it is damaged, or does not fit.
    """
    path = Path(source)
    if path.is_file():
        return from_official(read_foreign(path))
    opened = checkpoint.read(path, paper="f3net")
    return from_official(opened.tensors(), decode(F3NetConfig, opened.config, where=path / "config.json"))


def start_from_xception(model: F3Net, file: Path) -> None:
    """Give every stream the weights of a pretrained Xception.

    The first convolution sees three channels there: for FAD it is repeated four times and divided by four, for LFS
    twice and by two, so that what it puts out stays as large.

    Raises:
        CheckpointError: the file is missing, or does not hold a Xception of the streams' size.
    """
    state = {
        key: _four_axes(key, value)
        for key, value in read_foreign(file).items()
        if not key.startswith(("fc.", "last_linear."))
    }
    for stream in model.streams.values():
        expected = stream.state_dict()
        first = expected["conv1.weight"].shape[1]
        own = dict(state)
        if "conv1.weight" in own and own["conv1.weight"].shape[1] == 3:
            own["conv1.weight"] = own["conv1.weight"].repeat(1, first // 3, 1, 1) / (first // 3)
        # Old files have no counters of batch normalisation.
        own |= {
            key: value
            for key, value in expected.items()
            if key.endswith("num_batches_tracked") and key not in own
        }
        require_keys(
            expected, own, where=file, otherwise="give an ImageNet Xception under the names of Cadene's port"
        )
        stream.load_state_dict(own)


def _own_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    masks: dict[str, dict[int, Tensor]] = {}
    own: dict[str, Tensor] = {}
    for key, value in state.items():
        if _FIXED.match(key) or _UNUSED.match(key):
            continue
        if match := _MASK.match(key):
            masks.setdefault(match[1].lower(), {})[int(match[2])] = value
        elif match := _MIX.match(key):
            place = "mix_middle" if match[1] == "7" else "mix_end"
            own[f"{place}.{match[2].lower()}_{match[3]}{match[4]}"] = value
        elif match := re.match(r"^backbone\.last_linear\.(?:\d+\.)?(weight|bias)$", key):
            # Two classes, real and forged: what tells them apart is the difference of their logits.
            own[f"fc.{match[1]}"] = value[1:] - value[:1] if len(value) == 2 else value
        elif match := re.match(r"^(backbone|FAD_xcep|LFS_xcep)\.(.*)$", key):
            stream = "lfs" if match[1] == "LFS_xcep" else "fad"
            own[f"streams.{stream}.{match[2]}"] = _four_axes(key, value)
        else:
            own[key] = value
    for head, bands in masks.items():
        own[f"{head}.filters.learned"] = torch.stack([bands[number] for number in sorted(bands)])
    return own


def _four_axes(key: str, value: Tensor) -> Tensor:
    """1 x 1 convolutions of old files have two axes."""
    return value[:, :, None, None] if key.endswith("pointwise.weight") and value.ndim == 2 else value

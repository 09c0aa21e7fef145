"""What a single-file checkpoint is, judged by names and shapes; no weight is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from visionsmith.errors import CheckpointError
from visionsmith.keys import reason_by_names
from visionsmith.single_file.header import Entry, Header, Shape
from visionsmith.single_file.layouts import PARTS, PIPELINES, Family, Part, Task
from visionsmith.single_file.names_unet import ema_name

__all__ = ["Recognised", "belongs", "recognise", "unwrapped"]

WRAPPER = "state_dict."
UNET = "model.diffusion_model."
IN = UNET + "input_blocks.0.0.weight"
FLUX_MARK = "double_blocks.0.img_attn.norm.key_norm.scale"

OTHERS = {
    "control_model.": "a ControlNet",
    "joint_blocks.0.": "Stable Diffusion 3",
    "distilled_guidance_layer.": "Chroma",
    "single_stream_modulation.": "Flux 2",
    "edm_mean": "Playground 2.5",
    "label_emb.weight": "the x4 upscaler",
    "inner_model.": "a k-diffusion model, such as the x2 latent upscaler",
    "patchify_proj.": "LTX Video",
    "down_blocks.0.": "one part of a diffusers folder",
    "transformer_blocks.0.": "one part of a diffusers folder",
    "text_model.": "a text encoder alone",
    "encoder.down.0.": "a VAE alone",
    "scaled_fp8": "a model with scaled 8-bit weights",
}
"""Names that show what cannot be converted here."""


@dataclass(frozen=True)
class Recognised:
    """What a file is."""

    family: Family
    task: Task
    why: tuple[str, ...]
    """What showed it, in words."""
    parts: dict[str, str]
    """Prefix of the names, by folder of the part."""
    ema: bool
    """Whether it has the moving average of the UNet's weights beside the weights."""
    dtypes: dict[str, dict[str, int]]
    """Number of tensors by dtype, by part; "" is what belongs to no part."""
    notes: tuple[str, ...]

    @property
    def pipeline(self) -> str:
        """The pipeline class of diffusers that runs it."""
        return PIPELINES[self.family, self.task]

    @property
    def absent_parts(self) -> list[str]:
        """Folders of the parts that a whole model has and this file has not."""
        return [part.folder for part in PARTS[self.family] if part.folder not in self.parts]


def recognise(header: Header) -> Recognised:
    """What the file is, and why.

    Raises:
        CheckpointError: no known layout has its names; says the first that does not fit.
    """
    entries = unwrapped(header)
    shapes = {name: entry.shape for name, entry in entries.items()}
    notes = []
    if any(name not in header.entries for name in entries):
        notes.append(f"all names are wrapped in '{WRAPPER}'; the way back writes them without it")
    if IN in shapes:
        family, why = _stable_diffusion(shapes)
        task, channels = _unet_task(header.path, shapes[IN])
        why.append(channels)
    elif (prefix := next((p for p in ("", UNET) if p + FLUX_MARK in shapes), None)) is not None:
        family, task, why = _flux(header.path, shapes, prefix)
    else:
        raise _unknown(header.path, shapes)
    _refuse_others(header.path, shapes)
    if (family, task) not in PIPELINES:
        raise CheckpointError(
            f"is {family} for {task}, which no pipeline of diffusers runs", where=header.path
        )
    parts = _parts(family, shapes)
    ema = ema_name(IN) in shapes
    if ema:
        notes.append("holds the UNet twice: as trained, and as moving average (EMA)")
    dtypes = _dtypes(entries, parts)
    if len({dtype for name, counts in dtypes.items() if name for dtype in counts}) > 1:
        notes.append("mixes dtypes; every tensor keeps its own")
    return Recognised(family, task, tuple(why), parts, ema, dtypes, tuple(notes))


def unwrapped(header: Header) -> dict[str, Entry]:
    """Tensors by name, without the wrapper "state_dict." that some writers leave round all names."""
    if all(name.startswith(WRAPPER) for name in header.entries):
        return {name.removeprefix(WRAPPER): entry for name, entry in header.entries.items()}
    return header.entries


def belongs(name: str, prefix: str, others: Mapping[str, str]) -> bool:
    """Whether a name is of the part with this prefix; the empty prefix leaves out what has another part's.

    Args:
        name: of a tensor.
        prefix: of the part.
        others: prefixes of all parts, by folder.
    """
    if prefix:
        return name.startswith(prefix)
    rest = ("text_encoders.", "vae.", *(other for other in others.values() if other))
    return not name.startswith(rest)


def _stable_diffusion(shapes: Mapping[str, Shape]) -> tuple[Family, list[str]]:
    """The family of a file with Latent Diffusion's UNet."""
    first = next(
        (name for name in shapes if name.endswith("attn2.to_k.weight") and name.startswith(UNET)), None
    )
    width = shapes[first][-1] if first else 0
    if UNET + "label_emb.0.0.weight" in shapes:
        why = ["the UNet takes a vector of sizes and pooled text (label_emb.0.0.weight)"]
        if any(name.startswith("conditioner.embedders.1.model.") for name in shapes):
            return Family.SDXL, [*why, "there are two text encoders (conditioner.embedders.0 and .1)"]
        if any(name.startswith("conditioner.embedders.0.model.") for name in shapes):
            return Family.REFINER, [*why, "its one text encoder is OpenCLIP (conditioner.embedders.0.model)"]
        if width == 1280:
            return Family.REFINER, [*why, "the UNet reads texts of width 1280"]
        return Family.SDXL, [*why, f"the UNet reads texts of width {width}"]
    if any(name.startswith("cond_stage_model.model.") for name in shapes):
        return Family.SD2, ["its text encoder is OpenCLIP (cond_stage_model.model)"]
    if any(name.startswith("cond_stage_model.transformer.") for name in shapes):
        return Family.SD1, ["its text encoder is CLIP (cond_stage_model.transformer)"]
    # No text encoder: SD 2 replaced the 1x1 convolutions round each transformer by linear layers.
    linear = any(name.endswith(".1.proj_in.weight") and len(shape) == 2 for name, shape in shapes.items())
    why = [f"there is no text encoder; the UNet reads texts of width {width}"]
    why.append(f"its transformers lie between {'linear layers' if linear else '1x1 convolutions'}")
    return (Family.SD2 if linear else Family.SD1), why


def _unet_task(path: Path, shape: Shape) -> tuple[Task, str]:
    tasks = {4: Task.GENERATE, 9: Task.INPAINT, 8: Task.EDIT}
    channels = shape[1] if len(shape) == 4 else 0
    if channels not in tasks:
        raise CheckpointError(
            f"{IN} has {channels} input channels; 4 (text to image), 9 (inpainting), 8 (editing) are known",
            where=path,
            do="give another checkpoint",
        )
    return tasks[channels], f"the UNet has {channels} input channels ({tasks[channels]})"


def _flux(path: Path, shapes: Mapping[str, Shape], prefix: str) -> tuple[Family, Task, list[str]]:
    dev = prefix + "guidance_in.in_layer.weight" in shapes
    why = ["it has Flux's double- and single-stream blocks (double_blocks, single_blocks)"]
    why.append("it takes the guidance as input: dev" if dev else "it takes no guidance as input: schnell")
    try:
        inputs, outputs = shapes[prefix + "img_in.weight"][1], shapes[prefix + "final_layer.linear.weight"][0]
    except (KeyError, IndexError) as error:
        raise CheckpointError(f"is Flux without {prefix}img_in or final_layer", where=path) from error
    # Fill adds a masked image (1 x) and a mask of 4 x the channels; depth and canny add one image.
    task = {1: Task.GENERATE, 2: Task.CONTROL, 6: Task.INPAINT}.get(inputs // max(outputs, 1))
    if task is None or inputs % outputs:
        raise CheckpointError(
            f"is Flux with {inputs} inputs for {outputs} outputs, which is unknown", where=path
        )
    why.append(f"it has {inputs} input and {outputs} output channels ({task})")
    return (Family.FLUX_DEV if dev else Family.FLUX_SCHNELL), task, why


def _parts(family: Family, shapes: Mapping[str, Shape]) -> dict[str, str]:
    parts = {}
    for part in PARTS[family]:
        if (prefix := _prefix(part, shapes)) is not None:
            parts[part.folder] = prefix
    return parts


def _prefix(part: Part, shapes: Mapping[str, Shape]) -> str | None:
    filled = [
        prefix for prefix in part.prefixes if prefix and any(name.startswith(prefix) for name in shapes)
    ]
    return filled[0] if filled else ("" if "" in part.prefixes else None)


def _dtypes(entries: Mapping[str, Entry], parts: dict[str, str]) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = {}
    for name, entry in entries.items():
        part = next((folder for folder, prefix in parts.items() if belongs(name, prefix, parts)), "")
        counts.setdefault(part, Counter())[entry.dtype] += 1
    return {part: dict(counter) for part, counter in counts.items()}


def _refuse_others(path: Path, shapes: Mapping[str, Shape]) -> None:
    """Refuse what looks like a known family and is another model."""
    for mark in ("control_model.", "distilled_guidance_layer.", "edm_mean", "label_emb.weight", "scaled_fp8"):
        first = next((name for name in shapes if name.removeprefix(UNET).startswith(mark)), None)
        if first is not None:
            raise CheckpointError(
                f"is {OTHERS[mark]} ({first}), which is not supported", where=path, do="use its own converter"
            )


def _unknown(path: Path, shapes: Mapping[str, Shape]) -> CheckpointError:
    for mark, model in OTHERS.items():
        # The name of a LoRA weight begins as the weight that it changes.
        marked = (name for name in shapes if name.removeprefix(UNET).startswith(mark) and "lora" not in name)
        if (first := next(marked, None)) is not None:
            return CheckpointError(
                f"looks like {model} ({first}), which is not supported",
                where=path,
                do="give a checkpoint of SD 1, SD 2, SDXL, its refiner or Flux 1",
            )
    if (reason := reason_by_names(shapes)) is not None:
        return CheckpointError(f"is no known single-file checkpoint; {reason}", where=path)
    known = tuple(
        prefix for family in PARTS.values() for part in family for prefix in part.prefixes if prefix
    )
    first = next((name for name in shapes if not name.startswith(known)), None)
    fault = f"no known layout has the tensor {first}" if first else f"it has no {IN}"
    return CheckpointError(
        f"is no known single-file checkpoint: {fault}",
        where=path,
        do="give a checkpoint of SD 1, SD 2, SDXL, its refiner or Flux 1",
    )

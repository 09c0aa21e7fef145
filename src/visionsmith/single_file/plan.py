"""Where every tensor of a single file goes in a folder, decided from its head alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from visionsmith.errors import CheckpointError
from visionsmith.single_file.config_parts import read_flux, read_t5, read_text, read_vae
from visionsmith.single_file.config_unet import read_unet
from visionsmith.single_file.header import Entry, Header, Shape
from visionsmith.single_file.layouts import (
    PARTS,
    Family,
    Kind,
    Part,
    is_known_rest,
    pairs_of,
)
from visionsmith.single_file.names_text import nested_text_name
from visionsmith.single_file.names_unet import ema_name
from visionsmith.single_file.pairs import How, Planned, to_folder
from visionsmith.single_file.published import Assumed, heads, vae_extras
from visionsmith.single_file.recognise import Recognised, belongs, recognise, unwrapped
from visionsmith.single_file.report import Report

__all__ = ["PartPlan", "Plan", "plan_folder"]


@dataclass(frozen=True)
class PartPlan:
    """One part's settings and tensors."""

    part: Part
    config: dict[str, Any]
    tensors: list[Planned]


@dataclass(frozen=True)
class Plan:
    """Everything that a folder will hold, apart from settings that the shapes do not show."""

    parts: list[PartPlan]
    rest: dict[str, Entry]
    """Tensors that no part has a place for, unknown ones among them."""
    ema: bool
    """Whether the UNet is the moving average."""
    linear: bool
    """Whether the VAE's attention is made of linear layers already, not of the published 1x1 convolutions."""
    report: Report


@dataclass(frozen=True)
class _Found:
    """What one part takes of a file."""

    plan: PartPlan
    used: set[str]
    missing: list[str]
    spare: set[str]
    """Names that are known and not needed."""
    notes: list[str]
    linear: bool
    """Whether it is a VAE whose attention is made of linear layers already."""


def plan_folder(header: Header, assumed: Assumed, *, ema: bool = True) -> Plan:
    """Where every tensor goes.

    Args:
        header: of the single file.
        assumed: what shapes do not show.
        ema: take the moving average of the UNet's weights if the file has it.

    Raises:
        CheckpointError: the file is not recognised, or a part has no known layout.
        ConfigError: something must be said that can not be seen.
    """
    seen = recognise(header)
    entries = unwrapped(header)
    average = ema and seen.ema
    found = []
    for part in PARTS[seen.family]:
        if part.folder in seen.parts:
            try:
                found.append(_plan_part(part, seen, entries, assumed, average=average))
            except CheckpointError as error:
                raise CheckpointError(
                    f"the {part.folder}: {error.what}", where=header.path, do=error.do
                ) from error
    _set_time_width(found)
    used = {name for one in found for name in one.used}
    left = {name: entry for name, entry in entries.items() if name not in used}
    spare = {name for one in found for name in one.spare}
    known = [name for name in left if name in spare or is_known_rest(name)]
    notes = [*seen.notes, *(note for one in found for note in one.notes)]
    if seen.ema:
        kinds = ("the moving average", "the weights as trained")
        taken, kept = kinds if average else kinds[::-1]
        notes.append(f"the folder's UNet: {taken}; kept in the rest: {kept}")
    report = Report(
        recognised=seen,
        parts={one.plan.part.folder: len(one.used) for one in found},
        rest=tuple(known),
        unknown=tuple(sorted(left.keys() - set(known))),
        missing=tuple(name for one in found for name in one.missing),
        assumed=tuple(_assumptions(found)),
        notes=tuple(notes),
    )
    linear = any(one.linear for one in found)
    return Plan([one.plan for one in found], left, average, linear, report)


def _plan_part(
    part: Part, seen: Recognised, entries: Mapping[str, Entry], assumed: Assumed, *, average: bool
) -> _Found:
    prefix = seen.parts[part.folder]
    local = {name.removeprefix(prefix): name for name in entries if belongs(name, prefix, seen.parts)}
    notes = []
    if part.kind is Kind.CLIP and not any(name.startswith("text_model.") for name in local):
        local = {nested_text_name(name): full for name, full in local.items()}
        notes.append(
            f"the {part.folder}'s names lack 'text_model.', as a faulty script writes; the way back has it"
        )
    shapes = {name: entries[full].shape for name, full in local.items()}
    config = _config(part, seen.family, shapes, assumed)
    spare = {prefix + name for name in _unused_layer(part, shapes, config)}
    tensors: list[Planned] = []
    used: set[str] = set()
    missing: list[str] = []
    linear = False
    for pair in pairs_of(part.kind, config):
        name = local.get(pair.single, prefix + pair.single)
        if part.kind is Kind.UNET and seen.ema:
            other = ema_name(prefix + pair.single)
            name, second = (other, name) if average else (name, other)
            spare.add(second)
        if name in entries:
            used.add(name)
            tensors += to_folder(pair, entries[name])
            linear |= pair.how is How.SQUEEZE and len(entries[name].shape) == 2
        elif not pair.optional:
            missing.append(name)
    return _Found(PartPlan(part, config, tensors), used, missing, spare, notes, linear)


def _unused_layer(part: Part, shapes: Mapping[str, Shape], config: dict[str, Any]) -> set[str]:
    """Take SD 2's last text layer out of the settings; its names.

    The UNet reads the states before it. Files that diffusers' own script wrote come without it, and without
    the projection that follows it.
    """
    layers = config.get("num_hidden_layers", 0)
    if part.kind is not Kind.OPENCLIP or layers < 2 or not ("text_projection" in shapes or layers == 24):
        return set()
    config["num_hidden_layers"] = layers - 1
    start = f"transformer.resblocks.{layers - 1}."
    return {name for name in shapes if name.startswith(start)}


def _config(part: Part, family: Family, shapes: Mapping[str, Shape], assumed: Assumed) -> dict[str, Any]:
    match part.kind:
        case Kind.UNET:
            config = read_unet(shapes)
            config["attention_head_dim"] = heads(family, config["block_out_channels"], assumed)
            if (vector := shapes.get("label_emb.0.0.weight")) is not None:
                config["addition_embed_type"] = "text_time"
                config["projection_class_embeddings_input_dim"] = vector[1]
            return config
        case Kind.VAE:
            return {**read_vae(shapes), **vae_extras(family)}
        case Kind.FLUX:
            return read_flux(shapes, rope_axes=assumed.rope_axes)
        case Kind.T5:
            return read_t5(shapes)
        case Kind.CLIP | Kind.OPENCLIP | Kind.OPENCLIP_PROJECTED:
            openclip = part.kind.names == "OpenCLIP"
            return read_text(shapes, openclip=openclip, head_width=assumed.text_head_width)


def _set_time_width(found: list[_Found]) -> None:
    """Find the width of each embedded size in SDXL's vector: what the text leaves for 6 (refiner: 5)."""
    configs = {one.plan.part.kind: one.plan.config for one in found}
    unet, text = configs.get(Kind.UNET, {}), configs.get(Kind.OPENCLIP_PROJECTED)
    if "addition_embed_type" not in unet:
        return
    numbers = 6 if Kind.CLIP in configs else 5
    width = (
        (unet["projection_class_embeddings_input_dim"] - text["projection_dim"]) / numbers if text else 256
    )
    unet["addition_time_embed_dim"] = int(width) if width > 0 and width == int(width) else 256


def _assumptions(found: list[_Found]) -> list[str]:
    """What the settings hold that shapes do not show."""
    texts = []
    for one in found:
        config, name = one.plan.config, one.plan.part.folder
        match one.plan.part.kind:
            case Kind.UNET:
                texts.append(
                    f"{name}: attention heads {config['attention_head_dim']}, 32 groups in each norm"
                )
            case Kind.VAE:
                shift = f", shift {config['shift_factor']}" if "shift_factor" in config else ""
                texts.append(
                    f"{name}: scale of the latents {config['scaling_factor']}{shift}, 32 groups in each norm"
                )
            case Kind.FLUX:
                texts.append(f"{name}: rotary axes {config['axes_dims_rope']}")
            case Kind.CLIP | Kind.OPENCLIP | Kind.OPENCLIP_PROJECTED:
                texts.append(
                    f"{name}: {config['num_attention_heads']} heads, activation {config['hidden_act']}"
                )
            case Kind.T5:
                texts.append(f"{name}: gated GELU, relative positions up to 128")
    return texts

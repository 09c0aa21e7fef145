"""A single-file checkpoint becomes a diffusers folder."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from visionsmith.durable import replace_folder, sync_folder, write_synced
from visionsmith.errors import CheckpointError, ConfigError, OutputError
from visionsmith.single_file.header import Header, read_header
from visionsmith.single_file.layouts import PARTS, Family, Kind, Task
from visionsmith.single_file.pairs import How, Pair, to_folder
from visionsmith.single_file.plan import PartPlan, Plan, plan_folder
from visionsmith.single_file.published import Assumed, prediction_of, scheduler, unet_extras
from visionsmith.single_file.recognise import Recognised, unwrapped
from visionsmith.single_file.report import Report, require_complete
from visionsmith.single_file.writer import write_tensors

__all__ = ["RECORD", "REST", "examine", "write_diffusers"]

RECORD = "single_file.json"
"""How the single file was laid out, for the way back."""
REST = "single_file_rest.safetensors"
"""Tensors that no part has a place for, under the names of the single file."""
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "spiece.model",
)


def examine(file: Path, assumed: Assumed | None = None) -> Report:
    """What a file is and where its tensors would go; no weight is read and nothing is written.

    Raises:
        CheckpointError: it is no safetensors file or not recognised.
        ConfigError: something must be said that shapes do not show.
    """
    header, assumed = read_header(file), assumed or Assumed()
    report = plan_folder(header, assumed).report
    try:
        return _with_prediction(report, header, assumed)[0]
    except ConfigError as error:
        return replace(report, notes=(*report.notes, f"{error.what}; {error.do}"))


def write_diffusers(
    file: Path,
    output: Path,
    *,
    tokenizer: Path | None = None,
    assumed: Assumed | None = None,
    ema: bool = True,
    keep_unknown: bool = False,
) -> Report:
    """Write a single file's weights as a diffusers folder, which appears whole or not at all.

    Args:
        file: the checkpoint (safetensors).
        output: the folder to make.
        tokenizer: a folder of a tokenizer, or one with subfolders "tokenizer" and "tokenizer_2".
        assumed: what shapes do not show.
        ema: take the moving average of the UNet's weights if the file has it.
        keep_unknown: put unknown tensors into the rest, and do not refuse the file.

    Raises:
        CheckpointError: the file is no known checkpoint, or not whole.
        ConfigError: something must be said that shapes do not show.
        OutputError: the output exists or cannot be written.
    """
    file, output, assumed = Path(file), Path(output), assumed or Assumed()
    header = read_header(file)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise OutputError("exists already", where=output, do="choose another folder")
    plan = plan_folder(header, assumed, ema=ema)
    report, prediction = _with_prediction(plan.report, header, assumed)
    require_complete(file, report.missing, report.unknown, keep=keep_unknown)
    tokenizers = _tokenizers(report.recognised, tokenizer)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
        try:
            _write(temporary, plan, header, prediction, tokenizers)
            replace_folder(temporary, output)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise OutputError(
            f"cannot be written ({error.strerror or error})",
            where=output,
            do="free some space or choose another",
        ) from error
    lacking = [name for name in _tokenizer_names(report.recognised) if name not in tokenizers]
    notes = [f"the {name} is to be added: pass {name}=... to from_pretrained" for name in lacking]
    return replace(report, notes=(*report.notes, *notes))


def _write(
    folder: Path, plan: Plan, header: Header, prediction: str, tokenizers: dict[str, list[Path]]
) -> None:
    seen = plan.report.recognised
    for part in plan.parts:
        _write_part(folder, part, seen.family, prediction)
    for name, files in tokenizers.items():
        (folder / name).mkdir()
        for file in files:
            write_synced(folder / name / file.name, file.read_bytes())
    (folder / "scheduler").mkdir()
    zero_snr = "ztsnr" in plan.rest
    settings = scheduler(seen.family, prediction, zero_snr=zero_snr)
    _write_json(folder / "scheduler" / "scheduler_config.json", _stamped(settings))
    if plan.rest:
        rest = [
            one
            for name, entry in plan.rest.items()
            for one in to_folder(Pair(name, (name,), How.SAME), entry)
        ]
        write_tensors(folder / REST, rest, {"format": "pt"})
    record = {
        "format": 1,
        "family": seen.family,
        "prefixes": seen.parts,
        "ema": plan.ema,
        "linear_vae_attention": plan.linear,
        "metadata": header.metadata,
    }
    _write_json(folder / RECORD, record)
    _write_json(folder / "model_index.json", _index(seen, settings["_class_name"], tokenizers))
    for inner in folder.iterdir():
        if inner.is_dir():
            sync_folder(inner)
    folder.chmod(0o755)
    sync_folder(folder)


def _write_part(folder: Path, plan: PartPlan, family: Family, prediction: str) -> None:
    kind, config = plan.part.kind, plan.config
    place = folder / plan.part.folder
    place.mkdir()
    if kind is Kind.UNET:
        config = {**config, **unet_extras(family, prediction)}
        depths = config["transformer_layers_per_block"]
        config["transformer_layers_per_block"] = depths[0] if len(set(depths)) == 1 else depths
    if kind.library == "diffusers":
        config = _stamped({"_class_name": kind.class_name, **config})
    else:
        config = {"architectures": [kind.class_name], **config}
    _write_json(place / "config.json", config)
    write_tensors(place / f"{kind.weights}.safetensors", plan.tensors, {"format": "pt"})


def _index(seen: Recognised, scheduler_class: str, tokenizers: dict[str, list[Path]]) -> dict[str, Any]:
    """The table of classes that diffusers reads first; [None, None] is what the user must pass."""
    absent: list[str | None] = [None, None]
    index: dict[str, Any] = _stamped({"_class_name": seen.pipeline})
    index["scheduler"] = ["diffusers", scheduler_class]
    for part in PARTS[seen.family]:
        present = part.folder in seen.parts
        index[part.folder] = [part.kind.library, part.kind.class_name] if present else absent
    for name, class_name in _tokenizer_names(seen).items():
        index[name] = ["transformers", class_name] if name in tokenizers else absent
    if seen.family in (Family.SD1, Family.SD2):
        index |= {"safety_checker": absent, "feature_extractor": absent, "image_encoder": absent}
        index["requires_safety_checker"] = False
        if seen.task is Task.EDIT or seen.family is Family.SD2:
            del index["image_encoder"]
    if seen.family is Family.REFINER:
        index |= {"text_encoder": absent, "tokenizer": absent, "requires_aesthetics_score": True}
    if seen.family in (Family.SDXL, Family.REFINER):
        index["force_zeros_for_empty_prompt"] = seen.family is Family.SDXL
    return index


def _tokenizer_names(seen: Recognised) -> dict[str, str]:
    """Folders and classes of the tokenizers that the model's text encoders need."""
    return {
        part.folder.replace("text_encoder", "tokenizer"): "T5TokenizerFast"
        if part.kind is Kind.T5
        else "CLIPTokenizer"
        for part in PARTS[seen.family]
        if part.folder.startswith("text_encoder")
    }


def _tokenizers(seen: Recognised, source: Path | None) -> dict[str, list[Path]]:
    """Files of each tokenizer that a user's folder holds.

    Raises:
        CheckpointError: it holds none.
    """
    if source is None:
        return {}
    names = list(_tokenizer_names(seen))
    places = {name: source / name for name in names if (source / name).is_dir()} or {names[0]: source}
    found = {
        name: files
        for name, place in places.items()
        if (files := [place / file for file in TOKENIZER_FILES if (place / file).is_file()])
    }
    if not found:
        raise CheckpointError(
            "holds no tokenizer",
            where=source,
            do="give a folder with tokenizer.json, or vocab.json and merges.txt",
        )
    return found


def _with_prediction(report: Report, header: Header, assumed: Assumed) -> tuple[Report, str]:
    """The report with what the model predicts, and that."""
    seen = report.recognised
    if seen.family in (Family.FLUX_DEV, Family.FLUX_SCHNELL):
        return report, ""
    prediction, why = prediction_of(seen.family, seen.task, unwrapped(header), assumed)
    return replace(report, assumed=(*report.assumed, f"the UNet predicts {prediction}: {why}")), prediction


def _stamped(values: dict[str, Any]) -> dict[str, Any]:
    return {**values, "_diffusers_version": version("diffusers")}


def _write_json(path: Path, values: dict[str, Any]) -> None:
    write_synced(path, (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode())

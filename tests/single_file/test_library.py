"""The files against diffusers' own reader: its name maps and its pipelines are the independent judge."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.loaders import single_file_utils as library
from safetensors.torch import load_file

from tests.single_file.tiny import ASSUMED, SD1, answer, single_file
from visionsmith.memory.locks import library_load
from visionsmith.single_file import write_diffusers

CASES = ["sd1", "sd1 inpainting", "sd2", "sdxl", "sdxl-refiner"]


def assert_holds(found: dict[str, torch.Tensor], model: torch.nn.Module) -> None:
    state = model.state_dict()
    # Both styles of names of a text encoder are right.
    found = {
        name if name in state else name.removeprefix("text_model."): value for name, value in found.items()
    }
    found = {name: value for name, value in found.items() if "position_ids" not in name}
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], value) for name, value in state.items())


@pytest.mark.parametrize("family", CASES)
def test_diffusers_maps_give_the_models_back(tmp_path: Path, family: str) -> None:
    parts, _ = single_file(family, tmp_path)
    tensors = load_file(tmp_path / "plain.safetensors")
    unet = library.convert_ldm_unet_checkpoint(dict(tensors), dict(parts["unet"].config))
    assert_holds(unet, parts["unet"])
    assert_holds(library.convert_ldm_vae_checkpoint(dict(tensors), dict(parts["vae"].config)), parts["vae"])
    if family.startswith("sd1") or family == "sdxl":
        assert_holds(library.convert_ldm_clip_checkpoint(dict(tensors)), parts["text_encoder"])
    openclip = {
        "sd2": ("text_encoder", "cond_stage_model.model."),
        "sdxl": ("text_encoder_2", "conditioner.embedders.1.model."),
        "sdxl-refiner": ("text_encoder_2", "conditioner.embedders.0.model."),
    }
    if family in openclip:
        name, prefix = openclip[family]
        assert_holds(library.convert_open_clip_checkpoint(parts[name], dict(tensors), prefix), parts[name])


@pytest.mark.parametrize("family", ["flux-dev", "flux-schnell"])
def test_diffusers_flux_map_gives_the_model_back(tmp_path: Path, family: str) -> None:
    parts, _ = single_file(family, tmp_path)
    # The library's function is right for one width only: its text is run with ours.
    source = inspect.getsource(library.convert_flux_transformer_checkpoint_to_diffusers)
    assert source.count("3072") == 1
    names = {"torch": torch}
    exec(source.replace("3072", "32"), names)
    tensors = load_file(tmp_path / "plain.safetensors")
    tensors = {
        name: value for name, value in tensors.items() if not name.startswith(("vae.", "text_encoders."))
    }
    assert_holds(names["convert_flux_transformer_checkpoint_to_diffusers"](tensors), parts["transformer"])


def test_from_single_file_reads_it(tmp_path: Path) -> None:
    parts, path = single_file("sd1", tmp_path)
    folder = tmp_path / "folder"
    write_diffusers(path, folder, assumed=SD1)
    for kind, name in ((UNet2DConditionModel, "unet"), (AutoencoderKL, "vae")):
        with library_load(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = kind.from_single_file(
                str(path), config=str(folder), subfolder=name, local_files_only=True
            )
        assert torch.equal(answer(model.eval()), answer(parts[name]))


@pytest.mark.parametrize("family", ["sd1", "sd1 without vae"])
def test_pipeline_loads_the_folder(tmp_path: Path, family: str) -> None:
    parts, path = single_file(family, tmp_path)
    write_diffusers(path, tmp_path / "folder", assumed=SD1)
    given = {"tokenizer": None} if "vae" in parts else {"tokenizer": None, "vae": None}
    with library_load(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipe = StableDiffusionPipeline.from_pretrained(tmp_path / "folder", **given)
    assert torch.equal(answer(pipe.unet.eval()), answer(parts["unet"]))
    assert pipe.scheduler.config.prediction_type == "epsilon"


@pytest.mark.parametrize("family", ["sd2", "sdxl", "sdxl-refiner", "flux-dev"])
def test_pipelines_load_the_folder(tmp_path: Path, family: str) -> None:
    import diffusers

    parts, path = single_file(family, tmp_path)
    report = write_diffusers(path, tmp_path / "folder", assumed=ASSUMED)
    absent = {"tokenizer": None}
    if "text_encoder_2" in parts:
        absent["tokenizer_2"] = None
    if "text_encoder" not in parts:
        absent["text_encoder"] = None
    with library_load(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipe = getattr(diffusers, report.recognised.pipeline).from_pretrained(tmp_path / "folder", **absent)
    for name, model in parts.items():
        assert torch.equal(answer(getattr(pipe, name).eval()), answer(model)), name

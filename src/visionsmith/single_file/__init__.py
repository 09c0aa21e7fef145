"""Single-file checkpoints and diffusers folders, both ways, by renaming: no model is built.

    report = write_diffusers(Path("model.safetensors"), Path("model"))     # single file -> folder
    report = write_single(Path("model"), Path("again.safetensors"))        # folder -> single file
    report = examine(Path("model.safetensors"))                            # what it is, and why

Known are SD 1, SD 2, SDXL, its refiner and Flux 1, with their inpainting and editing variants.
"""

from visionsmith.single_file.forward import examine, write_diffusers
from visionsmith.single_file.published import Assumed
from visionsmith.single_file.report import Report
from visionsmith.single_file.reverse import examine_folder, write_single

__all__ = ["Assumed", "Report", "examine", "examine_folder", "write_diffusers", "write_single"]

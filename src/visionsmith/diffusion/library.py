"""diffusers' pipelines, imported and used without its messages on the user's terminal.

The library warns at import that torchvision is missing, which is on purpose here, and draws bars of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = [
    "FluxFillPipeline",
    "FluxPipeline",
    "KandinskyV22Pipeline",
    "KandinskyV22PriorPipeline",
    "StableDiffusionLatentUpscalePipeline",
    "StableDiffusionPipeline",
    "UnCLIPImageVariationPipeline",
    "UnCLIPPipeline",
    "silenced",
]

# A folder's own code is never run, whatever its config asks for.
os.environ.setdefault("DIFFUSERS_DISABLE_REMOTE_CODE", "1")


@contextmanager
def silenced() -> Iterator[None]:
    """Errors only from diffusers and transformers, and no bars of theirs, for a while."""
    from diffusers.utils import logging as diffusers_log
    from transformers.utils import logging as transformers_log

    logs = (diffusers_log, transformers_log)
    levels = [log.get_verbosity() for log in logs]
    bars = [
        log.is_progress_bar_enabled() if hasattr(log, "is_progress_bar_enabled") else True for log in logs
    ]
    for log in logs:
        log.set_verbosity_error()
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log, level, bar in zip(logs, levels, bars, strict=True):
            log.set_verbosity(level)
            if bar:
                log.enable_progress_bar()


with silenced():
    from diffusers import (
        FluxFillPipeline,
        FluxPipeline,
        KandinskyV22Pipeline,
        KandinskyV22PriorPipeline,
        StableDiffusionLatentUpscalePipeline,
        StableDiffusionPipeline,
        UnCLIPImageVariationPipeline,
        UnCLIPPipeline,
    )

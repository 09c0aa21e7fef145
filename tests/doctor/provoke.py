"""Makes the recordings that need nothing but this project's environment: `python -m tests.doctor.provoke [NAME ...]`.

Each snippet fails as a user's script would. What it prints is written to `logs/known/NAME.txt`, with the places of
this machine replaced. A name is the cause's id, followed by `--` and a variant where a cause has several recordings.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

from tests.doctor.snippets_libraries import LIBRARIES
from tests.doctor.snippets_torch import TORCH

KNOWN = Path(__file__).parent / "logs" / "known"

SNIPPETS = {**TORCH, **LIBRARIES}


def provoke(name: str) -> str:
    """Run one snippet in a folder of its own; all that it prints, without this machine's places."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "train.py").write_text(textwrap.dedent(SNIPPETS[name]).lstrip(), encoding="utf-8")
        hidden = ("MASTER_ADDR", "RANK", "WORLD_SIZE", "PYTEST_CURRENT_TEST")
        environment = {key: value for key, value in os.environ.items() if key not in hidden}
        environment |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "train.py"],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=120,
            check=False,
        )
        assert done.returncode != 0, f"{name} did not fail:\n{done.stdout}"
        return clean(done.stdout, folder)


def clean(text: str, folder: str) -> str:
    """A recording without the places, process numbers and host of the machine that it was made on."""
    root = str(Path(__file__).resolve().parents[2])
    text = re.sub(r"(?:/private)?" + re.escape(folder), "/home/user/project", text)
    text = text.replace(root, "/home/user/project").replace(sys.base_prefix, "/usr")
    text = re.sub(r"/tmp/(store-|tmp)\w+", r"/tmp/\g<1>x", text)
    return re.sub(r"\bpid(\(s\))?:? (\d+)", r"pid\1 4242", text)


if __name__ == "__main__":
    KNOWN.mkdir(parents=True, exist_ok=True)
    for chosen in sys.argv[1:] or SNIPPETS:
        (KNOWN / f"{chosen}.txt").write_text(provoke(chosen), encoding="utf-8")
        print(chosen)

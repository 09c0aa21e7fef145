"""The result files and cards that the tables are made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from visionsmith.papers.paper import shipped_checkpoint

ROOT = Path(__file__).parent.parent


def read(path: str) -> Any:
    """A result file, by its path from the project's root."""
    return json.loads((ROOT / path).read_text(encoding="utf-8"))


def read_card(name: str) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """Command, time, machine and length of the training behind a shipped checkpoint; and what it says of its data."""
    card = json.loads((shipped_checkpoint(name) / "card.json").read_text(encoding="utf-8"))
    train = card["recipe"]["recipe"]["train"]
    steps = sum(stage["steps"] for stage in train["stages"]) or train["steps"]
    rows = [
        ("command", f"`{card['command']}`"),
        ("time", f"{card['minutes']:.0f} minutes"),
        ("machine", card["machine"]),
        ("steps x batch", f"{steps} x {train['batch_size']}"),
    ]
    return rows, card["data"]

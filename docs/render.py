"""Fill the generated parts of README.md and docs/ from result files.

    python docs/render.py            write
    python docs/render.py --check    exit 1 if a file is stale

A generated part stands between `<!-- begin NAME -->` and `<!-- end NAME -->`. No figure is typed by hand: each comes
from docs/results/ or benchmarks/results/, which the command printed beside it has written.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from visionsmith.papers.paper import VERBS, all_papers, shipped_checkpoint
from visionsmith.report.tables import count, markdown, percent

ROOT = Path(__file__).parent.parent
PART = re.compile(r"(<!-- begin (?P<name>[\w-]+) -->\n).*?(<!-- end (?P=name) -->)", re.DOTALL)


def read(path: str) -> Any:
    """A result file, by its path from the project's root."""
    return json.loads((ROOT / path).read_text(encoding="utf-8"))


def systems() -> str:
    """The table of what works."""
    rows = [
        (f"`{p.name}`", p.title, *("yes" if p.works(verb) else "" for verb in VERBS)) for p in all_papers()
    ]
    return markdown(("system", "paper", *VERBS), rows)


def clip_headline() -> str:
    """Zero-shot on held-out combinations."""
    found = read("docs/results/clip_evaluate.json")
    zero, words = found["zero_shot"], found["baseline"]["bag_of_words"]
    rows = [
        ("chance", percent(zero["chance"], 2), percent(5 * zero["chance"], 2)),
        ("bag of words from pixels", percent(words["top1"]), percent(words["top5"])),
        ("**CLIP, shipped checkpoint**", f"**{percent(zero['top1'])}**", f"**{percent(zero['top5'])}**"),
    ]
    table = markdown(("", "true caption first", "within the first five"), rows).strip()
    about = (
        f"{count(int(zero['pictures']))} held-out pictures, {count(int(zero['candidates']))} candidate captions: "
        "`visionsmith evaluate clip`."
    )
    return f"{table}\n\n{about}"


def clip_card() -> str:
    """How CLIP's shipped checkpoint was made."""
    made, data = read_card("clip")
    rows = [
        *made,
        ("data", f"{count(data['records'])} pairs of OpenMoji, {data['held_out']} pictures held out"),
        ("licence of the drawings", data["licence"]),
    ]
    return markdown(("", ""), rows)


def read_card(name: str) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """Command, time, machine and length of the training behind a shipped checkpoint; and what it says of its data."""
    card = json.loads((shipped_checkpoint(name) / "card.json").read_text(encoding="utf-8"))
    train = card["recipe"]["recipe"]["train"]
    rows = [
        ("command", f"`{card['command']}`"),
        ("time", f"{card['minutes']:.0f} minutes"),
        ("machine", card["machine"]),
        ("steps x batch", f"{train['steps']} x {train['batch_size']}"),
    ]
    return rows, card["data"]


def card(name: str) -> str:
    """How a classifier's shipped checkpoint was made."""
    made, data = read_card(name)
    rows = [
        *made,
        ("data", f"{count(data['records'])} built-in scenes of {data['classes']} classes"),
        ("tested on", f"{count(data['held_out'])} scenes with other drawings and other photographs"),
        ("licence of the drawings", data["licence"]),
    ]
    return markdown(("", ""), rows)


def clip_measured() -> str:
    """Everything that `evaluate` measures."""
    found = read("docs/results/clip_evaluate.json")
    retrieval, probe, zero = found["retrieval"], found["linear_probe"], found["zero_shot"]
    rows = [
        ("zero-shot among all captions, top-1 / top-5", f"{percent(zero['top1'])} / {percent(zero['top5'])}"),
        *(
            (
                f"retrieval {way.replace('_', ' ')}, R@1 / R@5 / R@10",
                " / ".join(percent(retrieval[f"{way}.r{k}"]) for k in (1, 5, 10)),
            )
            for way in ("image_to_text", "text_to_image")
        ),
        (f"linear probe, {int(probe['classes'])} subjects", percent(probe["top1"])),
        *(
            (f"{shots}-shot", f"{percent(point['mean'])} ± {percent(point['std'])}")
            for shots, point in found["few_shot"].items()
        ),
        *((f"top-1 under {name}", percent(value)) for name, value in found["shift"].items()),
    ]
    return markdown(("measure", "held-out combinations"), rows)


def claims(name: str) -> str:
    """A paper's statements beside what was measured."""
    rows = [
        (
            f"{claim['statement']} ({claim['source']})",
            claim["paper"],
            claim["measured"],
            "holds" if claim["holds"] else "**does not hold here**",
            claim["note"],
        )
        for claim in read(f"docs/results/{name}_claims.json")
    ]
    return markdown(("the paper says", "its figure", "measured", "", "note"), rows)


def benchmarks() -> str:
    """Ratios of all benchmark scripts."""
    rows = []
    for file in sorted((ROOT / "benchmarks" / "results").glob("*.json")):
        result = json.loads(file.read_text(encoding="utf-8"))
        for name, ratio in result["ratios"].items():
            rows.append(
                (f"`benchmarks/{file.stem}.py`", name, f"{ratio['value']:.2f}", f"{ratio['target']:.2f}")
            )
    return markdown(("script", "ratio", "measured", "target"), rows)


PARTS: dict[str, Callable[[], str]] = {
    "systems": systems,
    "clip-headline": clip_headline,
    "clip-card": clip_card,
    "clip-measured": clip_measured,
    "benchmarks": benchmarks,
}


def part(name: str) -> str:
    """The content of a generated part: one of `PARTS`, or SYSTEM-claims, or a classifier's SYSTEM-card."""
    if name in PARTS:
        return PARTS[name]()
    system, _, kind = name.rpartition("-")
    return {"claims": claims, "card": card}[kind](system.replace("-", "_"))


def render(text: str) -> str:
    """The text with its generated parts filled."""
    return PART.sub(lambda found: f"{found[1]}{part(found['name']).strip()}\n{found[3]}", text)


def main() -> int:
    """Render every page; returns the exit code."""
    check = "--check" in sys.argv[1:]
    stale = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        text = page.read_text(encoding="utf-8")
        new = render(text)
        if new != text:
            stale.append(page.relative_to(ROOT))
            if not check:
                page.write_text(new, encoding="utf-8")
    for page in stale:
        sys.stdout.write(f"{'stale' if check else 'written'}: {page}\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())

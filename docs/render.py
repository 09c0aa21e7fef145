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

from _painting import (
    icedit_measured,
    ip_adapter_measured,
    latent_diffusion_measured,
    latent_upscaler_measured,
    unclip_measured,
)
from _results import ROOT, read, read_card
from _seeing import (
    clip_card,
    clip_headline,
    clip_measured,
    crossvit_measured,
    f3net_card,
    f3net_measured,
    mobilevit_measured,
    mobilevit_milliseconds,
    seeing,
    supcon_measured,
)
from _speaking import c3_measured, flava_measured, llava_measured, speaking, swimbird_measured

from visionsmith.papers.paper import VERBS, all_papers
from visionsmith.report.tables import count, markdown

PART = re.compile(r"(<!-- begin (?P<name>[\w-]+) -->\n).*?(<!-- end (?P=name) -->)", re.DOTALL)


def systems() -> str:
    """The table of what works."""
    rows = [
        (f"`{p.name}`", p.title, *("yes" if p.works(verb) else "" for verb in VERBS)) for p in all_papers()
    ]
    return markdown(("system", "paper", *VERBS), rows)


def made(name: str) -> str:
    """How a shipped checkpoint was made: its training alone."""
    return markdown(("", ""), read_card(name)[0])


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


SCRIPTS = {
    "supcon": "supcon_loss",
    "f3net": "f3net_lfs",
    "c3": "c3_ask",
    "flava": "flava_step",
    "llava": "llava_stage1",
    "swimbird": "swimbird_generate",
    "unclip": "unclip_prior",
    "icedit": "icedit_moe",
}
"""Benchmarks that are not called as their system."""


def speed(name: str) -> str:
    """The ratios of a system's benchmark."""
    script = SCRIPTS.get(name, name)
    ratios = read(f"benchmarks/results/{script}.json")["ratios"]
    rows = [(key, f"{ratio['value']:.2f}", f"{ratio['target']:.2f}") for key, ratio in ratios.items()]
    return markdown((f"`python benchmarks/{script}.py`", "times as fast (or small)", "target"), rows)


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
    "f3net-card": f3net_card,
    "seeing": seeing,
    "supcon-measured": supcon_measured,
    "crossvit-measured": crossvit_measured,
    "mobilevit-measured": mobilevit_measured,
    "mobilevit-milliseconds": mobilevit_milliseconds,
    "f3net-measured": f3net_measured,
    "speaking": speaking,
    "flava-measured": flava_measured,
    "llava-measured": llava_measured,
    "swimbird-measured": swimbird_measured,
    "c3-measured": c3_measured,
    "latent-diffusion-measured": latent_diffusion_measured,
    "unclip-measured": unclip_measured,
    "ip-adapter-measured": ip_adapter_measured,
    "icedit-measured": icedit_measured,
    "latent-upscaler-measured": latent_upscaler_measured,
    "benchmarks": benchmarks,
}


def part(name: str) -> str:
    """The content of a generated part: of `PARTS`, or SYSTEM-claims, -speed, -made, or a classifier's -card."""
    if name in PARTS:
        return PARTS[name]()
    system, _, kind = name.rpartition("-")
    return {"claims": claims, "speed": speed, "card": card, "made": made}[kind](system.replace("-", "_"))


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

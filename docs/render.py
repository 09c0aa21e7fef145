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
    steps = sum(stage["steps"] for stage in train["stages"]) or train["steps"]
    rows = [
        ("command", f"`{card['command']}`"),
        ("time", f"{card['minutes']:.0f} minutes"),
        ("machine", card["machine"]),
        ("steps x batch", f"{steps} x {train['batch_size']}"),
    ]
    return rows, card["data"]


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


def f3net_card() -> str:
    """How F3-Net's shipped checkpoint was made."""
    made, data = read_card("f3net")
    card = json.loads((shipped_checkpoint("f3net") / "card.json").read_text(encoding="utf-8"))
    rows = [
        *made,
        ("data", f"{data['data']}, {count(data['pictures'])} pictures to train on"),
        ("AUC on the two photographs that set the threshold", percent(card["measured"]["val_auc"])),
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


def scores(found: dict[str, Any], baseline: dict[str, float]) -> list[tuple[str, str]]:
    """A classifier's figures on the built-in test scenes, beside those that need no training."""
    return [
        ("chance", percent(found["chance"])),
        ("nearest training pictures in pixels", percent(baseline["top1"])),
        ("**top-1**", f"**{percent(found['top1'])}**"),
        ("top-5", percent(found["top5"])),
        ("calibration error", percent(found["calibration_error"])),
    ]


def supcon_measured() -> str:
    """The classifier on the features, and the features themselves."""
    found = read("docs/results/supcon_evaluate.json")
    features = found["features"]
    rows = [
        *scores(found["classifier"], found["baseline"]),
        ("top-1 by the nearest training picture in the features", percent(features["nearest.top1"])),
        ("top-1 by a logistic regression on the features", percent(features["linear.top1"])),
    ]
    return markdown((f"{count(found['classifier']['pictures'])} test scenes, 40 classes", ""), rows)


def crossvit_measured() -> str:
    """What `evaluate crossvit` measures."""
    found = read("docs/results/crossvit_evaluate.json")
    rows = [
        *scores(found, found["baseline"]),
        ("parameters", count(found["model"]["parameters"])),
        ("multiply-adds for a picture", f"{found['model']['macs'] / 1e6:.1f} million"),
    ]
    return markdown((f"{count(found['pictures'])} test scenes, 40 classes", ""), rows)


def mobilevit_measured() -> str:
    """What `evaluate mobilevit` measures, and the same weights at other sizes."""
    found = read("docs/results/mobilevit_evaluate.json")
    rows = [
        *scores(found, found["baseline"]),
        ("parameters", count(found["model"]["parameters"])),
        *((f"top-1 at {side} px", percent(share)) for side, share in found["by_size"].items()),
    ]
    return markdown((f"{count(found['pictures'])} test scenes, 40 classes", ""), rows)


def mobilevit_milliseconds() -> str:
    """Median times of the benchmark, beside the library's model and a network of inverted residuals."""
    figures = read("benchmarks/results/mobilevit.json")["figures"]
    names = ("visionsmith", "transformers", "mobilenet")
    rows = []
    for size in figures["sizes"]:
        for batch in figures["batches"]:
            median = figures[f"{size.lower()}_batch{batch}"]["median_seconds"]
            rows.append((f"{size}, batch {batch}", *(f"{1000 * median[name]:.0f}" for name in names)))
    return markdown((f"ms at {figures['side']} px", "here", "transformers", "MobileNetV2-style"), rows)


def f3net_measured() -> str:
    """What `evaluate f3net` measures: the protocol by compression, by kind of forgery, and where."""
    found = read("docs/results/f3net_evaluate.json")
    settings = {"all": found["all"], **{name.upper(): part for name, part in found["compression"].items()}}
    names = ("auc", "accuracy", "equal_error", "average_precision")
    rows: list[tuple[str, ...]] = [
        (name, *(percent(part[measure]) for measure in names)) for name, part in settings.items()
    ]
    rows += [(f"{name} against real", percent(auc), "", "", "") for name, auc in found["method"].items()]
    where = found["localisation"]
    rows.append(("evidence against the mask, by pixel", percent(where["auc"]), "", "", ""))
    return markdown(("test pictures", "AUC", "accuracy", "equal error", "average precision"), rows)


def flava_measured() -> str:
    """What `evaluate flava` measures: each beside what needs no model or only half of it."""
    found = read("docs/results/flava_evaluate.json")
    ways, matching, words, patches = (
        found[name] for name in ("ways", "matching", "masked_words", "masked_patches")
    )
    image, text, pair = found["image_task"], found["text_task"], found["pair_task"]
    rows = [
        (
            f"right caption first / within five, of {count(int(ways['zero_shot.candidates']))}",
            f"{percent(ways['zero_shot.top1'])} / {percent(ways['zero_shot.top5'])}",
            f"chance {percent(ways['zero_shot.chance'], 2)}",
        ),
        (
            f"right of {int(ways['zero_shot.pictures'])} captions / pictures first",
            f"{percent(ways['retrieval.image_to_text.r1'])} / {percent(ways['retrieval.text_to_image.r1'])}",
            f"chance {percent(ways['retrieval.chance'])}",
        ),
        (
            "whether a text belongs to a picture",
            percent(matching["accuracy"]),
            f"chance {percent(matching['chance'])}; where the other text has the same subject "
            f"{percent(matching['same_subject'])}",
        ),
        (
            "a hidden word, with the picture",
            percent(words["with_picture"]),
            f"from the text alone {percent(words['text_alone'])}; most frequent {percent(words['most_frequent'])}",
        ),
        (
            "a hidden patch's code, with the text",
            percent(patches["with_text"]),
            f"without {percent(patches['without_text'])}; most frequent {percent(patches['most_frequent'])}",
        ),
        (
            "a linear classifier on pictures alone (40 scenes)",
            percent(image["top1"]),
            f"majority {percent(image['majority'])}",
        ),
        ("one on texts alone", percent(text["top1"]), f"majority {percent(text['majority'])}"),
        (
            "one on pairs",
            percent(pair["top1"]),
            f"majority {percent(pair['majority'])}; from the text alone {percent(pair['text_only'])}",
        ),
    ]
    return markdown((f"{count(found['model']['parameters'])} parameters", "FLAVA", "beside it"), rows)


def llava_measured() -> str:
    """Exact answers by family: of seen pairs, of new ones, without the picture, and of the majority."""
    found = read("docs/results/llava_evaluate.json")["exact"]
    names = {"mean_of_one_picture": "**the eight families about one picture**"}
    rows = [
        (
            names.get(family, family),
            *(percent(found[part][family]) for part in ("seen", "new", "blind", "majority")),
        )
        for family in found["seen"]
    ]
    head = (
        "exact answers",
        "LLaVA",
        "pairs of kind and colour never seen",
        "without the picture",
        "majority",
    )
    return markdown(head, rows)


def swimbird_measured() -> str:
    """Exact answers by kind, how each kind was thought about, and what the thoughts are worth."""
    found = read("docs/results/swimbird_evaluate.json")
    rows = [
        (
            kind,
            percent(share),
            ", ".join(f"{mode} {number}" for mode, number in found["modes"][kind].items()),
        )
        for kind, share in found["by_kind"].items()
    ]
    rows.append(
        ("**all**", f"**{percent(found['accuracy'])}**", f"as taught {percent(found['mode_as_taught'])}")
    )
    kinds = markdown(("kind of question", "exact answers", "thought in"), rows).strip()
    base, worth = found["baselines"], found["controls"]
    others = markdown(
        ("", "exact answers"),
        [
            ("things whose pair of kind and colour was never shown", percent(found["new_pairs"])),
            ("the most frequent answer of each kind", percent(base["majority_answer"])),
            ("questions about pictures, the pictures white", percent(base["without_picture"])),
            ("kinds taught with looks, as it thinks", percent(worth["thoughts"])),
            ("the same with zeros in place of the thoughts", percent(worth["zeros"])),
            ("the same with noise of their size", percent(worth["noise"])),
        ],
    ).strip()
    lengths = ", ".join(f"{number} of {length}" for length, number in found["span_lengths"].items())
    return f"{kinds}\n\n{others}\n\nThoughts in a span: {lengths}."


FIGURES = ("top1", "top5", "agreement", "frechet", "pixels")
"""What the judge of painted pictures says of them."""


def _judged(label: str, found: dict[str, float]) -> tuple[str, ...]:
    top1, top5, agreement, frechet, pixels = (found[name] for name in FIGURES)
    return label, percent(top1), percent(top5), f"{agreement:.3f}", f"{frechet:.3f}", f"{pixels:.1f}"


JUDGED = (
    "",
    "true caption first",
    "within five",
    "cosine with it",
    "distance",
    "gray levels from the true picture",
)


def latent_diffusion_measured() -> str:
    """Painted pictures beside the nearest training picture and the real ones."""
    found = read("docs/results/latent_diffusion_evaluate.json")
    held, seen, back = found["held_out"], found["seen"], found["autoencoder"]
    rows = [
        _judged(f"painted, {held['pictures']} held-out captions", held["painted"]),
        _judged("nearest, for the same captions", held["nearest"]),
        _judged("the held-out pictures themselves", held["real"]),
        _judged(f"painted, {seen['pictures']} captions of the training", seen["painted"]),
        _judged("the pictures of the training themselves", seen["real"]),
    ]
    settings = found["settings"]
    return (
        f"{markdown(JUDGED, rows).strip()}\n\nAmong {count(settings['captions'])} captions; {settings['steps']} steps, "
        f"guidance {settings['guidance']:g}. Held-out pictures come back from their latents at {back['psnr']:.1f} dB "
        f"(their mean colour: {back['mean_colour_psnr']:.1f} dB)."
    )


def unclip_measured() -> str:
    """The metric card of the prior, and the decoder's pictures of several embeddings."""
    found = read("docs/results/unclip_evaluate.json")
    names = {
        "text": "the text's embedding itself",
        "one sample": "the prior, one sample",
        "two samples": "the prior, the better of two",
    }
    cards = [
        (
            names[kind],
            f"{card['cosine']:.3f}",
            percent(card["top1"]),
            percent(card["top5"]),
            f"{card['frechet']:.4f}",
            f"{card['spread']:.3f} ({card['spread_real']:.3f})",
        )
        for kind, card in found["embeddings"].items()
    ]
    head = ("embeddings", "cosine", "true picture first", "within five", "distance", "between two (real)")
    kinds = {
        "true": "of the true picture's embedding",
        "prior": "of the prior's",
        "text": "of the text's",
        "prior and text": "of the prior's, the text beside it",
    }
    rows = [_judged(kinds[kind], figures) for kind, figures in found["pictures"].items()]
    settings = found["settings"]
    return (
        f"{markdown(head, cards).strip()}\n\n{settings['texts']} captions, {count(settings['candidates'])} pictures. "
        f"What the decoder paints, {settings['pictures']} captions, {settings['steps']} steps:\n\n"
        f"{markdown(JUDGED, rows).strip()}"
    )


def ip_adapter_measured() -> str:
    """Pictures painted for picture prompts, by scale, beside what needs no adapter."""
    found = read("docs/results/ip_adapter_evaluate.json")

    def row(label: str, figures: dict[str, float]) -> tuple[str, ...]:
        return label, f"{figures['clip_i']:.3f}", f"{figures['clip_t']:.3f}", percent(figures["found"])

    rows = [
        row(f"{kind}, scale {scale}", figures)
        for kind in ("picture", "picture and text")
        for scale, figures in found[kind].items()
    ]
    rows += [row(name, found[name]) for name in ("another picture", "the picture itself")]
    head = (f"{found['prompts']} prompts", "CLIP-I", "CLIP-T", "nearest to its own prompt")
    return markdown(head, rows)


def seeing() -> str:
    """The shipped classifiers beside each other, and the detector of forgeries."""
    pages = {"supcon": "SupCon", "crossvit": "CrossViT", "mobilevit": "MobileViT"}
    rows: list[tuple[str, ...]] = []
    for name, title in pages.items():
        found = read(f"docs/results/{name}_evaluate.json")
        measured, parameters = found.get("classifier", found), found["model"]["parameters"]
        rows.append(
            (
                f"[{title}](docs/papers/{name}.md)",
                f"{parameters / 1e6:.2f} M",
                percent(measured["top1"]),
                percent(measured["top5"]),
            )
        )
    baseline = read("docs/results/crossvit_evaluate.json")["baseline"]
    rows += [
        ("nearest training pictures in pixels", "", percent(baseline["top1"]), ""),
        ("chance", "", percent(baseline["chance"]), percent(5 * baseline["chance"])),
    ]
    table = markdown(("", "parameters", "right label first", "within the first five"), rows).strip()
    about = (
        "2,000 built-in test scenes, 40 classes, each model from scratch in minutes on one core: "
        "`visionsmith evaluate supcon`, `crossvit`, `mobilevit`."
    )
    return f"{table}\n\n{about}"


def speaking() -> str:
    """The shipped models that see and speak, each beside what needs no model or no picture."""
    flava, llava, bird, c3 = (
        read(f"docs/results/{name}_evaluate.json") for name in ("flava", "llava", "swimbird", "c3")
    )
    words, exact, base = flava["masked_words"], llava["exact"], bird["baselines"]
    mean = "mean_of_one_picture"
    rows = [
        (
            "[FLAVA](docs/papers/flava.md)",
            "a hidden word, with the picture",
            percent(words["with_picture"]),
            f"from the text alone {percent(words['text_alone'])}",
        ),
        (
            "[LLaVA](docs/papers/llava.md)",
            "exact answers about a picture",
            percent(exact["seen"][mean]),
            f"without the picture {percent(exact['blind'][mean])}, majority {percent(exact['majority'][mean])}",
        ),
        (
            "[SwimBird](docs/papers/swimbird.md)",
            "exact answers after thinking",
            percent(bird["accuracy"]),
            f"majority {percent(base['majority_answer'])}",
        ),
        (
            "[C3](docs/papers/c3.md)",
            "characters restored, 4 tokens a latent",
            percent(c3["text"]["characters"], 2),
            f"with another text's latents {percent(c3['baseline']['unread']['characters'])}",
        ),
    ]
    return markdown(("", "on held-out data", "", "beside it"), rows)


SCRIPTS = {
    "supcon": "supcon_loss",
    "f3net": "f3net_lfs",
    "c3": "c3_ask",
    "flava": "flava_step",
    "llava": "llava_stage1",
    "swimbird": "swimbird_generate",
    "unclip": "unclip_prior",
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
    "latent-diffusion-measured": latent_diffusion_measured,
    "unclip-measured": unclip_measured,
    "ip-adapter-measured": ip_adapter_measured,
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

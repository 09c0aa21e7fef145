"""Tables of the systems that see."""

from __future__ import annotations

import json
from typing import Any

from _results import read, read_card

from visionsmith.papers.paper import shipped_checkpoint
from visionsmith.report.tables import count, markdown, percent


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

"""Tables of the systems that see and speak."""

from __future__ import annotations

from _results import read

from visionsmith.report.tables import count, markdown, percent


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


def c3_measured() -> str:
    """What comes back of texts, and what is answered about them, each beside what needs no latents."""
    found = read("docs/results/c3_evaluate.json")
    base = found["baseline"]
    texts = {
        "text": f"text, {found['text']['ratio']:.3g} tokens a latent",
        "shuffled": "the same words, shuffled",
        "random": "random tokens",
    }
    rows = [
        (
            name,
            percent(found[kind]["characters"], 2),
            percent(found[kind]["word_precision"], 2),
            percent(found[kind]["tokens"], 2),
            percent(found[kind]["exact"]),
        )
        for kind, name in texts.items()
    ]
    rows += [
        (
            "the same decoder with another chunk's latents",
            percent(base["unread"]["characters"]),
            percent(base["unread"]["word_precision"]),
            "",
            percent(base["unread"]["exact"]),
        ),
        ("trigrams, shown the true text before each token", "", "", percent(base["trigram"]["tokens"]), ""),
    ]
    head = ("", "characters", "word precision", "tokens in place", "chunks to the letter")
    known, new = found["answers"], found["new_answers"]
    asked = [
        (family, percent(share), percent(new["families"][family]) if family in new["families"] else "")
        for family, share in known["families"].items()
    ]
    asked += [
        ("**all**", f"**{percent(known['exact'])}**", percent(new["exact"])),
        ("with another scene's latents", percent(known["unread"]), percent(new["unread"])),
        ("the commonest answer of each family", percent(known["majority"]), percent(new["majority"])),
    ]
    families = ("exact answers", "scenes", "pairs of kind and colour never told")
    return f"{markdown(head, rows).strip()}\n\n{markdown(families, asked).strip()}"


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
        (
            "",
            "exact answers about a text kept as latents",
            percent(c3["answers"]["exact"]),
            f"with another text's latents {percent(c3['answers']['unread'])}, "
            f"majority {percent(c3['answers']['majority'])}",
        ),
    ]
    return markdown(("", "on held-out data", "", "beside it"), rows)

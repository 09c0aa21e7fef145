"""Tables of the systems that paint."""

from __future__ import annotations

from _results import read

from visionsmith.report.tables import count, markdown, percent

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


def latent_upscaler_measured() -> str:
    """Enlarged pictures beside filters and beside the most that latents can reach."""
    found = read("docs/results/latent_upscaler_evaluate.json")

    def row(label: str, figures: dict[str, float]) -> tuple[str, ...]:
        return label, f"{figures['psnr']:.2f}", f"{figures['ssim']:.3f}"

    steps = found["upscaler"]
    rows = [
        *(row(f"upscaler, {n} steps", figures) for n, figures in steps.items()),
        row(f"upscaler with the caption, {list(steps)[-1]} steps", found["upscaler and text"]),
        row(f"upscaler, {list(steps)[-1]} steps, not corrected", found["uncorrected"]),
        *(row(f"pixels, {kind}", figures) for kind, figures in found["pixels"].items()),
        row("pixels, bicubic, corrected likewise", found["bicubic corrected"]),
        *(row(f"latents, {kind}, decoded", figures) for kind, figures in found["latents"].items()),
        row("the true picture through the autoencoder", found["autoencoder"]),
    ]
    head = (f"{found['pictures']} held-out pictures to {found['size']} px", "PSNR, dB", "SSIM")
    return markdown(head, rows)


def icedit_measured() -> str:
    """Edits beside doing nothing, the filler alone, and the most that latents can reach; then the early filter."""
    found = read("docs/results/icedit_evaluate.json")
    names = {
        "source": "nothing is changed",
        "filler": "the filler without its adapter",
        "edited": "edited",
        "ceiling": "the true pictures through the autoencoder",
    }

    def row(label: str, figures: dict[str, float]) -> tuple[str, ...]:
        return (
            label,
            f"{figures['l1']:.3f}",
            f"{figures['clip_i']:.3f}",
            percent(figures["followed"]),
            f"{figures['kept']:.3f}",
        )

    figures = ("L1 to the true picture", "CLIP-I", "nearer than the source", "L1 where nothing should change")
    head = (f"{found['edits']} held-out edits", *figures)
    rows = [row(label, found[name]["all"]) for name, label in names.items()]
    kinds = [row(kind, of) for kind, of in found["edited"].items() if kind != "all"]
    early, settings = found["early"], found["settings"]
    judged = {"none": "one seed", "clip": "CLIP chooses", "truth": "who knows the truth chooses"}
    few = [row(label, early[name]) for name, label in judged.items()]
    experts = [(kind, *(percent(share) for share in shares)) for kind, shares in found["experts"].items()]
    count_of = len(experts[0]) if experts else 1
    asked = f"{early['edits']} edits"
    return (
        f"{markdown(head, rows).strip()}\n\n{settings['steps']} steps, guidance {settings['guidance']:g}. By kind:\n\n"
        f"{markdown(('kind of edit', *figures), kinds).strip()}\n\n"
        f"Early filter: {settings['candidates']} seeds, of which one goes on after {settings['early_steps']} steps, "
        f"{early['evaluations']['filter']} evaluations of the model in place of {early['evaluations']['none']}:\n\n"
        f"{markdown((asked, *figures), few).strip()}\n\n"
        "Share of tokens that each expert got:\n\n"
        f"{markdown(('kind of edit', *(f'expert {place}' for place in range(1, count_of))), experts).strip()}"
    )

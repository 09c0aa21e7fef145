"""MobileViT beside transformers' with the same weights, and beside a MobileNet of as many parameters, in one run.

    python benchmarks/mobilevit.py [--sizes XXS XS S] [--batches 1 16] [--side 256] [--repeats 7] [--threads 1]

Answers are compared first. Ours has its batch norms folded, as `visionsmith run mobilevit` uses it; so has the
MobileNet. The three alternate; a ratio is the median of transformers' time over that of ours. The MobileNet's times
stand in the result file and above the ratios: it is faster, as the paper says of MobileNetV2, and has no target.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import MobileViTConfig as LibraryConfig
from transformers import MobileViTForImageClassification

from _common import alternate, report
from visionsmith.papers.mobilevit import fold_batch_norm, from_official, published
from visionsmith.papers.mobilevit.config import PUBLISHED, MobileViTConfig
from visionsmith.papers.mobilevit.mobilenet import equal_mobilenet
from visionsmith.papers.mobilevit.transformers_layout import state_from_transformers

TARGET = 1.2


def library_model(config: MobileViTConfig) -> MobileViTForImageClassification:
    """The model of the transformers library, of the same sizes."""
    model = MobileViTForImageClassification(
        LibraryConfig(
            neck_hidden_sizes=[config.stem, *config.channels, config.last_channels],
            hidden_sizes=list(config.widths),
            expand_ratio=float(config.expansion),
            num_labels=config.classes,
        )
    )
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):  # as initialised, folding would have nothing to fold
                module.momentum = 1.0
                module.weight.uniform_(0.7, 1.3)
                module.bias.normal_(0, 0.2)
        model.train()(torch.rand(8, 3, 64, 64))
    return model.eval()


def models(config: MobileViTConfig) -> dict[str, Callable[[Tensor], Tensor]]:
    """The three, ready to answer."""
    theirs = library_model(config)
    ours = fold_batch_norm(from_official(state_from_transformers(theirs.state_dict(), config), config))
    mobilenet = fold_batch_norm(equal_mobilenet(count(theirs), config.classes))
    return {"visionsmith": ours, "transformers": lambda images: theirs(images).logits, "mobilenet": mobilenet}


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def seconds_of(model: Callable[[Tensor], Tensor], images: Tensor) -> Callable[[], float]:
    def run() -> float:
        start = time.perf_counter()
        model(images)
        return time.perf_counter() - start

    return run


def main() -> None:
    """Measure, print the ratios, write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=PUBLISHED, default=[*PUBLISHED])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--side", type=int, default=256, help="of the pictures, px")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    figures: dict[str, object] = dict(vars(options))
    ratios = {}
    for size in options.sizes:
        made = models(published(size))
        for batch in options.batches:
            images = torch.rand(batch, 3, options.side, options.side)
            with torch.inference_mode():
                expected = made["transformers"](images)
                torch.testing.assert_close(made["visionsmith"](images), expected, atol=1e-5, rtol=1e-4)
                seconds = alternate(
                    {name: seconds_of(model, images) for name, model in made.items()}, options.repeats
                )
            medians = {name: statistics.median(values) for name, values in seconds.items()}
            name = f"{size.lower()}_batch{batch}"
            ratios[f"mobilevit_{name}"] = (medians["transformers"] / medians["visionsmith"], TARGET)
            figures[name] = {"median_seconds": medians, "seconds": seconds}
            shown = ", ".join(f"{key} {1e3 * value:.1f} ms" for key, value in medians.items())
            print(f"{size}, batch {batch}: {shown}", flush=True)
        mobilenet = made["mobilenet"]
        assert isinstance(mobilenet, nn.Module), "the parameters below are counted"
        figures[f"{size.lower()}_mobilenet_parameters"] = count(mobilenet)
    report("mobilevit", figures, ratios)


if __name__ == "__main__":
    main()

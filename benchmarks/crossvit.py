"""CrossViT beside a plain CrossViT with softmax attention, the same weights and pictures, in one run.

    python benchmarks/crossvit.py [--models S Ti] [--batches 1 16] [--repeats 5] [--threads 1] [--device cpu]

The plain model does what the public code does: attention as softmax of a matrix product, the asking class token joined
to a copy of the other branch's patches, keys and values of all tokens for its one query. Both are in evaluation mode,
without gradients, at the published input size; that they answer alike is checked first. Forward passes of the two
alternate; a ratio is the plain model's median time over ours.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from _common import alternate, report
from visionsmith.papers.crossvit.config import CrossViTConfig, published
from visionsmith.papers.crossvit.model import CrossViT

TARGET = 1.3
TOLERANCE = 1e-4
"""Largest difference between the two models' scores."""
EPSILON = 1e-6


class Plain:
    """The public code's arithmetic, operation by operation, on the weights of one of our models."""

    def __init__(self, model: CrossViT) -> None:
        self.config: CrossViTConfig = model.config
        self.weights = dict(model.named_parameters())

    def __call__(self, images: Tensor) -> Tensor:
        """Images b 3 h w at the published input size -> scores b c."""
        tokens = [self._embed(images, branch) for branch in (0, 1)]
        for stage in range(len(self.config.depths)):
            tokens = self._stage(tokens, stage)
        normed = [self._norm(x, f"norm.{branch}") for branch, x in enumerate(tokens)]
        scores = [self._linear(x[:, 0], f"head.{branch}") for branch, x in enumerate(normed)]
        return torch.mean(torch.stack(scores, dim=0), dim=0)

    def _embed(self, images: Tensor, branch: int) -> Tensor:
        size = self.config.image_sizes[branch]
        if images.shape[2] != size:
            images = F.interpolate(images, size=(size, size), mode="bicubic")
        name, patch = f"patch_embed.{branch}.proj", self.config.patch_sizes[branch]
        if self.config.stem == "linear":
            patches = F.conv2d(images, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], patch)
        else:
            patches = self._stem(images, name, (4, 3, 1) if patch == 12 else (4, 2, 2))
        patches = patches.flatten(2).transpose(1, 2)
        first = self.weights[f"cls_token.{branch}"].expand(len(images), -1, -1)
        return torch.cat((first, patches), dim=1) + self.weights[f"pos_embed.{branch}"]

    def _stem(self, x: Tensor, name: str, strides: tuple[int, int, int]) -> Tensor:
        for place, (stride, padding) in enumerate(
            zip(strides, (3, *(int(s != 3) for s in strides[1:])), strict=True)
        ):
            weight, bias = (self.weights[f"{name}.{2 * place}.{part}"] for part in ("weight", "bias"))
            x = F.conv2d(x, weight, bias, stride, padding)
            x = F.relu(x, inplace=True) if place < 2 else x
        return x

    def _stage(self, tokens: list[Tensor], stage: int) -> list[Tensor]:
        for branch in (0, 1):
            for place in range(self.config.depths[stage][branch]):
                name = f"blocks.{stage}.blocks.{branch}.{place}"
                x = tokens[branch]
                x = x + self._attention(
                    self._norm(x, f"{name}.norm1"), f"{name}.attn", self.config.heads[branch]
                )
                hidden = F.gelu(self._linear(self._norm(x, f"{name}.norm2"), f"{name}.mlp.fc1"))
                tokens[branch] = x + self._linear(hidden, f"{name}.mlp.fc2")
        fused = []
        for own, other in ((0, 1), (1, 0)):
            asking = self._project(tokens[own][:, :1], f"blocks.{stage}.projs.{own}")
            joined = torch.cat((asking, tokens[other][:, 1:]), dim=1)
            name = f"blocks.{stage}.fusion.{own}"
            normed = self._norm(joined, f"{name}.norm1")
            answer = joined[:, :1] + self._cross_attention(normed, f"{name}.attn", self.config.heads[other])
            token = self._project(answer, f"blocks.{stage}.revert_projs.{own}")
            fused.append(torch.cat((token, tokens[own][:, 1:]), dim=1))
        return fused

    def _attention(self, x: Tensor, name: str, heads: int) -> Tensor:
        batch, count, width = x.shape
        qkv = self._linear(x, f"{name}.qkv").reshape(batch, count, 3, heads, width // heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        weights = ((query @ key.transpose(-2, -1)) * (width // heads) ** -0.5).softmax(dim=-1)
        return self._linear((weights @ value).transpose(1, 2).reshape(batch, count, width), f"{name}.proj")

    def _cross_attention(self, x: Tensor, name: str, heads: int) -> Tensor:
        batch, _, width = x.shape

        def split(part: Tensor) -> Tensor:
            return part.reshape(batch, part.shape[1], heads, width // heads).permute(0, 2, 1, 3)

        query = split(self._linear(x[:, :1], f"{name}.wq"))
        key, value = split(self._linear(x, f"{name}.wk")), split(self._linear(x, f"{name}.wv"))
        weights = ((query @ key.transpose(-2, -1)) * (width // heads) ** -0.5).softmax(dim=-1)
        return self._linear((weights @ value).transpose(1, 2).reshape(batch, 1, width), f"{name}.proj")

    def _project(self, x: Tensor, name: str) -> Tensor:
        return self._linear(F.gelu(self._norm(x, f"{name}.0")), f"{name}.2")

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weight = self.weights[f"{name}.weight"]
        return F.layer_norm(x, (len(weight),), weight, self.weights[f"{name}.bias"], EPSILON)


def timed(forward: Callable[[Tensor], Tensor], images: Tensor) -> Callable[[], float]:
    """One forward pass, as a function that returns its seconds."""

    def run() -> float:
        start = time.perf_counter()
        forward(images)
        if images.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - start

    return run


def measure(name: str, batches: list[int], repeats: int, device: str) -> dict[str, dict[str, object]]:
    """Times of one published model by batch size."""
    torch.manual_seed(0)
    model = CrossViT(published(name)).to(device).eval()
    # Weights of a new model make all scores nearly equal; larger ones let a mistake show.
    for parameter in model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.trunc_normal_(parameter, std=parameter.shape[1] ** -0.5)
    plain = Plain(model)
    figures: dict[str, dict[str, object]] = {}
    for batch in batches:
        images = torch.randn(batch, 3, model.config.input_size, model.config.input_size, device=device)
        difference = float((model(images) - plain(images)).abs().max())
        assert difference < TOLERANCE, f"{name}: the scores differ by {difference:g}"
        seconds = alternate({"visionsmith": timed(model, images), "plain": timed(plain, images)}, repeats)
        medians = {key: statistics.median(values) for key, values in seconds.items()}
        figures[f"{name.replace('-', '_')}_batch_{batch}".lower()] = {
            "median_seconds": medians,
            "ratio": medians["plain"] / medians["visionsmith"],
            "largest_difference": difference,
            "seconds": seconds,
        }
    return figures


def main() -> None:
    """Measure, print the ratios, write the figures."""
    parser = argparse.ArgumentParser(description="CrossViT beside a plain CrossViT with softmax attention.")
    parser.add_argument("--models", nargs="+", default=["S", "Ti"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    figures: dict[str, dict[str, object]] = {}
    with torch.inference_mode():
        for name in options.models:
            figures |= measure(name, options.batches, options.repeats, options.device)
    ratios = {f"crossvit_{name}": (float(str(found["ratio"])), TARGET) for name, found in figures.items()}
    report("crossvit", {**vars(options), **figures}, ratios)


if __name__ == "__main__":
    main()

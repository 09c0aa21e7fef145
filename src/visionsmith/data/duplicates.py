"""Duplicates of a data set: the same file, the same pixels, or a picture that looks the same.

Looking the same: the perceptual hashes of two pictures differ in at most `MAX_DISTANCE` of 64 bits, and their
colours, averaged over a grid of 4 x 4, in at most `MAX_COLOUR_DIFFERENCE` of 255. The hash is the sign, against the
median, of the 8 x 8 lowest frequencies of the discrete cosine transform of the picture at 32 x 32 gray; it outlives
another size, another compression and a change of brightness. One-coloured pictures have no such signs and are left out.
"""

from __future__ import annotations

import hashlib
import itertools
from array import array

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["MAX_COLOUR_DIFFERENCE", "MAX_DISTANCE", "Fingerprints", "near_pairs", "perceptual_hash"]

MAX_DISTANCE = 4
"""Bits of 64 in which the hashes of pictures that look the same may differ."""
MAX_COLOUR_DIFFERENCE = 16
"""Gray levels of 255 by which their colours may differ anywhere on a grid of 4 x 4."""

MOST_NEIGHBOURS = 2000
"""Comparisons of a hash with others that have the same bits in two bands."""

_DIGEST_BYTES = 16
_COLOURS = 4 * 4 * 3

Hashes = npt.NDArray[np.uint64]
Picture = npt.NDArray[np.uint8]
Pairs = npt.NDArray[np.int64]
Groups = list[list[int]]


class Fingerprints:
    """What is kept of each picture: 97 bytes, and nothing of the picture itself."""

    def __init__(self) -> None:
        self._indices = array("q")
        self._files = bytearray()
        self._pixels = bytearray()
        self._hashes = array("Q")
        self._colours = bytearray()
        self._flat = array("b")

    def add(self, index: int, data: bytes, image: Picture, *, flat: bool) -> None:
        """Take in a picture.

        Args:
            index: of its record.
            data: the encoded file.
            image: RGB HWC uint8 [0, 255], upright.
            flat: whether it has one colour.
        """
        self._indices.append(index)
        self._files += hashlib.sha256(data).digest()[:_DIGEST_BYTES]
        # The shape, too: a row of pixels is not a column of the same.
        pixels = hashlib.sha256(f"{image.shape}".encode())
        pixels.update(np.ascontiguousarray(image).data)
        self._pixels += pixels.digest()[:_DIGEST_BYTES]
        self._hashes.append(perceptual_hash(image))
        self._colours += cv2.resize(image, (4, 4), interpolation=cv2.INTER_AREA).tobytes()
        self._flat.append(flat)

    def same_file(self) -> Groups:
        """Groups of records whose files are equal byte for byte (SHA-256), largest first."""
        return self._records(_equal(self._files))

    def same_pixels(self) -> Groups:
        """Groups of records whose decoded pixels are equal (SHA-256 of size and pixels), largest first."""
        return self._records(_equal(self._pixels))

    def alike(self) -> Groups:
        """Groups of records that look the same, largest first; none of pictures that are all equal to the pixel.

        A picture is in a group when it looks the same as one of its members, so the ends of a long group may
        differ by more than the threshold.
        """
        digests = np.frombuffer(self._pixels, f"S{_DIGEST_BYTES}")
        # One of each set of equal pictures stands for all of them.
        _, first, kind = np.unique(digests, return_index=True, return_inverse=True)
        kinds = np.flatnonzero(np.frombuffer(self._flat, np.int8)[first] == 0)
        hashes = np.frombuffer(self._hashes, np.uint64)[first[kinds]]
        colours = np.frombuffer(self._colours, np.uint8).reshape(-1, _COLOURS)[first[kinds]].astype(np.int16)
        pairs = near_pairs(hashes)
        apart = np.abs(colours[pairs[:, 0]] - colours[pairs[:, 1]]).max(axis=1, initial=0)
        families = _join(kinds[pairs[apart <= MAX_COLOUR_DIFFERENCE]])
        family = {number: place for place, members in enumerate(families) for number in members}
        groups: Groups = [[] for _ in families]
        for place, number in enumerate(kind.tolist()):
            if number in family:
                groups[family[number]].append(place)
        return self._records(groups)

    def _records(self, groups: Groups) -> Groups:
        """The groups as numbers of records, largest first."""
        found = [[self._indices[place] for place in group] for group in groups]
        return sorted(found, key=lambda group: (-len(group), group[0]))


def perceptual_hash(image: Picture) -> int:
    """64 bits that change little when a picture is scaled, compressed or made brighter. `image`: RGB HWC uint8."""
    gray = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA)
    lowest = cv2.dct(gray.astype(np.float32))[:8, :8]
    return int.from_bytes(np.packbits(lowest > np.median(lowest)).tobytes(), "big")


def near_pairs(
    hashes: Hashes, max_distance: int = MAX_DISTANCE, *, most_neighbours: int = MOST_NEIGHBOURS
) -> Pairs:
    """Pairs of 64-bit hashes that differ in at most `max_distance` bits.

    The bits are cut into bands, two more than the bits that may differ. Hashes that are near agree in two bands, so
    they are sorted by each two bands and compared only with those that agree there: all pairs are found where
    no more than `most_neighbours` agree, at O(n log n) and what few comparisons chance leaves. Where more agree,
    each is compared with the next `most_neighbours` in the order of the whole hash.

    Args:
        hashes: uint64, one a picture.
        max_distance: bits, 0 to 30.
        most_neighbours: comparisons of a hash with others in the same two bands.

    Returns:
        int64 (pairs, 2): places in `hashes`, the lower first, sorted, each pair once.
    """
    assert 0 <= max_distance <= 30, f"max_distance = {max_distance}"
    edges = [64 * band // (max_distance + 2) for band in range(max_distance + 3)]
    bands = [np.uint64((1 << high) - (1 << low)) for low, high in itertools.pairwise(edges)]
    found = [np.empty((0, 2), np.int64)]
    for left, right in itertools.combinations(bands, 2):
        agreed = hashes & (left | right)
        order = np.lexsort((hashes, agreed))
        agreed, values = agreed[order], hashes[order]
        places = np.arange(len(hashes))
        for step in range(1, min(most_neighbours + 1, len(hashes))):
            places = places[places + step < len(hashes)]
            places = places[agreed[places] == agreed[places + step]]
            if not len(places):
                break
            distance = np.bitwise_count(values[places] ^ values[places + step])
            near = places[distance <= max_distance]
            found.append(np.sort(np.stack([order[near], order[near + step]], axis=1), axis=1))
    return np.unique(np.concatenate(found), axis=0)


def _equal(digests: bytearray) -> Groups:
    """Places of equal digests, in groups of two or more."""
    _, kind, counts = np.unique(
        np.frombuffer(digests, f"S{_DIGEST_BYTES}"), return_inverse=True, return_counts=True
    )
    groups: dict[int, list[int]] = {}
    for place in np.flatnonzero(counts[kind] > 1).tolist():
        groups.setdefault(int(kind[place]), []).append(place)
    return list(groups.values())


def _join(pairs: Pairs) -> Groups:
    """The groups that pairs make when what is paired with a member is a member."""
    group: dict[int, list[int]] = {}
    for left, right in pairs.tolist():
        small, large = sorted((group.get(left, [left]), group.get(right, [right])), key=len)
        if small is not large:
            large += small
            group.update(dict.fromkeys((*small, left, right), large))
    return list({id(members): members for members in group.values()}.values())

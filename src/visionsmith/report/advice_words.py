"""Advice on loading, in plain sentences."""

from __future__ import annotations

import math

from visionsmith.data.advice import Advice
from visionsmith.data.advice.loading import Loading
from visionsmith.data.advice.stages import Stage
from visionsmith.report.tables import count, percent, short

__all__ = ["recommendation", "sentences", "title"]

IMBALANCED = 10
"""Pictures of the largest class for each of the smallest from which a data set is called imbalanced."""
_NAMED = 3
_DOING: dict[Stage, str] = {
    "read": "reading",
    "decode": "decoding",
    "augment": "augmenting",
    "collate": "collating",
    "send": "sending",
}


def title(advice: Advice) -> str:
    """What was measured, in one line."""
    return (
        f"{advice.source}: {_number(advice.pictures, 'picture')}, batches of {count(advice.batch_size)}, "
        f"crops of {advice.size} px"
    )


def recommendation(advice: Advice) -> str:
    """What the settings are called: a recommendation, or a guess."""
    return "Recommended, but uncertain" if advice.loading.disturbed else "Recommended"


def sentences(advice: Advice) -> dict[str, list[str]]:
    """What was found, by heading."""
    return {
        "Speed": _speed(advice),
        "The last batch": _last_batch(advice),
        "Dropping it": _dropping(advice),
        "Classes": _classes(advice),
        "Order and content": _order(advice),
    }


def _speed(advice: Advice) -> list[str]:
    loading = advice.loading
    stages, speed = loading.stages, loading.speed
    in_worker = stages.in_worker
    total = sum(in_worker.values())
    said = []
    if advice.left_out:
        said.append(f"{_number(advice.left_out, 'sample')} could not be packed and are left out.")
    if advice.without_picture:
        said.append(f"{_number(advice.without_picture, 'record')} without a picture are left out.")
    if advice.packed:
        said.append("The source was packed to a temporary store and measured there, as training reads it.")
    rate = f"{count(round(speed.samples_per_second))} samples a second"
    most = len(loading.speeds) - 1
    if speed.workers:
        verb = "loads" if speed.workers == 1 else "load"
        said.append(
            f"{_number(speed.workers, 'worker')} {verb} {rate}: no number up to {most} was more than 5 % faster."
        )
    elif most:
        said.append(
            f"The training process itself loads {rate}: no number of workers up to {most} was more than 5 % faster."
        )
    else:
        said.append(f"The training process itself loads {rate}; workers were not measured.")
    said.append(_limit(loading))
    said.append(
        f"A sample takes {_milliseconds(total)} of a worker's time; the largest part is {_DOING[stages.slowest]}, "
        f"{percent(in_worker[stages.slowest] / total, 0)}."
    )
    step = _milliseconds(advice.step_milliseconds)
    if speed.workers:
        said.append(
            f"A training step of {count(advice.batch_size)} samples must take longer than {step}, or it waits for data."
        )
    else:
        said.append(f"Each training step first waits {step} for its {count(advice.batch_size)} samples.")
    if loading.disturbed:
        said.append(
            f"Other work took {loading.others:.1f} of the cores meanwhile and makes all of this uncertain: measure "
            "again when the machine is idle."
        )
    if stages.to_gpu is None:
        said.append(
            "No model was trained meanwhile: a step that computes on this CPU takes cores from the workers."
        )
    said += _disk(loading)
    said += _shared_memory(loading)
    return said


def _limit(loading: Loading) -> str:
    cores = _number(loading.cores, "core")
    match loading.limit:
        case "disk":
            return "The disk limits: the store does not fit into memory, and reading takes longest."
        case "cores":
            return f"The cores limit: {cores} can be used, and all were at work."
        case "transfer" if loading.speed.workers:
            return "Handing over limits: the batches' way to the training process takes up what workers gain."
        case "transfer":
            return "Handing over limits: a batch's way from a worker costs as much as making it."
        case "unknown":
            return (
                f"What limits was not found: {cores} can be used, more workers do not help, and it is not the "
                "hand-over. The speed of the machine's memory may be the cause."
            )
        case "read" | "decode" | "augment" | "collate" as stage:
            more = min(loading.cores, 2 * max(1, loading.speed.workers))
            return f"{_DOING[stage].capitalize()} limits, and cores are left ({loading.cores}): try --workers {more}."


def _disk(loading: Loading) -> list[str]:
    cold = loading.cold
    if cold is None or (cold.from_disk is not None and not cold.is_cold):
        return [
            "Reads from the disk were not measured: the system did not drop the store from its cache of files."
        ]
    said = (
        "After the store was dropped from the system's cache of files, reading took "
        f"{_milliseconds(cold.milliseconds)} a sample in place of {_milliseconds(loading.stages.read)}"
    )
    if cold.from_disk is None:
        return [f"{said}; whether the disk was read cannot be told here."]
    if loading.fits_in_memory is None:
        return [f"{said}."]
    fits = "; it fits into free memory, so that only the first epoch waits for the disk."
    return [said + (fits if loading.fits_in_memory else "; it does not fit into free memory.")]


def _shared_memory(loading: Loading) -> list[str]:
    most = len(loading.speeds) - 1
    free = loading.shared_memory_free
    if not most or free is None:
        return []
    ready = most * loading.prefetch
    need = loading.shared_memory(most)
    said = f"{_number(most, 'worker')} keep up to {ready} batches ready, {_megabytes(need)} of shared memory"
    if need <= free:
        return [f"{said}; {_megabytes(free)} are free."]
    fit = free // loading.shared_memory(1)
    return [
        f"{said}, but only {_megabytes(free)} are free: no more than {_number(fit, 'worker')} can be recommended."
    ]


def _last_batch(advice: Advice) -> list[str]:
    last, batch = advice.last, advice.batch_size
    parts = f"{_number(advice.pictures, 'picture')} are {_number(last.full, 'batch', 'batches')} of {count(batch)}"
    if last.weight is None or last.noise is None or last.loss_at_chance is None:
        return [f"{parts}, and nothing is left over."]
    said = [f"{parts} and a last one of {count(last.size)}. If it is kept:"]
    said.append(
        f"Each of its samples moves the weights {last.weight:.3g} times as much as one of a full batch, and its mean "
        f"gradient scatters {last.noise:.3g} times as much; momentum carries that into the steps that follow."
    )
    if last.error is not None:
        said.append(
            f'BatchNorm over vectors refuses it in training: "{last.error}". Over maps of more than one pixel it takes '
            "it, with the statistics of a single picture."
        )
    else:
        said.append(
            f"BatchNorm takes its mean over {count(last.size)} samples, which scatters by "
            f"{percent(1 / math.sqrt(last.size))} of a standard deviation "
            f"(full batch: {percent(1 / math.sqrt(batch))})."
        )
    said.append(
        "BatchNorm's running statistics give it the weight of a full batch, right before the epoch is evaluated."
    )
    if last.size == 1:
        said.append("A contrastive loss has no negatives in it: the loss is 0, and nothing is learned.")
    else:
        said.append(
            f"A contrastive loss has {_number(last.size - 1, 'negative')} a sample in place of {count(batch - 1)}: "
            f"at chance it is {last.loss_at_chance:.3g} in place of {last.full_loss_at_chance:.3g}, so the logged "
            "loss dips for no reason."
        )
    return said


def _dropping(advice: Advice) -> list[str]:
    lost, epochs = advice.dropped, advice.epochs
    if not lost.samples:
        return ["Nothing is dropped."]
    said = [
        "This project drops it and shuffles anew each epoch (`ShuffledBatches`): all batches are full, and an epoch "
        f"leaves out {_number(lost.samples, 'sample')} ({percent(lost.share)}), others each time.",
    ]
    if epochs > 1:
        said.append(
            f"After {count(epochs)} epochs {_number(lost.never_measured, 'sample')} had never been seen "
            f"({short(round(lost.never_expected, 1))} expected)."
        )
    hit = [entry for entry in lost.by_class if entry["at_the_end"]]
    named = "; ".join(
        f"'{entry['class']}' {count(entry['at_the_end'])} of {count(entry['pictures'])} "
        f"(shuffled: {entry['expected']:.1f})"
        for entry in hit[:_NAMED]
    )
    more = (
        f"; {_number(len(hit) - _NAMED, 'more class', 'more classes')} besides" if len(hit) > _NAMED else ""
    )
    said.append(
        "A loader that does not shuffle would drop the same samples, the last of the data, in every epoch"
        + (f": {named}{more}." if hit else ".")
    )
    if advice.neighbours:
        near = ", ".join(f"{count(size)} (leaves {count(rest)})" for size, rest in advice.neighbours)
        said.append(f"Batch sizes nearby that leave less over: {near}.")
    return said


def _classes(advice: Advice) -> list[str]:
    found = advice.balance
    if found is None:
        return [
            "No classes are known: no field label, class or category in the metadata of every picture, and no folders "
            "in the keys. Name a field with --label."
        ]
    if found.classes == 1:
        return [f"All pictures are of one class, '{found.largest.name}' ({found.class_from})."]
    said = [
        f"There are {count(found.classes)} classes ({found.class_from}). On average a batch misses "
        f"{percent(found.missing_measured)} of them, over {_number(found.batches, 'batch', 'batches')}; "
        f"{percent(found.missing_expected)} are expected of random ones."
    ]
    even = found.largest.pictures == found.smallest.pictures
    for word, entry in [("largest", found.largest), ("smallest", found.smallest)][: 1 if even else 2]:
        subject = f"All are of one size; '{entry.name}'" if even else f"The {word}, '{entry.name}',"
        said.append(
            f"{subject} has {_number(entry.pictures, 'picture')}: {entry.mean:.3g} in a batch on average "
            f"({entry.expected:.3g} expected), {entry.fewest} to {entry.most}."
        )
    if found.ratio >= IMBALANCED:
        said.append(
            f"The classes are imbalanced, {found.ratio:,.0f} to 1: report accuracy by class. Where captions name the "
            "classes, `visionsmith data balance` caps the frequent ones."
        )
    return said


def _order(advice: Advice) -> list[str]:
    found = advice.loading.sameness
    if found is None:
        return ["Order and content were not compared: no workers were measured."]
    workers = _number(found.workers, "worker")
    if found.differing:
        said = [
            f"{count(len(found.differing))} of {count(found.samples)} samples differ between no worker and {workers}, "
            f"the first at position {count(found.differing[0])}: a sample depends on the worker that makes it."
        ]
    else:
        said = [
            f"The first {count(found.samples)} samples are the same with {workers} as without, byte for byte and in "
            "the same order."
        ]
    said.append(
        f"They drew {count(found.streams)} different random numbers: "
        + ("no two share a stream." if found.streams == found.samples else "some share a stream.")
    )
    return said


def _number(value: int, noun: str, plural: str | None = None) -> str:
    return f"{count(value)} {noun if value == 1 else plural or noun + 's'}"


def _milliseconds(value: float) -> str:
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"


def _megabytes(value: int) -> str:
    return f"{value / 1e6:,.3g} MB" if value < 1e8 else f"{count(round(value / 1e6))} MB"

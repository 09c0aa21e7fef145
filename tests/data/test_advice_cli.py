"""`visionsmith data advise` as a user sees it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.data.test_advice import make_store, noise
from visionsmith.cli.app import app
from visionsmith.data.advice import Advice, advise
from visionsmith.data.advice.same import Sameness
from visionsmith.data.records import RecordStore, pack
from visionsmith.data.sample import Sample
from visionsmith.errors import ConfigError, DataError, OutputError, VisionsmithError
from visionsmith.image.header import read_header
from visionsmith.image.io import encode_png
from visionsmith.report.advice_words import recommendation, sentences

QUICK = ("--batch-size", 12, "--size", 8, "--seconds", 0.1, "--workers")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RecordStore:
    """Twenty-five pictures sorted by class: 23 cats, then two dogs. Batches of 12 leave one over."""
    samples = [
        Sample(f"{number:02}", encode_png(noise(16, number)), meta={"kind": "dog" if number > 22 else "cat"})
        for number in range(25)
    ]
    return make_store(tmp_path_factory.mktemp("advise") / "pets.records", samples)


@pytest.fixture(scope="module")
def advice(store: RecordStore) -> Advice:
    return advise(store.path, batch_size=12, workers=0, size=8, seconds=0.05, label="kind")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["data", "advise", *map(str, arguments)])


def refused(kind: type[VisionsmithError], says: str, *arguments: object) -> None:
    result = run(*arguments)
    assert isinstance(result.exception, kind), result.output
    assert says in str(result.exception)
    assert result.exception.exit_code == 2
    assert result.stdout == ""


def test_it_says_what_was_found_and_recommends(store: RecordStore) -> None:
    result = run(store.path, *QUICK, 1, "--label", "kind")
    assert result.exit_code == 0, result.output
    text = " ".join(result.stdout.split())
    assert "25 pictures, batches of 12, crops of 8 px" in text
    assert "25 pictures are 2 batches of 12 and a last one of 1." in text
    assert '"Expected more than 1 value per channel when training, got input size torch.Size([1, 1])"' in text
    assert "Each of its samples moves the weights 12 times as much" in text
    assert "the loss is 0, and nothing is learned" in text
    assert "in every epoch: 'dog' 1 of 2 (shuffled: 0.1)." in text
    assert "There are 2 classes (kind)." in text
    assert "The classes are imbalanced, 12 to 1" in text
    assert "The first 16 samples are the same with 1 worker as without" in text
    assert "They drew 16 different random numbers: no two share a stream." in text
    assert re.search(r"Recommended(, but uncertain)?: train\.workers=[01] batch_size=12$", text)


def test_json_holds_everything(store: RecordStore) -> None:
    result = run(store.path, *QUICK, 1, "--label", "kind", "--json")
    found = json.loads(result.stdout)
    assert (found["pictures"], found["batch_size"], found["last"]["size"]) == (25, 12, 1)
    assert [speed["workers"] for speed in found["loading"]["speeds"]] == [0, 1]
    assert found["loading"]["sameness"]["differing"] == []
    assert found["loading"]["stages"]["slowest"] in found["loading"]["stages"]
    assert found["dropped"]["by_class"][0]["class"] == "dog"
    assert found["balance"]["smallest"]["pictures"] == 2
    assert found["neighbours"] == []
    assert found["settings"] == [f"train.workers={found['loading']['workers']}", "batch_size=12"]
    assert set(found["sentences"]) == {
        "Speed",
        "The last batch",
        "Dropping it",
        "Classes",
        "Order and content",
    }


def test_output_is_a_page_with_plots(store: RecordStore, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "advice"
    result = run(store.path, *QUICK, 0, "--label", "kind", "--output", folder)
    assert result.stdout.endswith(f"page: {folder / 'advice.html'}\n")
    assert sorted(path.name for path in folder.iterdir()) == [
        "advice.html",
        "advice.json",
        "stages.png",
        "workers.png",
    ]
    for name in ("workers.png", "stages.png"):
        assert read_header((folder / name).read_bytes()).width == 936
    page = (folder / "advice.html").read_text()
    assert page.count("data:image/png") == 2
    assert "batch_size=12" in page
    assert json.loads((folder / "advice.json").read_text())["pictures"] == 25
    before = (folder / "advice.json").read_bytes()
    refused(OutputError, "holds advice.html already", store.path, *QUICK, 0, "--output", folder)
    assert (folder / "advice.json").read_bytes() == before
    assert run(store.path, *QUICK, 0, "--output", folder, "--overwrite").exit_code == 0
    assert json.loads((folder / "advice.json").read_text())["balance"] is None
    (tmp_path / "file").write_text("precious")
    refused(OutputError, "is a file", store.path, *QUICK, 0, "--output", tmp_path / "file")


def test_mistakes(store: RecordStore, tmp_path: Path) -> None:
    refused(DataError, "no such file or folder", tmp_path / "nowhere")
    refused(ConfigError, "workers = -1 is out of range", store.path, "--workers", -1)
    refused(ConfigError, "larger than the data set of 25 records", store.path, "--batch-size", 26)
    refused(DataError, "no picture has the field 'kid'; did you mean 'kind'", store.path, "--label", "kid")
    (tmp_path / "empty").mkdir()
    refused(DataError, "holds no pictures", tmp_path / "empty")
    texts = make_store(tmp_path / "texts", [Sample("0", caption="a cat")])
    refused(DataError, "texts: has no picture", texts.path)
    samples = [Sample(str(number), encode_png(noise(8, number))[:-9]) for number in range(4)]
    pack(samples, tmp_path / "cut", check=False)
    refused(DataError, "is a damaged PNG", tmp_path / "cut", "--batch-size", 2, "--workers", 1)


def said(advice: Advice) -> str:
    return " ".join(sentence for lines in sentences(advice).values() for sentence in lines)


def test_words_follow_what_was_measured(advice: Advice) -> None:
    loading = advice.loading
    quiet, busy = (replace(advice, loading=replace(loading, others=others)) for others in (0.1, 1.3))
    assert "Other work took" not in said(quiet)
    assert recommendation(quiet) == "Recommended"
    assert "Other work took 1.3 of" in said(busy)
    assert recommendation(busy) == "Recommended, but uncertain"
    assert "did not drop the store" in said(replace(advice, loading=replace(loading, cold=None)))
    assert "were not compared" in said(advice)
    broken = replace(loading, sameness=Sameness(2, 16, [8, 9], 12))
    text = said(replace(advice, loading=broken))
    assert "2 of 16 samples differ between no worker and 2 workers, the first at position 8" in text
    assert "drew 12 different random numbers: some share a stream" in text
    assert "No classes are known" in said(replace(advice, balance=None))
    assert "packed to a temporary store" in said(replace(advice, packed=True))
    full = replace(advice.last, size=0, weight=None, noise=None, error=None, loss_at_chance=None)
    assert "and nothing is left over." in said(replace(advice, last=full))


def test_importing_the_command_is_light() -> None:
    heavy = ("torch", "cv2", "lmdb", "numpy", "matplotlib")
    script = f"import sys; import visionsmith.cli.advise; print([m for m in {heavy} if m in sys.modules])"
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert output == "[]\n"

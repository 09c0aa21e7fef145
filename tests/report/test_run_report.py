import io
import json
import math
import re

import numpy as np
import pytest
from PIL import Image

from visionsmith.errors import DataError
from visionsmith.report.run_report import read_log, write_run_report


def training(step, loss, time=None, **values):
    return json.dumps(
        {"step": step, "time": step if time is None else time, "loss": loss, "lr": 1e-3, **values}
    )


def evaluation(step, **metrics):
    return json.dumps({"step": step, "time": step, "evaluate": metrics})


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "my run"
    folder.mkdir()
    (folder / "config.yaml").write_text("paper: clip\nrecipe:\n  note: <script>x</script>\n")
    environment = {
        "python": "3.11.2",
        "versions": {"torch": "2.13.0"},
        "git": None,
        "command": ["a", "b c"],
        "seed": 7,
    }
    (folder / "environment.json").write_text(json.dumps(environment))
    return folder


def write_log(run, *lines, end="\n"):
    (run / "log.jsonl").write_text("\n".join(lines) + end)


def test_a_whole_run(run):
    lines = [
        training(step, 5 / step, samples_per_second=100.0, data_share=0.02, grad_norm=1.0)
        for step in range(1, 201)
    ]
    lines += [
        evaluation(step, **{"zero_shot.top1": step / 400, "zero_shot.pictures": 297}) for step in (100, 200)
    ]
    write_log(run, *lines)
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(buffer, "png")
    (run / "samples.png").write_bytes(buffer.getvalue())
    page = write_run_report(run)
    assert page == run / "report.html"
    text = page.read_text(encoding="utf-8")
    names = {"loss", "lr", "samples_per_second", "data_share", "grad_norm", "metric-zero_shot"}
    assert {file.stem for file in (run / "plots").iterdir()} == names
    for file in (run / "plots").iterdir():
        with Image.open(file) as plot:
            assert plot.size == (936, 540)
    assert text.count("<img") == len(names) + 1
    for expected in (
        "clip: training run my run",
        "3 min 20 s",
        "2.13.0",
        "a &#39;b c&#39;",
        "0.5000",
        "2.0 %",
        "297",
    ):
        assert expected in text
    assert "<script" not in text
    assert "&lt;script&gt;x&lt;/script&gt;" in text


def test_the_last_line_may_be_cut(run):
    whole = [training(1, 3.0), training(2, 2.0), training(3, 1.0)]
    for cut in range(1, len(whole[2])):
        write_log(run, *whole[:2], whole[2][:cut], end="")
        log = read_log(run / "log.jsonl")
        assert sorted(log.training) == [1, 2]
        assert log.damaged == 1
    write_log(run, *whole, end="")
    assert sorted(read_log(run / "log.jsonl").training) == [1, 2, 3]
    write_log(run, *whole[:2], whole[2][:9], end="")
    assert "1 line was left out" in write_run_report(run).read_text(encoding="utf-8")


def test_a_line_that_goes_on_behind_a_cut_one_is_found(run):
    for half in (training(3, 9.0)[:20], evaluation(3, a=0.5, b=0.5)[:-9], '{"step": 3, "evaluate": {"a": 1}'):
        write_log(run, training(1, 3.0), half + training(2, 2.0), training(3, 1.0))
        log = read_log(run / "log.jsonl")
        assert {step: values["loss"] for step, values in log.training.items()} == {1: 3.0, 2: 2.0, 3: 1.0}
        assert log.damaged == 1


def test_the_later_line_of_a_step_wins(run):
    write_log(
        run,
        training(1, 3.0),
        training(2, 2.0),
        training(2, 2.5),
        training(3, 1.0),
        evaluation(3, a=0.1),
        evaluation(3, a=0.2),
    )
    log = read_log(run / "log.jsonl")
    assert [log.training[step]["loss"] for step in (1, 2, 3)] == [3.0, 2.5, 1.0]
    assert log.evaluation == {3: {"a": 0.2}}


def test_what_lay_beyond_a_resumed_step_is_forgotten(run):
    abandoned = [training(30, 9.0), evaluation(30, a=0.9), training(40, 9.0), evaluation(20, a=0.7)]
    write_log(run, training(10, 3.0), training(20, 2.0), *abandoned, training(30, 1.0))
    log = read_log(run / "log.jsonl")
    assert {step: values["loss"] for step, values in log.training.items()} == {10: 3.0, 20: 2.0, 30: 1.0}
    assert log.evaluation == {20: {"a": 0.7}}
    assert log.last_step() == 30


def test_time_counts_over_all_starts(run):
    write_log(
        run, training(1, 1, time=10), training(2, 1, time=20), training(3, 1, time=5), training(4, 1, time=9)
    )
    assert read_log(run / "log.jsonl").seconds() == 29
    # The clock goes on from the state that the run was resumed from.
    write_log(
        run,
        training(1, 1, time=10),
        training(2, 1, time=20),
        training(2, 1, time=21),
        training(3, 1, time=31),
    )
    assert read_log(run / "log.jsonl").seconds() == 31


@pytest.mark.parametrize(
    "text", [None, "", "\n\n", "not json\n", '{"no": "step"}\n', '[1]\n{"step": "1"}\n', '{"step": 1}\n']
)
def test_a_log_without_values_still_gives_a_page(run, text):
    if text is not None:
        (run / "log.jsonl").write_text(text)
    page = write_run_report(run).read_text(encoding="utf-8")
    assert "none logged yet" in page
    assert "<img" not in page
    assert ("<code>log.jsonl</code> is missing" in page) == (text is None)


def test_bytes_that_are_no_text_and_values_that_are_no_numbers(run):
    odd = json.dumps(
        {"step": 2, "stage": "main", "flag": True, "loss": {"image": 1.5, "text": math.nan}, "list": [1]}
    )
    (run / "log.jsonl").write_bytes(
        f"{training(1, math.inf)}\n{odd}\n".encode() + b'{"step": 3, "st\xff\xfe\n'
    )
    log = read_log(run / "log.jsonl")
    assert list(log.training[2]) == ["loss.image", "loss.text"]
    write_run_report(run)
    assert (run / "plots" / "loss.png").is_file()


def test_one_evaluation_is_a_table_and_many_metrics_are_several_plots(run):
    metrics = {f"shift.kind{index}": 0.1 * index for index in range(8)}
    write_log(run, evaluation(5, **metrics))
    assert "shift.kind7" in write_run_report(run).read_text(encoding="utf-8")
    assert not (run / "plots").exists()
    write_log(run, evaluation(5, **metrics), evaluation(6, **metrics, perplexity=12.5, **{"../x": 0.5}))
    write_run_report(run)
    names = {file.name for file in (run / "plots").iterdir()}
    assert {"metric-shift-1.png", "metric-shift-2.png", "metric-perplexity.png"} < names
    assert len(names) == 4


def test_damaged_neighbours_are_left_out_and_named(run):
    write_log(run, training(1, 1.0))
    (run / "environment.json").write_text('{"python": ')
    (run / "samples.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    (run / "config.yaml").unlink()
    text = re.sub(r"</?code>", "", write_run_report(run).read_text(encoding="utf-8"))
    for sentence in ("environment.json is damaged", "samples.png is damaged", "config.yaml is missing"):
        assert sentence in text


def test_a_second_report_replaces_the_first(run):
    write_log(run, training(1, 1.0))
    write_run_report(run)
    before = (run / "plots" / "loss.png").read_bytes()
    write_log(run, training(1, 1.0), training(2, 0.25))
    assert "0.2500" in write_run_report(run).read_text(encoding="utf-8")
    assert (run / "plots" / "loss.png").read_bytes() != before


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"nowhere: no such folder; give the folder of a training run\.$"):
        write_run_report(tmp_path / "nowhere")
    with pytest.raises(DataError, match="is not a training run"):
        write_run_report(tmp_path)
    with pytest.raises(DataError, match="no such file"):
        read_log(tmp_path / "log.jsonl")

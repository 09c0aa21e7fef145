import base64
import io
import stat
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from visionsmith.durable import write_whole
from visionsmith.errors import OutputError
from visionsmith.report.page import GalleryItem, Page, RankedItem
from visionsmith.report.plots import curves

HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=y>"
VOID = {"meta", "img", "br", "link", "input", "hr"}
LOADING = {"src", "href", "srcset", "poster", "data", "action", "background", "xlink:href"}


def png(width=8, height=4, colour=(200, 30, 30), **options):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, "png", **options)
    return buffer.getvalue()


class Reader(HTMLParser):
    """Every tag with its attributes, every text with the tag that holds it; fails on unbalanced tags."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.texts, self.open = [], [], []
        self.feed(html)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data):
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", data.strip()))

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    def text_of(self, tag):
        return [text for name, text in self.texts if name == tag]


@pytest.fixture
def full_page():
    page = Page(f"Title {HOSTILE}", f"Subtitle {HOSTILE}")
    for index in range(5):
        page.section(f"Section {index} {HOSTILE}", f"One {HOSTILE}.\n\nTwo with `code {HOSTILE}`.")
    page.figure(png(), f"Caption {HOSTILE}", alt=f"Alt {HOSTILE}")
    page.table(["name", HOSTILE], [[HOSTILE, 1], ["b", 2]], caption=HOSTILE, best=1)
    page.code(HOSTILE)
    page.note(f"{HOSTILE} see https://example.org/licence.")
    page.ranking([RankedItem(png=png(), caption=HOSTILE, ranks=[(HOSTILE, 0.75, True), ("no", 0.25, False)])])
    page.gallery(
        [GalleryItem(png=png(), caption=HOSTILE, score=0.5, right=right) for right in (True, False, None)]
    )
    return Reader(page.html())


def test_nothing_comes_from_elsewhere(full_page):
    checked = 0
    for tag, attrs in full_page.tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base", "video", "audio", "form"}
        assert not [name for name in attrs if name.startswith("on")], f"<{tag}> has an event handler"
        for name in LOADING & set(attrs):
            checked += 1
            if tag == "a":
                assert attrs[name].startswith(("#", "https://example.org/"))
            else:
                assert (tag, name) == ("img", "src")
                assert attrs[name].startswith("data:image/png;base64,")
    assert checked == 5 + 1 + 5  # contents, the link of the note, pictures
    style = "".join(full_page.text_of("style"))
    assert "url(" not in style
    assert "@import" not in style
    (policy,) = [meta["content"] for meta in full_page.all("meta") if "http-equiv" in meta]
    assert "default-src 'none'" in policy


def test_hostile_text_is_shown_and_not_run(full_page):
    assert full_page.text_of("title") == [f"Title {HOSTILE}"]
    assert full_page.text_of("h1") == [f"Title {HOSTILE}"]
    assert f"Section 3 {HOSTILE}" in full_page.text_of("h2")
    assert f"code {HOSTILE}" in full_page.text_of("code")
    assert HOSTILE in full_page.text_of("td")
    assert HOSTILE in full_page.text_of("th")
    assert HOSTILE in full_page.text_of("h3")
    alts = [image["alt"] for image in full_page.all("img")]
    assert alts == [f"Alt {HOSTILE}", *[HOSTILE] * 4]


def test_pictures_are_the_bytes_that_were_given():
    given = [png(colour=(index, 0, 0)) for index in range(3)]
    page = Page("t")
    for content in given:
        page.figure(content, "c", "a")
    shown = [image["src"].partition(",")[2] for image in Reader(page.html()).all("img")]
    assert [base64.b64decode(content) for content in shown] == given


def test_picture_sizes_follow_the_resolution():
    page = Page("t")
    page.figure(png(300, 150), "", "no resolution")
    page.figure(png(300, 150, dpi=(144, 144)), "", "144 dpi")
    page.figure(png(300, 150), "", "as told", width=60)
    sizes = [(int(image["width"]), int(image["height"])) for image in Reader(page.html()).all("img")]
    assert sizes == [(300, 150), (200, 100), (60, 30)]


def test_only_plots_are_inverted_in_the_dark():
    page = Page("t")
    page.figure(curves({"a": ([0, 1], [0, 1])}, x="x", y="y"), "c", "plot")
    page.figure(png(), "c", "photo")
    assert [image["class"] for image in Reader(page.html()).all("img")] == ["plot", "picture"]


def test_table_cells_alignment_and_best_row():
    rows = [["chance", 0.0003, 297], ["ours", 0.727, 297], ["`tiny`", None, 1234]]
    page = Page("t")
    page.table(["system", "top-1", "pictures"], rows, caption="Cap", best=1)
    read = Reader(page.html())
    assert read.text_of("th") == ["system", "top-1", "pictures"]
    assert read.text_of("td") == ["chance", "0.0003", "297", "ours", "0.7270", "297", "–", "1,234"]
    assert read.text_of("code") == ["tiny"]
    assert [cell.get("class") for cell in read.all("td")] == ["n", "r", "r"] * 3
    assert [row.get("class") for row in read.all("tr")] == [None, None, "best", None]


def test_a_row_of_another_length_is_refused():
    with pytest.raises(AssertionError, match="row 0 has 1 cells"):
        Page("t").table(["a", "b"], [[1]])
    with pytest.raises(AssertionError, match="best"):
        Page("t").table(["a"], [[1]], best=1)


def test_numbers_of_figures_and_tables():
    page = Page("t")
    page.figure(png(), "first", "a")
    page.figure(png(), "", "a")
    page.table(["a"], [[1]], caption="one")
    page.figure(png(), "second", "a")
    numbers = [text for tag, text in Reader(page.html()).texts if tag == "span"]
    assert numbers == ["Figure 1", "Table 1", "Figure 2"]


def test_ranking_bars_are_as_long_as_their_scores():
    page = Page("t")
    ranks = [("cat", 0.625, False), ("dog", 0.25, True), ("ant", 1.0000001, False)]
    page.ranking([RankedItem(png=png(), caption="c", ranks=ranks)])
    read = Reader(page.html())
    assert [bar["style"] for bar in read.all("i")] == ["width:62.50%", "width:25.00%", "width:100.00%"]
    assert [item.get("class") for item in read.all("li")] == [None, "true", None]
    assert [text for text in read.text_of("span") if "%" in text] == ["62.5 %", "25.0 %", "100.0 %"]


@pytest.mark.parametrize("score", [1.2, -0.1, float("nan")])
def test_a_score_that_is_no_share_is_refused(score):
    with pytest.raises(AssertionError, match="score"):
        Page("t").ranking([RankedItem(png=png(), caption="c", ranks=[("a", score, True)])])


def test_gallery_marks():
    items = [
        GalleryItem(png=png(), caption=str(index), right=right)
        for index, right in enumerate((True, False, None))
    ]
    page = Page("t")
    page.gallery(items, columns=4)
    read = Reader(page.html())
    assert [figure.get("class") for figure in read.all("figure")] == ["right", "wrong", None]
    assert [text for text in read.text_of("span") if text in "✓✗"] == ["✓", "✗"]
    assert "--n:4" in [box.get("style") for box in read.all("div")]


def test_links_leave_the_stop_to_the_sentence():
    page = Page("t")
    page.note("See https://example.org/a?b=1&c=2, or (https://example.org/d). javascript:alert(1) ftp://x")
    links = [link["href"] for link in Reader(page.html()).all("a")]
    assert links == ["https://example.org/a?b=1&c=2", "https://example.org/d"]


def test_paragraphs_and_code():
    page = Page("t")
    page.section("s", "one\nstill one\n\n  \ntwo")
    page.code("  indented <b>\n    more")
    read = Reader(page.html())
    assert read.text_of("p") == ["one\nstill one", "two"]
    assert "<pre><code>  indented &lt;b&gt;\n    more</code></pre>" in page.html()


def test_contents_link_to_the_sections():
    page = Page("t")
    for name in "abcd":
        page.section(name)
    read = Reader(page.html())
    targets = [link["href"] for link in read.all("a")]
    assert targets == [f"#{heading['id']}" for heading in read.all("h2")]
    assert len(set(targets)) == 4


def test_anything_but_png_is_refused():
    with pytest.raises(AssertionError, match="not PNG"):
        Page("t").figure(b"\xff\xd8\xff\xe0 a JPEG", "c", "a")


def test_write_replaces_the_page_and_leaves_nothing_beside_it(tmp_path):
    target = tmp_path / "new" / "index.html"
    Page("first").write(target)
    Page("한국어 \udcff").write(target)
    text = target.read_text(encoding="utf-8")
    assert "<title>한국어 ?</title>" in text
    assert [file.name for file in target.parent.iterdir()] == ["index.html"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o644


def test_an_unwritable_place_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match=r"index\.html: cannot be written .*choose another place\.$"):
        Page("t").write(tmp_path / "file" / "index.html")


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "a.txt"
    write_whole(target, b"old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("visionsmith.durable.os.fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write_whole(target, b"new")
    assert target.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_pixels_survive():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    page = Page("t")
    page.figure(buffer.getvalue(), "c", "a")
    (image,) = Reader(page.html()).all("img")
    shown = Image.open(io.BytesIO(base64.b64decode(image["src"].partition(",")[2])))
    np.testing.assert_array_equal(np.asarray(shown), pixels)

"""labels.html in a browser, opened from a file: what it draws and counts, and the sliders.

Without a browser most of it is checked in node, without pixels.
"""

import html
import json
import re

import pytest

import browser
from fakes import labeled_run
from must_keras.pseudo_labels import viewer


def page_of(folder, **changes):
    run = labeled_run.make(folder, **changes)
    viewer.write(run)
    return run.path / "labels.html"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return page_of(tmp_path_factory.mktemp("page"))


@pytest.fixture
def opened(tmp_path):
    def opened(path, fragment=""):
        return browser.labels_document(path, tmp_path / "profile", fragment)

    return opened


def facts(text: str, head: str) -> dict[str, str]:
    """{name: value} of the live numbers of a head."""
    card = text.split(f'id="head-{head}"')[1].split("</section>")[0]
    return dict(re.findall(r'<dd data-fact="(.*?)">(.*?)</dd>', card))


def drawn(text: str, what: str) -> list[int]:
    """A number of every canvas with boxes, in the order of the page."""
    return [int(n) for n in re.findall(rf'<canvas[^>]* data-{what}="(\d+)"', text)]


def names(text: str) -> list[str]:
    return re.findall(r"<figcaption><b>pool/(\d).png</b>", text)


def pairs(text: str) -> dict[str, tuple[int, int]]:
    """{heads: (boxes in question, boxes that are judged)}."""
    found = re.findall(r'data-pair="(.*?)" data-disputed="(\d+)" data-judged="(\d+)"', text)
    return {name: (int(disputed), int(judged)) for name, disputed, judged in found}


@pytest.mark.parametrize(
    ("fragment", "boxes", "per_image", "empty", "judged"),
    [
        # Images 0 to 4, see labeled_run.FOUND.
        ("", [2, 1, 0, 0, 2], "1.00", "40 %", {"things parts": (1, 4), "things far": (2, 5)}),
        ("#things=0.7", [1, 1, 0, 0, 1], "0.60", "40 %",
         {"things parts": (0, 2), "things far": (1, 3)}),
        ("#things=0.1", [2, 1, 1, 0, 2], "1.20", "20 %",
         {"things parts": (2, 5), "things far": (3, 6)}),
        ("#things=0.95", [0] * 5, "0.00", "100 %", {"things parts": (0, 0), "things far": (0, 0)}),
        # Below the floor nothing is stored: the recipe's threshold stays.
        ("#things=0.01", [2, 1, 0, 0, 2], "1.00", "40 %",
         {"things parts": (1, 4), "things far": (2, 5)}),
    ],
)  # fmt: skip
def test_a_threshold_in_the_address_is_what_is_drawn_and_counted(
    path, opened, fragment, boxes, per_image, empty, judged
):
    text = opened(path, fragment)
    order = [int(name) for name in names(text)]
    assert sorted(order) == [0, 1, 2, 3, 4]
    assert drawn(text, "boxes") == [boxes[i] for i in order]
    assert facts(text, "things") == {"boxesPerImage": per_image, "empty": empty}
    assert pairs(text) == judged


@pytest.mark.parametrize(
    ("fragment", "kept", "empty"),
    [("", "80 %", "20 %"), ("#parts=0.8", "40 %", "20 %"), ("#parts=0.1", "100 %", "0 %")],
)
def test_the_share_of_kept_pixels_follows_the_threshold(path, opened, fragment, kept, empty):
    text = opened(path, fragment)
    assert facts(text, "parts") == {"kept": kept, "empty": empty}
    assert f"{kept} of the pixels kept" not in text.split('id="images"')[0]


def test_a_panel_names_the_colors_that_it_shows(path, opened):
    def legends(fragment):
        shown = opened(path, fragment).split('id="images"')[1]
        return [
            re.findall(r"</i>(\w+)<", one)
            for one in re.findall(r'class="legend">(.*?)</small>', shown)
        ]

    maps = [names for names in legends("#page.order=certainty.kind") if "camera" not in names]
    # Sky and lawn are kept in all images but the fourth; above 0.8 only lawn is.
    assert sum("sky" in names for names in maps) == 4
    maps = legends("#page.order=certainty.kind&parts=0.8")
    assert not any("sky" in names for names in maps)
    text = opened(path)
    assert text.count('class="scale"') == 5 and " m</span>" in text


def test_boxes_in_question_are_dashed_and_their_images_marked(path, opened):
    text = opened(path, "#page.order=disagreement")
    # The most first; of equal ones in the order of the pool.
    assert names(text) == ["0", "1", "2", "3", "4"]
    assert drawn(text, "dashed") == [1, 1, 0, 0, 0]
    assert len(re.findall(r'<figure class="image disputed"', text)) == 2
    assert "because parts has no class of this name: bench." in text


def test_images_come_in_the_order_that_is_asked_for(path, opened):
    # kind: 0.5, 0.6, ... 0.9. things: |2 s - 1| weighted: 0.56, 0.6, 0.4, 1, 0.54. parts: 3 is 0.2.
    assert names(opened(path, "#page.order=certainty.kind")) == ["0", "1", "2", "3", "4"]
    assert names(opened(path, "#page.order=certainty.things")) == ["2", "4", "0", "1", "3"]
    # Ranks of kind 0, 1, 2, 3, 4; things 2, 3, 0, 4, 1; parts 2.5, 2.5, 2.5, 0, 2.5 of 4.
    assert names(opened(path)) == ["0", "2", "1", "3", "4"]


def test_one_threshold_a_class_holds_until_the_slider_moves(tmp_path, opened):
    path = page_of(tmp_path, things=(0.7, 0.9))
    text = opened(path, "#page.order=certainty.kind")
    assert drawn(text, "boxes") == [1, 0, 0, 0, 1]
    assert "0.7 to 0.9 by class" in text
    assert drawn(opened(path, "#page.order=certainty.kind&things=0.7"), "boxes") == [1, 1, 0, 0, 1]


MOVES = """<!doctype html><iframe src="labels.html" width="WIDTH" height="900"></iframe><script>
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
onload = async () => {
  const page = document.querySelector("iframe").contentDocument;
  while (page.body.dataset.ready !== "yes") await wait(50);
  const pixels = (head) => [...page.querySelectorAll(`canvas[data-head=${head}]`)].map((canvas) =>
    [...canvas.toDataURL()].reduce((hash, c) => (31 * hash + c.charCodeAt(0)) | 0, 0));
  const look = () => ({
    things: pixels("things"), parts: pixels("parts"), far: pixels("far"),
    boxes: [...page.querySelectorAll("canvas[data-boxes]")].map((c) => Number(c.dataset.boxes)),
    address: page.location.hash,
  });
  const move = (head, value) => {
    const slider = page.getElementById(`threshold-${head}`);
    slider.value = value;
    slider.dispatchEvent(new Event("input"));
  };
  const seen = [look()];
  move("things", 0.7); seen.push(look());
  move("parts", 0.8); seen.push(look());
  page.querySelectorAll("#sliders button").forEach((button) => button.click());
  seen.push(look());
  const root = page.documentElement;
  const found = { seen, widths: [root.scrollWidth, root.clientWidth] };
  document.body.append(Object.assign(document.createElement("pre"), { textContent: JSON.stringify(found) }));
};
</script>"""


@pytest.mark.parametrize("width", [400, 1200])
def test_moving_a_slider_draws_its_head_again_and_no_other(path, tmp_path, width):
    frame = path.with_name(f"frame{width}.html")
    frame.write_text(MOVES.replace("WIDTH", str(width)))
    text = re.search(r"<pre>(.*?)</pre>", browser.document(frame, tmp_path / "profile"), re.DOTALL)[
        1
    ]
    found = json.loads(html.unescape(text))
    first, things, parts, again = found["seen"]
    # In the order of the page: images 0, 2, 1, 3, 4.
    assert first["boxes"] == [2, 0, 1, 0, 2] and things["boxes"] == [1, 0, 1, 0, 1]
    changed = [a != b for a, b in zip(first["things"], things["things"], strict=True)]
    assert changed == [True, False, False, False, True]
    assert things["parts"] == first["parts"] and parts["things"] == things["things"]
    # Image 3 was dark before.
    changed = [a != b for a, b in zip(things["parts"], parts["parts"], strict=True)]
    assert changed == [True, True, True, False, True]
    assert [look["far"] for look in found["seen"]] == [first["far"]] * 4
    assert parts["address"] == "#things=0.7&parts=0.8"
    assert again == first
    scrolled, visible = found["widths"]
    assert scrolled <= visible <= width

"""The page of a listening test, in a real browser."""

from collections import Counter
import itertools
import json
import pathlib

import pytest

from tests import browser, studies
from yue_jax.study.results import read_results

pytestmark = pytest.mark.skipif(
  browser.CHROMIUM is None, reason="no chromium on the path"
)
RIGHTS = {"left": 0, "tie": 1, "right": 2}  # how often the arrow is pressed
ASPECTS = ("musicality", "melody", "lyrics")
SEEDS = itertools.count()  # another seed is another study, which has no answers


@pytest.fixture(scope="module")
def chromium():
  with browser.Browser() as its:
    yield its


@pytest.fixture
def study(tmp_path):
  key = studies.make(tmp_path, seed=next(SEEDS))
  return key, tmp_path / "study" / "page" / "study.html"


def tab_to(chromium, what: str) -> None:
  """Goes on by the Tab key until what the expression says has the focus."""
  for _ in range(40):
    chromium.press("Tab")
    if chromium.run(f"document.activeElement === ({what})"):
      return
  raise AssertionError(f"Tab does not reach {what}")


def play(chromium, side: str) -> None:
  player = f"document.getElementById('{side}')"
  chromium.until(f"{player}.readyState > 1")
  tab_to(chromium, player)
  chromium.press(" ")
  chromium.until(f"{player}.currentTime > 0.1")


def answer(chromium, aspect: str, choice: str) -> None:
  radio = f"document.querySelector('input[name={aspect}]')"
  tab_to(chromium, radio)
  if choice == "left":
    chromium.press(" ")
  for _ in range(RIGHTS[choice]):
    chromium.press("ArrowRight")


def begin(chromium, path: pathlib.Path, rater: str) -> None:
  chromium.open(path)
  tab_to(chromium, "document.getElementById('rater')")
  chromium.type(rater)
  chromium.press("Enter")
  assert shown(chromium) == "compare"


def press_next(chromium) -> None:
  tab_to(chromium, "document.getElementById('next')")
  chromium.press("Enter")


def shown(chromium) -> str:
  return chromium.run(
    "['begin', 'compare', 'end'].find(i => !document.getElementById(i).hidden)"
  )


def text(chromium, element: str) -> str:
  return chromium.run(f"document.getElementById('{element}').textContent")


def clips_playing(chromium) -> dict[str, str]:
  """Ids of the clips that the two players have."""
  return chromium.run(
    "Object.fromEntries(['left', 'right'].map(side => [side,"
    " [...document.scripts].find(s => s.type === 'text/plain' &&"
    " document.getElementById(side).src.endsWith(s.textContent)).id]))"
  )


def stored(chromium, study: str, rater: str) -> list[dict]:
  name = json.dumps(f"yue_jax study {study} {rater}")
  return json.loads(chromium.run(f"localStorage.getItem({name})"))["items"]


def saved(folder: pathlib.Path) -> dict:
  (path,) = folder.glob("*.json")
  return json.loads(path.read_text())


def accessible(chromium) -> list[tuple[str, str]]:
  """Role and name of all that assistive technology is told."""
  return [
    (node["role"]["value"], node.get("name", {}).get("value", ""))
    for node in chromium.call("Accessibility.getFullAXTree")["nodes"]
    if not node["ignored"]
  ]


def problems(chromium) -> list:
  kinds = ("Runtime.exceptionThrown", "Log.entryAdded")
  return [e for e in chromium.events if e["method"] in kinds]


def test_answering_by_keyboard_alone(chromium, study, tmp_path):
  key, path = study
  downloads = tmp_path / "downloads"
  chromium.call(
    "Browser.setDownloadBehavior",
    behavior="allow",
    downloadPath=str(downloads),
  )
  begin(chromium, path, "anna")
  given = [
    dict(zip(ASPECTS, choices, strict=True))
    for choices in (
      ("left", "tie", "right"),
      ("right", "right", "tie"),
      ("tie", "left", "left"),
    )
  ]
  expected = []
  for number, choices in enumerate(given):
    assert text(chromium, "place") == f"Pair {number + 1} of 3"
    assert text(chromium, "status") == f"{number} of 3 pairs answered"
    assert chromium.run("document.activeElement.id") == "place"
    expected.append({**clips_playing(chromium), "choices": choices})
    play(chromium, "left")
    play(chromium, "right")
    assert chromium.run("document.getElementById('left').paused")
    for aspect, choice in choices.items():
      answer(chromium, aspect, choice)
    if number == 1:  # in the middle of a pair
      chromium.reload()
      assert text(chromium, "place") == "Pair 2 of 3"
    press_next(chromium)
  assert shown(chromium) == "end"
  assert chromium.run("document.activeElement.id") == "end-title"
  tab_to(chromium, "document.getElementById('save')")
  chromium.press("Enter")
  chromium.until(lambda: any(downloads.glob("*.json")))
  judged = read_results(list(downloads.glob("*.json")), key)
  result = saved(downloads)

  answers = result.pop("answers")
  assert result.pop("started") < result.pop("saved")
  assert result == {
    "format": "yue_jax study result 1",
    "study": key.study,
    "rater": "anna",
    "assigned": 3,
  }
  for item in answers:
    assert min(item.pop("heard").values()) > 0
    assert item.pop("seconds") > 0
    two = key.comparisons[item.pop("comparison")]
    assert sorted(two) == sorted((item["left"], item["right"]))
  assert answers == expected
  assert len({item["left"] for item in answers}) == 3
  scores = {"left": 1, "tie": 0.5, "right": 0}
  assert [
    list(row if left else 1 - row)
    for row, left in zip(judged.scores, judged.first_left, strict=True)
  ] == [[scores[c] for c in choices.values()] for choices in given]
  assert not problems(chromium)


def test_what_is_missing_is_said_and_gets_the_focus(chromium, study):
  begin(chromium, study[1], "boris")
  press_next(chromium)
  assert text(chromium, "problem") == "Please play song A and song B first."
  assert chromium.run("document.activeElement.id") == "left"
  play(chromium, "right")
  chromium.press("Tab", shift=True)
  tab_to(chromium, "document.getElementById('next')")
  chromium.press("Enter")
  assert text(chromium, "problem") == "Please play song A first."
  chromium.press(" ")
  chromium.until("document.getElementById('left').currentTime > 0.1")
  answer(chromium, "melody", "tie")
  press_next(chromium)
  assert text(chromium, "problem") == "2 questions are not answered yet."
  assert chromium.run("document.activeElement.name") == "musicality"
  assert chromium.run("document.querySelectorAll('.missing').length") == 2


def test_order_and_sides_are_the_raters_own(chromium, tmp_path):
  key = studies.make(
    tmp_path,
    systems=studies.SYSTEMS,
    songs=("a", "b", "c", "d"),
    aspects=("musicality",),
    per_rater=6,
    seed=next(SEEDS),
  )
  path = tmp_path / "study" / "page" / "study.html"
  chromium.open(path)
  orders, again, turned = {}, {}, set()
  pairs, sides = Counter(), Counter()
  raters = [f"r{i}" for i in range(12)]
  for rater in [*raters, "r0"]:
    chromium.run(
      f"document.getElementById('rater').value = '{rater}';"
      "document.getElementById('who').requestSubmit()"
    )
    items = stored(chromium, key.study, rater)
    (again if rater in orders else orders)[rater] = items
    chromium.run(
      f"localStorage.removeItem('yue_jax study {key.study} {rater}');"
      "document.getElementById('leave').click()"
    )
    chromium.run(
      f"localStorage.removeItem('yue_jax study {key.study} {rater}')"
    )
    systems = [
      (key.clips[i["left"]].system, key.clips[i["right"]].system) for i in items
    ]
    assert len({i["comparison"] for i in items}) == 6
    assert set(Counter(map(frozenset, systems)).values()) == {2}
    first_left = [
      key.comparisons[i["comparison"]][0] == i["left"] for i in items
    ]
    assert sum(first_left) == 3  # half of the pairs are turned round
    turned.update(
      zip((i["comparison"] for i in items), first_left, strict=True)
    )
    pairs.update(i["comparison"] for i in items)
    sides.update(left for left, _ in systems)
  assert again["r0"] == orders["r0"]
  distinct = {
    tuple((i["comparison"], i["left"]) for i in items)
    for items in orders.values()
  }
  assert len(distinct) == len(raters)
  assert len(turned) > 20  # most of the pairs both ways round
  assert len(pairs) == 12  # all of them are heard by somebody
  assert min(sides.values()) > 15  # of 78 / 3 = 26


def test_a_screen_reader_finds_names_for_everything(chromium, study):
  begin(chromium, study[1], "clara")
  chromium.call("Accessibility.enable")
  expected = {
    ("heading", "Pair 1 of 3"),
    ("progressbar", "0 of 3 pairs answered"),
    ("Audio", "Song A"),
    ("Audio", "Song B"),
    ("group", "Overall musicality All in all, which one is the better song?"),
  }
  chromium.until(lambda: expected <= set(accessible(chromium)))
  nodes = accessible(chromium)
  chromium.call("Accessibility.disable")
  radios = [name for role, name in nodes if role == "radio"]
  assert radios == ["A", "No difference", "B"] * len(ASPECTS)
  nameless = [
    node
    for node in nodes
    if node[0] in ("button", "radio", "textbox", "Audio") and not node[1]
  ]
  assert not nameless


def test_lyrics_are_shown_as_they_are(chromium, study):
  key, path = study
  begin(chromium, path, "dora")
  (song,) = {key.clips[clip].song for clip in clips_playing(chromium).values()}
  assert text(chromium, "lyrics") == f"[verse]\n</script> {song}"
  assert text(chromium, "name") == "A test & a title"


def test_clips_beside_the_page_are_played(chromium, tmp_path):
  studies.make(tmp_path, embedded=False, seed=next(SEEDS))
  path = tmp_path / "study" / "page" / "study.html"
  begin(chromium, path, "emil")
  play(chromium, "left")
  assert chromium.run("document.getElementById('left').duration") == 1.5
  for clip in (path.parent / "clips").iterdir():
    clip.unlink()
  chromium.reload()
  chromium.until("document.getElementById('problem').textContent")
  assert "cannot be played" in text(chromium, "problem")


def test_another_rater_begins_anew_and_the_first_goes_on(chromium, study):
  key, path = study
  begin(chromium, path, "fritz")
  answer(chromium, "melody", "right")
  tab_to(chromium, "document.getElementById('leave')")
  chromium.press("Enter")
  assert shown(chromium) == "begin"
  chromium.reload()
  assert shown(chromium) == "begin"
  begin(chromium, path, "gerda")
  assert not stored(chromium, key.study, "gerda")[0]["choices"]
  tab_to(chromium, "document.getElementById('leave')")
  chromium.press("Enter")
  begin(chromium, path, "fritz")
  assert stored(chromium, key.study, "fritz")[0]["choices"] == {
    "melody": "right"
  }
  assert chromium.run(
    "document.querySelector('input[name=melody]:checked').value === 'right'"
  )


def test_nothing_is_loaded_from_anywhere(chromium, study):
  begin(chromium, study[1], "hanna")
  asked = [
    event["params"]["request"]["url"].split(":")[0]
    for event in chromium.events
    if event["method"] == "Network.requestWillBeSent"
  ]
  assert set(asked) <= {"file", "data"}
  tried = chromium.call(
    "Runtime.evaluate",
    expression="fetch('data:,x').then(() => 'loaded', () => 'refused')",
    awaitPromise=True,
  )
  assert tried["result"]["value"] == "refused"

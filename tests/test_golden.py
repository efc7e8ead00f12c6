"""Documents equal those of YuE's released preprocessing, id for id.

The golden files were made by the released code from the same manifests; see
the README beside them.
"""

import contextlib
import importlib.util
import io
import pathlib

import numpy as np
import pytest

from yue_jax.encoding import RELEASED_PHRASES
from yue_jax.manifest import read_manifest
from yue_jax.references import MODE_TRACKS
from yue_jax.songs import TRACK_KEYS, track_from_row
from yue_jax.streams import annotate
from yue_jax.vocab import RELEASED, Stream

TOOL = pathlib.Path(__file__).parent.parent / "tools" / "build_documents.py"
ICL_MODES = {
  "icl_dual": "dual",
  "icl_mixture": "mixture",
  "icl_vocal": "vocal",
  "icl_inst": "backing",
}
SONGS = [str(number) for number in range(8)]


@pytest.fixture(scope="module")
def build(reference, tmp_path_factory):
  """build(kind, seed=0) -> arrays written by the tool."""
  spec = importlib.util.spec_from_file_location("build_documents", TOOL)
  tool = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(tool)
  out = tmp_path_factory.mktemp("documents") / "documents.npz"

  def run(kind, seed=0):
    with contextlib.redirect_stdout(io.StringIO()):
      tool.main(
        [
          str(manifest(reference, kind)),
          f"--tokenizer={reference / 'tokenizer.model'}",
          f"--kind={kind}",
          f"--seed={seed}",
          f"--out={out}",
        ]
      )
    with np.load(out, allow_pickle=False) as arrays:
      return dict(arrays)

  return run


def manifest(reference, kind):
  codebooks = 8 if kind.startswith("stage2") else 1
  return reference / "songs" / f"songs.q{codebooks}.jsonl"


def golden(reference, kind):
  name = kind if kind.startswith("stage2") else f"stage1_{kind}"
  with np.load(reference / "songs" / "golden" / f"{name}.npz") as arrays:
    return dict(arrays)


@pytest.mark.parametrize(
  "kind", ["plain", "cot", "stage2", "stage2_teacher_forcing"]
)
def test_every_id_of_every_song(build, reference, kind):
  ours, released = build(kind), golden(reference, kind)
  assert len(ours) == 2 * len(SONGS)
  for song in SONGS:
    ids, streams = ours[f"ids_{song}"], ours[f"streams_{song}"]
    np.testing.assert_array_equal(ids, released[f"ids_{song}"], err_msg=song)
    assert (ids.dtype, streams.dtype) == (np.int32, np.uint8)
    assert ids.shape == streams.shape


@pytest.mark.parametrize("kind", ICL_MODES)
def test_all_but_the_clip(build, reference, kind):
  ours, released = build(kind), golden(reference, kind)
  for song in SONGS:
    theirs = released[f"ids_{song}"]
    before, clip, after = split_at_clip(ours[f"ids_{song}"])
    released_before, _, released_after = split_at_clip(theirs)
    np.testing.assert_array_equal(before, released_before)
    np.testing.assert_array_equal(after, released_after)
    streams = ours[f"streams_{song}"]
    marked = streams == Stream.REFERENCE
    np.testing.assert_array_equal(ours[f"ids_{song}"][marked], clip)
    assert len(clip) > 0 or len(theirs) == 0


@pytest.mark.parametrize("kind", ICL_MODES)
def test_the_clip_is_a_stretch_of_the_right_tracks(build, reference, kind):
  names = MODE_TRACKS[ICL_MODES[kind]]
  ours = build(kind, seed=3)
  for _, row in read_manifest(manifest(reference, kind)):
    _, clip, _ = split_at_clip(ours[f"ids_{row['id']}"])
    if not len(clip):
      continue
    tracks = [
      track_from_row(row, reference / "songs", track=name, vocab=RELEASED)[0]
      for name in names
    ]
    frames = min(map(len, tracks))
    whole = np.stack([track[:frames] for track in tracks], axis=1)
    part = clip.reshape(-1, len(names)) - RELEASED.codebook(0).start
    # Song 3 keeps one section of 675 frames, too short for a longer clip.
    assert len(part) == 337 if row["id"] == "3" else 1000 <= len(part) <= 2000
    assert occurs_in(part, whole)


@pytest.mark.parametrize(
  "kind", ["plain", "cot", *ICL_MODES, "stage2", "stage2_teacher_forcing"]
)
def test_streams_are_found_from_ids_alone(build, reference, kind):
  audio = "window" if kind.startswith("stage2") else "dual"
  ours, released = build(kind), golden(reference, kind)
  for song in SONGS:
    ids, streams = ours[f"ids_{song}"], ours[f"streams_{song}"]
    found, of_released = (
      annotate(i, vocab=RELEASED, phrases=RELEASED_PHRASES, audio=audio)
      for i in (ids, released[f"ids_{song}"])
    )
    np.testing.assert_array_equal(found, streams, err_msg=song)
    if kind not in ICL_MODES:
      np.testing.assert_array_equal(of_released, streams, err_msg=song)


def test_clips_depend_on_the_seed_and_nothing_else(build):
  first, again, other = (build("icl_dual", seed=seed) for seed in (1, 1, 2))
  for key in first:
    np.testing.assert_array_equal(first[key], again[key])
  assert any(not np.array_equal(first[key], other[key]) for key in first)


def test_tracks_of_the_manifest_have_names(reference):
  _, row = next(read_manifest(manifest(reference, "cot")))
  assert set(TRACK_KEYS.values()) <= set(row)


def split_at_clip(ids):
  """ids -> (up to <xcodec> of the clip, clip, from its <EOA> on)."""
  if not len(ids):
    return ids, ids, ids
  start = int(np.flatnonzero(ids == RELEASED.xcodec)[0]) + 1
  end = start + int(np.flatnonzero(ids[start:] == RELEASED.eoa)[0])
  return ids[:start], ids[start:end], ids[end:]


def occurs_in(part, whole):
  """Whether the rows of `part` are consecutive rows of `whole`."""
  candidates = range(len(whole) - len(part) + 1)
  return any(
    np.array_equal(part, whole[start : start + len(part)])
    for start in candidates
  )

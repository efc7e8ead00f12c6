"""A folder of songs becomes codes and a manifest; bad ones are listed."""

import dataclasses
import json
import shutil
import sys

import numpy as np
import pytest
import soundfile

from tests import sounds
from tools import encode_audio
from yue_jax.audio import encode, mel_codec, rows, separation, stems
from yue_jax.audio.mel_codec import MelCodec
from yue_jax.audio.reading import read_audio
from yue_jax.audio.rows import RowSettings
from yue_jax.errors import SongError
from yue_jax.songs import Rules, song_from_row
from yue_jax.vocab import Vocab

SEGMENTS = [
  {"start": 0.0, "end": 1.0, "label": "intro"},
  {"start": 1.0, "end": 3.0, "label": "verse"},
]
VOCAB = Vocab.small(40, codes=16, codebooks=2)


def random_codec() -> MelCodec:
  rng = np.random.default_rng(0)
  return MelCodec(
    np.full(20, -5, np.float32),
    rng.normal(size=(2, 16, 20)).astype(np.float32),
    used=16,
  )


def write_song(folder, *, seed=0, seconds=3.0, rate=16_000, **files):
  """A song in a folder of its own; `files` by name replace or, None, omit."""
  folder.mkdir(parents=True)
  texts = {
    "lyrics.txt": "[verse]\nla li\n",
    "structure.json": json.dumps({"segments": SEGMENTS}),
    "tags.txt": "pop airy\n",
    **{name.replace("__", "."): text for name, text in files.items()},
  }
  for name, text in texts.items():
    if text is not None:
      (folder / name).write_text(text)
  for number, name in enumerate(("vocals.wav", "accompaniment.wav")):
    wave = sounds.voice(seconds, seed=10 * seed + number)
    soundfile.write(folder / name, wave, rate)
  return folder


@pytest.fixture
def root(tmp_path):
  mel_codec.save(random_codec(), tmp_path / "codec", {})
  return tmp_path


def run(root, *flags):
  words = [root / "songs", f"--codec={root / 'codec'}", f"--out={root / 'out'}"]
  encode_audio.main([str(word) for word in (*words, *flags)])


def manifest(root):
  lines = (root / "out/songs.jsonl").read_text().splitlines()
  return [json.loads(line) for line in lines]


def rejected(root):
  lines = (root / "out/rejected.jsonl").read_text().splitlines()
  return {r["id"]: r["reason"] for r in map(json.loads, lines)}


def test_a_song_becomes_a_row_that_songs_are_made_of(root, capsys):
  folder = write_song(root / "songs/album/one")
  run(root)
  assert "1 songs" in capsys.readouterr().out
  (row,) = manifest(root)
  song = song_from_row(row, root / "out", vocab=VOCAB, rules=Rules())
  assert song.id == "album/one"
  assert song.tags == "pop airy"
  assert song.lyrics == "[intro]\n\n\n[verse]\nla li\n\n"
  assert [(s.label, s.start, s.end) for s in song.sections] == [
    ("intro", 0, 50),
    ("verse", 50, 150),
  ]
  waves = [
    read_audio(folder / name, RowSettings().limits).samples
    for name in ("vocals.wav", "accompaniment.wav")
  ]
  expected = random_codec().encode([*waves, waves[0] + waves[1]])
  for track, codes in zip(
    (song.vocal, song.backing, song.mixture), expected, strict=True
  ):
    np.testing.assert_array_equal(track, codes)


def test_tracks_are_trimmed_to_the_shortest(root):
  folder = write_song(root / "songs/a")
  wave = sounds.voice(3.15, seed=0)
  soundfile.write(folder / "vocals.wav", wave, 16_000)
  run(root)
  (row,) = manifest(root)
  assert row["audio_length_in_sec"] == 3.0
  assert np.load(root / "out" / row["vocals_codec"]).shape == (2, 150)


def test_a_fingerprint_is_of_names_and_contents(tmp_path):
  folder = write_song(tmp_path / "songs/a")

  def now():
    (song,) = stems.find_songs(tmp_path / "songs")
    return rows.source_fingerprint(song, RowSettings())

  seen = [now()]
  (folder / "lyrics.txt").rename(folder / "lyrics.json")
  seen.append(now())
  (folder / "accompaniment.wav").rename(folder / "mix.wav")
  seen.append(now())
  (folder / "tags.txt").write_text("pop")
  seen.append(now())
  assert len(set(seen)) == 4
  (folder / "vocals.wav").rename(folder / "Voice.wav")  # the same role
  assert now() == seen[-1]


def test_both_layouts_are_found(root):
  write_song(root / "songs/a")
  flat = write_song(root / "flat")
  renamed = {
    "vocals.wav": "b 1.5.Vocals.wav",
    "accompaniment.wav": "b 1.5.no_vocals.wav",
    "lyrics.txt": "b 1.5.txt",
    "structure.json": "b 1.5.json",
    "tags.txt": "b 1.5.tags.txt",
  }
  for old, new in renamed.items():
    shutil.move(flat / old, root / "songs" / new)
  shutil.copy(root / "songs/a/vocals.wav", root / "songs/b 1.5.wav")
  found = stems.find_songs(root / "songs")
  assert [song.id for song in found] == ["a", "b 1.5"]
  assert found[1].files.keys() == {
    *("vocal", "backing", "mixture", "lyrics", "structure", "tags")
  }
  run(root)
  assert [row["id"] for row in manifest(root)] == ["a", "b 1.5"]


def test_songs_that_cannot_be_used_are_listed(root):
  songs = root / "songs"
  write_song(songs / "good")
  write_song(songs / "no words", lyrics__txt=None)
  write_song(songs / "no tags", tags__txt=None)
  write_song(songs / "no times", structure__json=None)
  write_song(songs / "two lyrics", lyrics__lrc="[00:01.00][verse]")
  write_song(songs / "short", seconds=0.5)
  write_song(songs / "bad json", structure__json="{")
  write_song(songs / "other words", lyrics__txt="[verse]\na\n[chorus]\nb\n")
  write_song(songs / "bad tags", tags__txt=None, tags__json="[1]")
  soundfile.write(
    write_song(songs / "silent") / "vocals.wav", np.zeros(48_000), 16_000
  )
  soundfile.write(
    write_song(songs / "lengths") / "vocals.wav",
    sounds.voice(2.0, seed=0),
    16_000,
  )
  (write_song(songs / "lone") / "accompaniment.wav").unlink()
  vocals = write_song(songs / "aac") / "vocals.wav"
  vocals.rename(vocals.with_suffix(".m4a"))
  (songs / "readme.txt").write_text("my songs")
  run(root)
  assert rejected(root) == {
    "no words": "no_lyrics",
    "no tags": "no_tags",
    "no times": "no_times",
    "two lyrics": "ambiguous",
    "short": "too_short",
    "bad json": "bad_structure",
    "other words": "section_count",
    "bad tags": "bad_tags",
    "silent": "silent",
    "lengths": "track_difference",
    "lone": "missing_stem",
    "aac": "wrong_extension",
    "readme": "no_sound",
  }
  assert [row["id"] for row in manifest(root)] == ["good"]


def test_no_song_at_all_is_an_error(root):
  write_song(root / "songs/a", lyrics__txt=None)
  with pytest.raises(SystemExit, match=r"0 songs.*no_lyrics.*rejected.jsonl"):
    run(root)
  (root / "empty").mkdir()
  with pytest.raises(FileNotFoundError, match="no song in"):
    stems.find_songs(root / "empty")


def test_finished_songs_are_not_encoded_again(root, capsys, monkeypatch):
  for number in range(5):
    write_song(root / f"songs/{number}", seed=number)
  run(root, "--songs-at-once=2")
  whole = (root / "out/songs.jsonl").read_bytes()
  assert "5 of them encoded now" in capsys.readouterr().out

  shutil.rmtree(root / "out")
  calls = []
  load = rows.load_song

  def interrupted(song, settings):
    calls.append(song.id)
    if song.id == "4":
      raise KeyboardInterrupt
    return load(song, settings)

  monkeypatch.setattr(encode, "load_song", interrupted)
  with pytest.raises(SystemExit) as caught:
    run(root, "--songs-at-once=2")
  assert caught.value.code == 130
  there = len(manifest(root))
  assert 0 < there < 5
  monkeypatch.undo()
  run(root, "--songs-at-once=2")
  assert f"{5 - there} of them encoded now" in capsys.readouterr().out
  assert (root / "out/songs.jsonl").read_bytes() == whole

  (root / "songs/1/tags.txt").write_text("rock")
  (root / "out/codes/2.vocal.npy").unlink()
  shutil.rmtree(root / "songs/3")
  run(root)
  assert "4 songs, 0.003333 hours, 2 of them" in capsys.readouterr().out
  assert [row["genres"] for row in manifest(root)] == [
    *("pop airy", "rock", "pop airy", "pop airy")
  ]


def test_a_folder_has_one_codec(root):
  write_song(root / "songs/a")
  run(root)
  shutil.rmtree(root / "codec")
  codec = random_codec()
  other = dataclasses.replace(codec, mean=codec.mean + 1)
  mel_codec.save(other, root / "codec", {})
  with pytest.raises(SystemExit, match="codes of the codec"):
    run(root)


def test_music_needs_no_lyrics_and_no_stems(root):
  (root / "songs").mkdir()
  wave = sounds.voice(2.0, seed=0)
  soundfile.write(root / "songs/a.ogg", wave, 16_000)
  (root / "songs/a.tags.json").write_text('{"genres": ["x", "y"]}')
  run(root, "--content=music", "--language=en")
  (row,) = manifest(root)
  assert row.keys() >= {"codec", "genres", "language"}
  assert row["genres"] == "x y"
  assert not row.keys() & {"vocals_codec", "splitted_lyrics"}


SEPARATOR = """
import pathlib, shutil, sys
source, out = sys.argv[1:]
folder = pathlib.Path(out) / "model" / "a"
folder.mkdir(parents=True)
shutil.copy(source, folder / "vocals.wav")
shutil.copy(source, folder / "no_vocals.wav")
"""


def test_stems_by_a_command(root):
  folder = write_song(root / "songs/it's a")
  (folder / "vocals.wav").rename(folder / "mix.wav")
  (folder / "accompaniment.wav").unlink()
  script = root / "separate it.py"
  script.write_text(SEPARATOR)
  command = f"{sys.executable} '{script}' {{input}} {{output}}"
  run(root, "--separate", command)
  (row,) = manifest(root)
  codes = [
    np.load(root / "out" / row[key])
    for key in ("codec", "vocals_codec", "instrumental_codec")
  ]
  assert (codes[0] == codes[1]).all()
  assert (codes[0] == codes[2]).all()


@pytest.mark.parametrize(
  ("script", "message"),
  [
    ("import sys; sys.exit('no weights')", "code 1: no weights"),
    ("", r"wrote \[\], expected a vocals.wav"),
  ],
)
def test_a_separator_that_fails(tmp_path, script, message):
  (tmp_path / "s.py").write_text(script)
  (tmp_path / "out").mkdir()
  command = f"{sys.executable} {tmp_path / 's.py'} {{input}} {{output}}"
  with pytest.raises(SongError, match=message):
    separation.separate(command, tmp_path / "a.wav", tmp_path / "out")


def test_a_separator_must_be_told_of_both_paths():
  with pytest.raises(ValueError, match=r"has no \{output\}"):
    RowSettings(separate="demucs {input}")


def test_clipped_samples_are_said(root, capsys):
  folder = write_song(root / "songs/a")
  wave = sounds.voice(3.0, seed=0)
  wave[1_000:1_010] = 1.0
  soundfile.write(folder / "vocals.wav", wave, 16_000)
  run(root)
  assert "1 with clipped samples" in capsys.readouterr().out
  assert manifest(root)[0]["clipped"] == {"vocal": 10 / 48_000}
  run(root, "--max-clipped=0.5")  # another setting, another fingerprint
  assert "1 of them encoded now" in capsys.readouterr().out

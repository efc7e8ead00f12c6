"""The small world, audible: what is heard is what the codes say."""

import numpy as np
import pytest
import soundfile

from tests.tool_modules import load_tool
from yue_jax.sheets import align, read
from yue_jax.tokenizer import Tokenizer
from yue_jax.world import accompaniment, corpus, folder, rendering, singer
from yue_jax.world.config import WorldConfig
from yue_jax.world.generator import World

make_world_audio = load_tool("make_world_audio")
render_world = load_tool("render_world")
WORLD = World(WorldConfig(vocal_noise=0.0, backing_noise=0.0))
CFG = WORLD.cfg
FRAME = 1600
RATE = rendering.RATE


def song(seed=0):
  (drawn,) = WORLD.draw(np.random.default_rng(seed), songs=1)
  return drawn


def vocal_code(voice: int, name: str, held: int) -> int:
  return voice * CFG.singer_codes + 2 * WORLD.syllables.index(name) + held


def sung(voice: int, name: str, frames: int = 6) -> np.ndarray:
  """One syllable, without the consonant and the fade at its end."""
  codes = np.full(frames, vocal_code(voice, name, 1))
  sound = singer.sing(WORLD, codes, rate=RATE, frame=FRAME)
  return sound[FRAME : -FRAME // 2]


def spectrum(sound: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Frequencies in Hz and magnitudes."""
  windowed = sound * np.hanning(len(sound))
  return np.fft.rfftfreq(len(sound), 1 / RATE), np.abs(np.fft.rfft(windowed))


def measured_pitch(sound: np.ndarray) -> float:
  """Hz, by the first high peak of the autocorrelation below 600 Hz."""
  power = np.abs(np.fft.rfft(sound, 2 * len(sound))) ** 2
  echo = np.fft.irfft(power)[: RATE // 70]
  echo[: RATE // 600] = 0
  first = np.flatnonzero(echo > 0.85 * echo.max())[0]
  return RATE / (first + echo[first : first + 10].argmax())


@pytest.mark.parametrize("voice", range(CFG.singers))
@pytest.mark.parametrize("name", ["di", "so", "ba", "nu"])
def test_a_syllable_is_sung_at_its_pitch(voice, name):
  hertz = singer.pitch(voice, WORLD.syllables.index(name))
  off = 12 * np.log2(measured_pitch(sung(voice, name)) / hertz)
  assert abs(off) < 0.5  # semitones; vibrato is a fifth of one


def test_singers_differ():
  pitches = [singer.pitch(voice, 0) for voice in range(CFG.singers)]
  assert sorted(set(pitches)) == pitches


@pytest.mark.parametrize(
  ("name", "low", "high"),
  [
    ("ba", 730, None),
    ("re", 530, 1840),
    ("mi", 270, 2290),
    ("nu", 300, None),
  ],
)
def test_vowels_have_their_formants(name, low, high):
  """The loudest harmonics below and above 1300 Hz are next to F1 and F2."""
  hertz, magnitude = spectrum(sung(0, name))
  next_to = singer.pitch(0, WORLD.syllables.index(name)) / 2 + 40
  for formant, part in ((low, hertz < 1300), (high, hertz > 1300)):
    if formant is not None:
      loudest = hertz[part][magnitude[part].argmax()]
      assert abs(loudest - formant) < next_to


def test_an_onset_has_a_consonant():
  """s is noise above 4 kHz, before the vowel; the sustained frame has none."""
  with_s, without = (
    singer.sing(
      WORLD,
      np.array([vocal_code(0, "so", held), vocal_code(0, "so", 1)]),
      rate=RATE,
      frame=FRAME,
    )[: FRAME // 2]
    for held in (0, 1)
  )
  high = [
    np.square(magnitude[hertz > 4000]).sum()
    for hertz, magnitude in map(spectrum, (with_s, without))
  ]
  assert high[0] > 30 * high[1]


def test_syllables_are_the_runs_of_their_codes():
  a, b = vocal_code(1, "di", 0), vocal_code(1, "so", 0)
  codes = np.array([a, a + 1, a + 1, a, b + 1, b + 1, CFG.vocal_codes, b])
  di, so = WORLD.syllables.index("di"), WORLD.syllables.index("so")
  assert list(singer.syllables(WORLD, codes)) == [
    (1, di, 0, 3, True),
    (1, di, 3, 4, True),
    (1, so, 4, 6, False),
    (1, so, 7, 8, True),
  ]


def test_chords_are_the_triads_of_the_key():
  names = [[note % 12 for note in accompaniment.chord_notes(c)] for c in (0, 1)]
  assert names == [[0, 4, 7], [2, 5, 9]]  # C major, D minor
  assert accompaniment.chord_notes(7) == (60, 64, 67)


def test_a_chord_sounds_its_notes():
  """The notes of the chord, and none of those between, are heard."""
  codes = np.array([CFG.vocal_codes + 1 * CFG.beats, 0, 0, 0, 0, 0])
  sound = accompaniment.play(WORLD, codes, rate=RATE, frame=FRAME)
  hertz, magnitude = spectrum(sound[800:])
  level = {
    note: magnitude[np.abs(hertz - 440 * 2 ** ((note - 69) / 12)).argmin()]
    for note in range(50, 58)
  }
  assert min(level[n] for n in (50, 53, 57)) > 5 * max(
    level[n] for n in (51, 54, 55)
  )


def test_codes_of_the_other_track_are_silence():
  frames = 5
  backing = np.full((1, frames), CFG.vocal_codes)
  vocal = np.zeros((1, frames), int)
  stems = rendering.render(WORLD, backing, vocal)
  assert not np.any(stems.mixture)


def test_rendering_is_the_same_each_time_and_never_clipped():
  for seed in range(3):
    drawn = song(seed)
    one, two = (
      rendering.render(WORLD, drawn.vocal, drawn.backing) for _ in range(2)
    )
    for ours, theirs in zip(one, two, strict=True):
      np.testing.assert_array_equal(ours, theirs)
      assert ours.shape == (drawn.frames * FRAME,)
      assert np.sqrt(np.mean(np.square(ours))) > 0.01
    loudest = max(np.abs(sound).max() for sound in (*one, one.mixture))
    assert loudest == pytest.approx(rendering.PEAK, rel=1e-5)


def test_bad_tracks_are_refused():
  codes = np.zeros((8, 4), int)
  with pytest.raises(ValueError, match="as many frames"):
    rendering.render(WORLD, codes, codes[:, 1:])
  with pytest.raises(ValueError, match="expected at least"):
    rendering.render(WORLD, codes, codes, frame_seconds=1e-6)


def test_a_folder_is_what_people_have(tmp_path):
  """Its lyrics and structure are those of the song, in either form."""
  drawn = song()
  for lrc in (False, True):
    folder.write_song(WORLD, drawn, tmp_path / str(lrc), lrc=lrc)
  sounds = [
    soundfile.read(tmp_path / str(lrc) / name)
    for lrc in (False, True)
    for name in folder.STEMS
  ]
  seconds = drawn.frames * rendering.FRAME_SECONDS
  for samples, rate in sounds:
    assert len(samples) / rate == pytest.approx(seconds)
  np.testing.assert_array_equal(sounds[0][0], sounds[2][0])
  structure = read.read_structure(tmp_path / "False/structure.json")
  timed = read.read_lyrics(tmp_path / "True/lyrics.lrc")
  plain = read.read_lyrics(tmp_path / "False/lyrics.txt")
  for found in (
    align.sections(plain, structure, seconds),
    align.sections(timed, None, seconds),
    align.sections(timed, structure, seconds),
  ):
    assert [section.label for section in found] == [
      CFG.labels[label] for label in drawn.labels
    ]
    assert [" ".join(section.lines).split() for section in found] == [
      [WORLD.words[word] for word in words] for words in drawn.words
    ]
    ends = [section.end for section in found]
    np.testing.assert_allclose(ends, drawn.bounds[1:] * 0.1, atol=0.01)


def test_tool_makes_the_same_folder_each_time(tmp_path):
  for name in ("a", "b"):
    model = f"--tokenizer={tmp_path}/{name}.model"
    arguments = [str(tmp_path / name), "--songs=2", "--sections=1", model]
    make_world_audio.main(arguments)
  files = sorted(p.relative_to(tmp_path / "a") for p in tmp_path.glob("a/*/*"))
  assert len(files) == 10
  for file in files:
    content = (tmp_path / "a" / file).read_bytes()
    assert content == (tmp_path / "b" / file).read_bytes()
  tokenizer = Tokenizer(tmp_path / "a.model")
  assert len(tokenizer.encode(f"{WORLD.words[0]}\n")) == 1


def test_generated_songs_are_rendered_beside_the_true_ones(tmp_path):
  root = tmp_path / "world"
  root.mkdir()
  corpus.write_world(WORLD, root / "world.json")
  true = [song(0), song(1)]
  list(corpus.write_songs(WORLD, true, root / "heldout"))
  places = {"heldout-000000": ".", "other": "stage2", "unfinished": "stage1"}
  for name, place in places.items():
    codes = tmp_path / "songs" / name / place
    codes.mkdir(parents=True)
    np.save(codes / "vtrack.npy", true[0].vocal)
    np.save(codes / "itrack.npy", true[0].backing)
  arguments = [tmp_path / "songs", f"--world={root}", f"--out={tmp_path}/wav"]
  render_world.main(list(map(str, arguments)))
  names = sorted(path.name for path in (tmp_path / "wav").iterdir())
  assert names == [
    "heldout-000000.true.wav", "heldout-000000.wav", "other.wav",
    "unfinished.wav",
  ]  # fmt: skip
  samples = [(tmp_path / "wav" / name).read_bytes() for name in names]
  assert len(set(samples)) == 1


def test_a_folder_without_songs_is_refused(tmp_path):
  corpus.write_world(WORLD, tmp_path / "world.json")
  arguments = [tmp_path, f"--world={tmp_path}", f"--out={tmp_path}/wav"]
  with pytest.raises(SystemExit, match="holds no songs"):
    render_world.main(list(map(str, arguments)))

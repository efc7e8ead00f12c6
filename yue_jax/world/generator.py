"""The process that songs of the small world are drawn from.

One section, with two words of two syllables each and chords of four frames:

    lyrics    "[verse]\\nkoti\\nmeda\\n\\n", seen in the text
    words     koti           meda
    syllable  ko    ti       me       da
    frame     0  1  2  3  4  5  6  7  8  9
    vocal     O  s  O  s  s  O  s  s  O  s  <EOA>     O onset, s sustained
    chord     C1          C5             C2
    beat      0  1  2  3  0  1  2  3  0  0            frame_in_chord % 4
    mixture   b  v  v  b  b  v  v  v  v  b            v vocal code, b backing

Written out:

1. A song has a genre; each section a label and words. All are uniform, except
   that inside a section no word follows itself. Genre, labels and words are
   the text of the song.
2. Its singer is uniform, and nowhere in the text.
3. Vocal: each syllable lasts a uniform number of frames. Its clean code is
   `singer * 2Y + 2 * syllable`, plus 1 after the first frame, with Y
   syllables: singer s + 1 sings what singer s sings, 2Y codes higher. With
   probability `vocal_noise` any vocal code replaces it. The section ends with
   its last syllable.
4. Backing: each section starts the progression of (genre, label) anew, and
   goes round it; each chord lasts a uniform number of frames. The clean code
   is `vocal_codes + chord * beats + frame_in_chord % beats`; with probability
   `backing_noise` any backing code replaces it. The end of the section cuts it.
5. Mixture: the backing code with probability `masking[frame_in_chord % beats]`,
   else the vocal code.
6. That was codebook 0. Codebook k of every track is
   `(a_k * c + b_k) % codes` where c is its codebook-0 code, except that with
   probability `residual_noise` it is any code.

Whatever is uniform here is uniform over a finite set, so that `floors` can add
up every way in which a song could have come about.
"""

import dataclasses
import functools
import itertools
import math

import numpy as np

from yue_jax.world.config import WorldConfig

_CONSONANTS = "bdfghjklmnprstvz"
_VOWELS = "aeiou"
_GENRES = (
  "folk",
  "jazz",
  "rock",
  "soul",
  "funk",
  "punk",
  "blues",
  "swing",
  "waltz",
  "techno",
  "gospel",
  "grunge",
)


@dataclasses.dataclass(frozen=True, eq=False)
class WorldSong:
  """One song: what its text says, and the codes of its three tracks.

  Attributes:
    genre: index of the tag.
    labels: (sections,) index of each section's label.
    words: (sections, words_per_section) word indices.
    bounds: (sections + 1,) frames at which sections start, and the end.
    vocal: (codebooks, frames) codes; so are `backing` and `mixture`.
  """

  genre: int
  labels: np.ndarray
  words: np.ndarray
  bounds: np.ndarray
  vocal: np.ndarray
  backing: np.ndarray
  mixture: np.ndarray

  @property
  def frames(self) -> int:
    return int(self.bounds[-1])


class World:
  """The fixed tables of a world, and songs drawn with them.

  Attributes:
    cfg: the parameters.
    spelling: (words, syllables_per_word) syllables of each word.
    progressions: (genres, labels, progression) chords.
    scale, shift: (codebooks,) codebook k is `scale[k] * c + shift[k]`; the
      scale is coprime to the number of codes, so that no two codes coincide.
  """

  def __init__(self, cfg: WorldConfig):
    self.cfg = cfg
    spelling, progressions, residuals = (
      np.random.default_rng(child)
      for child in np.random.SeedSequence(cfg.seed).spawn(3)
    )
    self.spelling = _draw_spelling(cfg, spelling)
    self.progressions = progressions.integers(
      cfg.chords, size=(cfg.genres, len(cfg.labels), cfg.progression)
    )
    self.scale, self.shift = _draw_residuals(cfg, residuals)

  @functools.cached_property
  def words(self) -> tuple[str, ...]:
    """The words as written: the names of their syllables, joined."""
    names = self.syllables
    return tuple("".join(names[y] for y in row) for row in self.spelling)

  @functools.cached_property
  def syllables(self) -> tuple[str, ...]:
    """How syllables are written: a consonant, a vowel, and so on in turn."""
    return tuple(_syllable_names(self.cfg.syllables))

  @functools.cached_property
  def genres(self) -> tuple[str, ...]:
    """The tags: known names first, then "genre12" and so on."""
    extra = (f"genre{i}" for i in itertools.count(len(_GENRES)))
    return tuple(
      itertools.islice(itertools.chain(_GENRES, extra), self.cfg.genres)
    )

  def draw(self, rng: np.random.Generator, *, songs: int) -> list[WorldSong]:
    """Draws songs; the result depends on the generator and the number."""
    cfg = self.cfg
    shape = (songs, cfg.sections)
    genre = rng.integers(cfg.genres, size=songs)
    labels = rng.integers(len(cfg.labels), size=shape)
    words = _draw_words(cfg, rng, shape)
    singer = rng.integers(cfg.singers, size=songs)

    held = rng.choice(cfg.durations, size=(*shape, cfg.units_per_section))
    lengths = held.sum(axis=-1)
    frames_of_song = lengths.sum(axis=-1)
    vocal = self._sing(rng, words, held, np.repeat(singer, frames_of_song))
    backing, beat = self._play(rng, genre, labels, lengths)
    masked = rng.random(len(beat)) < np.asarray(cfg.masking)[beat]
    tracks = [
      self._add_codebooks(rng, track)
      for track in (vocal, backing, np.where(masked, backing, vocal))
    ]

    cuts = np.cumsum(frames_of_song)[:-1]
    bounds = np.pad(np.cumsum(lengths, axis=-1), ((0, 0), (1, 0)))
    columns = (np.split(track, cuts, axis=1) for track in tracks)
    rows = zip(genre.tolist(), labels, words, bounds, *columns, strict=True)
    return [WorldSong(*row) for row in rows]

  def _sing(self, rng, words, held, singer_by_frame) -> np.ndarray:
    """Codebook 0 of the vocal of all songs, one after the other."""
    cfg = self.cfg
    unit, frame = _spread(held.ravel())
    syllable = self.spelling[words].ravel()[unit]
    clean = singer_by_frame * cfg.singer_codes + 2 * syllable + (frame > 0)
    return _disturb(rng, clean, cfg.vocal_noise, range(cfg.vocal_codes))

  def _play(self, rng, genre, labels, lengths) -> tuple[np.ndarray, np.ndarray]:
    """Codebook 0 of the backing of all songs, and the beat of each frame."""
    cfg = self.cfg
    enough = math.ceil(cfg.max_section_frames / min(cfg.chord_durations))
    held = rng.choice(cfg.chord_durations, size=(*labels.shape, enough))
    ends = np.minimum(np.cumsum(held, axis=-1), lengths[..., None])
    chord, frame = _spread(np.diff(ends, axis=-1, prepend=0).ravel())
    around = np.arange(enough) % cfg.progression
    chords = self.progressions[genre[:, None], labels][..., around].ravel()
    beat = frame % cfg.beats
    clean = cfg.vocal_codes + chords[chord] * cfg.beats + beat
    codes = range(cfg.vocal_codes, cfg.codes)
    return _disturb(rng, clean, cfg.backing_noise, codes), beat

  def residuals(self, codebook_0: np.ndarray) -> np.ndarray:
    """Clean codes of all codebooks, (..., F) -> (codebooks, ..., F)."""
    broadcast = (-1,) + (1,) * codebook_0.ndim
    scale, shift = self.scale.reshape(broadcast), self.shift.reshape(broadcast)
    return (scale * codebook_0 + shift) % self.cfg.codes

  def _add_codebooks(self, rng, codebook_0) -> np.ndarray:
    """(F,) -> (codebooks, F) with noise in every codebook but the first."""
    codes = self.residuals(codebook_0)
    codes[1:] = _disturb(
      rng, codes[1:], self.cfg.residual_noise, range(self.cfg.codes)
    )
    return codes.astype(np.int16)


def _spread(spans: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Frames of consecutive spans: which span, and which frame of it.

  Example: [2, 0, 3] -> [0, 0, 2, 2, 2], [0, 1, 0, 1, 2].
  """
  span = np.repeat(np.arange(len(spans)), spans)
  starts = np.cumsum(spans) - spans
  return span, np.arange(len(span)) - starts[span]


def _disturb(rng, clean: np.ndarray, noise: float, codes: range) -> np.ndarray:
  """Replaces a share `noise` of the codes by any of `codes`."""
  hit = rng.random(clean.shape) < noise
  other = rng.integers(codes.start, codes.stop, size=clean.shape)
  return np.where(hit, other, clean)


def _draw_words(cfg: WorldConfig, rng, shape) -> np.ndarray:
  """(*shape, words_per_section), where no word follows itself.

  A step of 1 to W - 1 around the ring of W words reaches each other word
  once, so that uniform steps give uniform words.
  """
  words = rng.integers(cfg.words, size=(*shape, cfg.words_per_section))
  if cfg.words_per_section > 1:
    following = words[..., 1:]
    following[:] = rng.integers(1, cfg.words, size=following.shape)
  return np.cumsum(words, axis=-1) % cfg.words


def _draw_spelling(cfg: WorldConfig, rng) -> np.ndarray:
  letters = (cfg.syllables,) * cfg.syllables_per_word
  numbers = rng.choice(math.prod(letters), cfg.words, replace=False)
  return np.stack(np.unravel_index(numbers, letters), axis=-1)


def _draw_residuals(cfg: WorldConfig, rng) -> tuple[np.ndarray, np.ndarray]:
  coprime = [a for a in range(1, cfg.codes) if math.gcd(a, cfg.codes) == 1]
  scale = rng.choice(coprime, size=cfg.codebooks)
  shift = rng.integers(cfg.codes, size=cfg.codebooks)
  scale[0], shift[0] = 1, 0
  return scale, shift


def _syllable_names(count: int) -> list[str]:
  """`count` names of equal length, so that joined names can be told apart."""
  letters = [_CONSONANTS, _VOWELS]
  while math.prod(map(len, letters)) < count:
    letters.append(_VOWELS if len(letters) % 2 else _CONSONANTS)
  every = ["".join(parts) for parts in itertools.product(*letters)]
  # 7 is coprime to 16^n 5^m, hence no name twice, and neighbours differ
  return [every[7 * i % len(every)] for i in range(count)]

"""All metrics of a folder of results, as far as it has what they need.

A measure is named by a path, such as lyrics/word_error_rate, and is an
estimate with an interval. What a metric cannot be computed of is not left out
in silence: songs are rejected, metrics refused, both with the reason.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
from typing import Any

import numpy as np

from yue_jax.codec import FRAME_RATE
from yue_jax.evaluation import distributions, estimates, lyric_errors
from yue_jax.evaluation.alignment import alignment
from yue_jax.evaluation.embeddings import Embeddings
from yue_jax.evaluation.estimates import Estimate
from yue_jax.evaluation.memorisation import (
  Copying,
  against_null,
  copied_from_references,
  copying,
)
from yue_jax.evaluation.ngrams import Index
from yue_jax.evaluation.results import Results
from yue_jax.evaluation.vocal_range import vocal_range
from yue_jax.tracks import FILES

TIME_STEP = 30.0  # seconds, as in the paper's figure 12
# Which way is better; of the others, neither is.
LOWER = ("lyrics/", "frechet/", "gaussian_kl/", "class_kl/")
HIGHER = ("alignment/",)


@dataclasses.dataclass(frozen=True)
class Training:
  """One track of training songs, and how unrelated songs compare with it.

  Attributes:
    index: of the training songs.
    unrelated: what is in the index of real songs that are not, by song.
    rejected: those of them that could not be compared.
  """

  index: Index
  unrelated: dict[str, Copying]
  rejected: list[dict[str, str]]


def training_songs(
  indexes: Mapping[str, Index], unrelated: Results
) -> dict[str, Training]:
  """Compares unrelated songs with training songs, once for all systems.

  Raises:
    ValueError: some of them are training songs, or none can be compared.
  """
  training = {}
  for track, index in indexes.items():
    codes = unrelated.codes(track)
    if both := sorted(codes.keys() & set(index.names)):
      raise ValueError(
        f"{len(both)} songs of {unrelated.root} are in the index, {both[:3]};"
        " the null needs songs that nobody was trained on"
      )
    path = f"memorisation/{track}/null"
    compared = _of_songs(path, codes, lambda c, i=index: copying(i, c))
    training[track] = Training(index, *compared)
  return training


@dataclasses.dataclass
class Evaluation:
  """What is known of one system.

  Attributes:
    name: of its folder.
    measures: estimates by path.
    samples: values song by song, for figures: path -> song -> value.
    by_size: Fréchet distances by sample size, by model.
    over_time: (edges, error rates), if sections have times.
    rejected: songs left out of a metric: metric, song, reason.
    refused: metrics that were not computed: metric, reason.
  """

  name: str
  measures: dict[str, Estimate] = dataclasses.field(default_factory=dict)
  samples: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
  by_size: dict[str, distributions.BySize] = dataclasses.field(
    default_factory=dict
  )
  over_time: tuple[list[float], list[Estimate | None]] | None = None
  rejected: list[dict[str, str]] = dataclasses.field(default_factory=list)
  refused: list[dict[str, str]] = dataclasses.field(default_factory=list)

  def to_json(self) -> dict[str, Any]:
    return dataclasses.asdict(self)


def evaluate(
  results: Results,
  reference: Results,
  *,
  training: Mapping[str, Training],
  ngram: int,
  time_step: float = TIME_STEP,
) -> Evaluation:
  """Computes every metric that the folders have material for.

  Args:
    results: of a system.
    reference: real songs, partners of the results where names are equal.
    training: what training songs are known by, by track; may be empty.
    ngram: frames, for what is copied from references.
    time_step: seconds, of error rates as songs go on.

  Raises:
    ValueError: not one metric could be computed, with all reasons.
  """
  found = Evaluation(results.name)
  parts: dict[str, Callable[[], None]] = {
    "duration": lambda: _durations(found, results),
    "vocal_range": lambda: _vocal_ranges(found, results),
    "lyrics": lambda: _lyrics(found, results, time_step),
    "distributions": lambda: _distributions(found, results, reference),
    "class_kl": lambda: _classes(found, results, reference),
    "alignment": lambda: _alignments(found, results),
    "references": lambda: _references(found, results, ngram),
    "memorisation": lambda: _memorisation(found, results, training),
  }
  for name, part in parts.items():
    _try(found, name, part)
  if not found.measures:
    reasons = "; ".join(f"{r['metric']}: {r['reason']}" for r in found.refused)
    raise ValueError(f"{results.root}: nothing could be computed. {reasons}")
  return found


def _try(found: Evaluation, name: str, part: Callable[[], None]) -> None:
  """Lists what a part refuses; the others may still be of use."""
  try:
    part()
  except (ValueError, OSError) as error:
    found.refused.append({"metric": name, "reason": str(error)})


def _durations(found: Evaluation, results: Results) -> None:
  seconds = {
    song: len(codes) / FRAME_RATE
    for song, codes in results.codes("vocal").items()
  }
  _summarise(found, "duration/seconds", seconds)


def _vocal_ranges(found: Evaluation, results: Results) -> None:
  semitones, rejected = _of_songs(
    "vocal_range", results.f0(), lambda f0: vocal_range(f0).semitones
  )
  found.rejected += rejected
  _summarise(found, "vocal_range/semitones", semitones)


def _lyrics(found: Evaluation, results: Results, time_step: float) -> None:
  songs = results.heard()
  if not songs:
    return
  for name, errors in (
    ("word_error_rate", lyric_errors.word_errors(songs)),
    ("character_error_rate", lyric_errors.character_errors(songs)),
  ):
    path = f"lyrics/{name}"
    found.measures[path] = errors.all
    for label, rate in errors.by_label.items():
      found.measures[f"{path}/label/{label}"] = rate
    for number, rate in enumerate(errors.by_number, start=1):
      if rate is not None:
        found.measures[f"{path}/section/{number}"] = rate
    found.samples[path] = {
      song: e.edits / e.units for song, e in errors.songs.items() if e.units
    }
  ends = [s.end for song in songs for s in song.sections]
  if all(end is not None for end in ends):
    edges = np.arange(0, max(ends) + time_step, time_step).tolist()
    found.over_time = edges, lyric_errors.errors_over_time(songs, edges)


def _distributions(
  found: Evaluation, results: Results, reference: Results
) -> None:
  known = reference.embeddings("embeddings")

  def measure(model: str, own: Embeddings) -> None:
    theirs = _partner(known, model, reference)
    for name, metric in (
      ("frechet", distributions.frechet_distance),
      ("gaussian_kl", distributions.gaussian_kl),
    ):
      path = f"{name}/{model}"
      found.measures[path] = distributions.distance(metric, theirs, own)
    found.by_size[model] = distributions.frechet_by_size(own, theirs)

  for model, own in results.embeddings("embeddings").items():
    part = functools.partial(measure, model, own)
    _try(found, f"distributions/{model}", part)


def _classes(found: Evaluation, results: Results, reference: Results) -> None:
  known = reference.embeddings("logits")

  def measure(model: str, own: Embeddings) -> None:
    theirs = _partner(known, model, reference)
    partners = theirs.only(own.ids, of=f"{reference.root}/logits/{model}")
    path, songs = f"class_kl/{model}", distributions.class_kl(partners, own)
    found.samples[path] = songs
    found.measures[path] = estimates.mean(np.array(list(songs.values())))

  for model, own in results.embeddings("logits").items():
    _try(found, f"class_kl/{model}", functools.partial(measure, model, own))


def _alignments(found: Evaluation, results: Results) -> None:
  songs = results.embeddings("embeddings")

  def measure(model: str, texts: Embeddings) -> None:
    scores = alignment(_partner(songs, model, results), texts)
    found.measures[f"alignment/{model}"] = scores.own
    found.measures[f"alignment/{model}/above_others"] = scores.gain
    found.samples[f"alignment/{model}"] = scores.songs

  for model, texts in results.embeddings("texts").items():
    _try(found, f"alignment/{model}", functools.partial(measure, model, texts))


def _partner(
  known: Mapping[str, Embeddings], model: str, folder: Results
) -> Embeddings:
  if model not in known:
    raise ValueError(
      f"{folder.root} has nothing by {model}, only {sorted(known)}; expected"
      " both by the same model"
    )
  return known[model]


def _references(found: Evaluation, results: Results, ngram: int) -> None:
  for track in FILES:
    clips = results.codes(track, of="references")
    if clips:
      songs = results.codes(track)
      copied = copied_from_references(
        {song: codes for song, codes in songs.items() if song in clips},
        clips,
        n=ngram,
      )
      path = f"references/{track}/copied"
      found.measures[path] = copied.own
      found.measures[f"{path}/above_others"] = copied.gain
      found.samples[path] = copied.songs


def _memorisation(
  found: Evaluation, results: Results, training: Mapping[str, Training]
) -> None:
  for track, known in training.items():
    path = f"memorisation/{track}"
    own, rejected = _of_songs(
      path, results.codes(track), lambda c, i=known.index: copying(i, c)
    )
    found.rejected += [*rejected, *known.rejected]
    for name in ("covered", "run", "aligned"):
      ours, theirs = (
        {song: float(getattr(c, name)) for song, c in songs.items()}
        for songs in (own, known.unrelated)
      )
      _summarise(found, f"{path}/{name}", ours)
      _summarise(found, f"{path}/{name}/null", theirs)
      compared = against_null(list(ours.values()), list(theirs.values()))
      found.measures[f"{path}/{name}/above_null"] = compared.above
      found.samples[f"{path}/{name}/p"] = dict(
        zip(ours, compared.p_values, strict=True)
      )


def _of_songs(
  metric: str,
  songs: Mapping[str, np.ndarray],
  function: Callable[[np.ndarray], Any],
) -> tuple[dict[str, Any], list[dict[str, str]]]:
  """The function of each song, and the songs that it refuses."""
  values, rejected = {}, []
  for song, array in songs.items():
    try:
      values[song] = function(array)
    except ValueError as error:
      rejected.append({"metric": metric, "song": song, "reason": str(error)})
  if rejected and not values:
    raise ValueError(
      f"all {len(songs)} songs are rejected: {rejected[0]['reason']}"
    )
  return values, rejected


def _summarise(found: Evaluation, path: str, values: dict[str, float]) -> None:
  """Mean and median of one value a song, if there are any."""
  if values:
    found.samples[path] = values
    array = np.array(list(values.values()))
    found.measures[f"{path}/mean"] = estimates.mean(array)
    found.measures[f"{path}/median"] = estimates.median(array)

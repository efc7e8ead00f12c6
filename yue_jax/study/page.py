"""One HTML page of a study, for raters.

It loads nothing from anywhere, knows clips by names that say nothing, and has
no word of systems or files. Clips are inside the page, or beside it.
"""

import base64
from collections.abc import Iterable, Mapping
import dataclasses
import html
import importlib.resources
import json
import re
from typing import TextIO

from yue_jax.study.aspects import Aspect
from yue_jax.study.comparisons import Key
from yue_jax.study.songs import Prompt


def write_page(
  file: TextIO,
  key: Key,
  *,
  title: str,
  aspects: Iterable[Aspect],
  prompts: Mapping[str, Prompt],
  per_rater: int,
  clips: Iterable[tuple[str, bytes]],
) -> None:
  """Writes the page.

  Args:
    file: opened as UTF-8.
    key: what is compared; systems and songs of it stay out of the page.
    title: above it.
    aspects: what is asked, in this order.
    prompts: by the name of the song; songs without one show none.
    per_rater: comparisons that one rater is given.
    clips: id and FLAC file of every clip, taken one by one; none if the page
      is to play clips/ID.flac beside it.
  """
  study = {
    "id": key.study,
    "perRater": per_rater,
    "aspects": [
      {"name": a.name, "title": a.title, "question": a.question}
      for a in aspects
    ],
    "comparisons": [
      {"id": name, "clips": pair} for name, pair in key.comparisons.items()
    ],
    "prompts": {
      name: dataclasses.asdict(prompts[key.clips[pair[0]].song])
      for name, pair in key.comparisons.items()
      if key.clips[pair[0]].song in prompts
    },
  }
  # "</script>" in lyrics must not end the element that holds them.
  data = json.dumps(study, ensure_ascii=False).replace("<", "\\u003c")
  parts = {
    "title": html.escape(title),
    "style": _part("page.css"),
    "script": _part("page.js"),
    "study": data,
  }
  before, after = _part("page.html").split("{{clips}}")
  file.write(_filled(before, parts))
  for name, flac in clips:
    text = base64.b64encode(flac).decode()
    file.write(f'<script id="{name}" type="text/plain">{text}</script>\n')
  file.write(_filled(after, parts))


def _filled(template: str, parts: Mapping[str, str]) -> str:
  return re.sub(r"\{\{(\w+)\}\}", lambda name: parts[name[1]], template)


def _part(name: str) -> str:
  files = importlib.resources.files("yue_jax.study")
  return files.joinpath(name).read_text(encoding="utf-8")

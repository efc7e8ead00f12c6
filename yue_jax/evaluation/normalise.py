"""Lyrics and transcripts in one spelling, so that only words can differ.

    "[verse]\\nDon’t stop,\\nＡＢＣ!"  en    dont stop abc
    "我愛 rock’n’roll。"            yue   我 愛 rocknroll
    "あいﾗﾌﾞ！"                      ja    あ い ラ ブ
    "사랑해 너를"                    ko    사 랑 해 너 를

Lines that are a label in brackets are no words. Text is NFKC (full and half
width become one) without case; apostrophes go, whatever else is no letter,
mark or digit separates words. Characters of Chinese, Japanese and Korean
script are a word each: where their words end nobody agrees, and spaces say
little. Numbers are not spelled out, and simplified characters are not
traditional ones: transcripts have to be in the script of the lyrics.
"""

import re
import unicodedata

LANGUAGES = ("en", "zh", "yue", "ja", "ko")

_LABEL = re.compile(r"^[ \t]*\[[^\]\n]*\][ \t]*$", re.MULTILINE)
_APOSTROPHES = re.compile("['’‘ʼ`´]")
_ONE_EACH = re.compile(
  "(["
  "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # Han
  "\U00020000-\U0003134f"
  "\u3041-\u309f\u30a1-\u30ff\u31f0-\u31ff"  # kana
  "\u1100-\u11ff\uac00-\ud7af"  # Hangul
  "])"
)


def words(text: str, language: str) -> list[str]:
  """The words of a text, as they are compared.

  Args:
    text: lyrics of a section, or what was heard of them.
    language: one of `LANGUAGES`.
  """
  if language not in LANGUAGES:
    raise ValueError(
      f"language {language!r} is not one of {LANGUAGES}; how its words are"
      " compared is not known"
    )
  text = _LABEL.sub(" ", unicodedata.normalize("NFKC", text)).casefold()
  text = _APOSTROPHES.sub("", text)
  text = "".join(
    c if unicodedata.category(c)[0] in "LMN" else " " for c in text
  )
  if language != "en":
    text = _ONE_EACH.sub(r" \1 ", text)
  return text.split()


def characters(text: str, language: str) -> list[str]:
  """The characters of a text's words, without what lies between."""
  return list("".join(words(text, language)))

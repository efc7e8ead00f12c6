"""Human tests: a page that asks listeners which of two songs is better.

  songs.py        folders of songs by system -> songs that all systems have
  clips.py        -> clips of equal loudness, in files that look alike
  comparisons.py  -> which clips are compared, and the analyst's key to them
  page.py         -> one HTML page that works offline, and knows no systems
  results.py      what raters send back -> judgements, by the key
  preference.py   -> who wins how often, and Bradley-Terry strengths
  agreement.py    -> how much raters agree
  correlation.py  -> how far automatic metrics say the same

The protocol is that of the YuE paper (sections 5.2 and 6.1): blind comparison
of two songs of one prompt, ties allowed, in twelve aspects. Nothing here needs
JAX.
"""

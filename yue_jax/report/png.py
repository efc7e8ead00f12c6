"""Codes as a PNG file, without a library for pictures."""

import colorsys
import struct
import zlib

import numpy as np

# What a code means is not how large it is: neighbours get unlike colours.
_TURN = 0.6180339887  # of the circle of hues, from a code to the next
_COLORS = 255  # and one for where there is no code
BLANK = -1


def picture(codes: np.ndarray) -> bytes:
  """A PNG of one pixel for every code.

  Args:
    codes: (rows, columns), from 0 on; equal codes have equal colours, and
      BLANK none at all.

  Returns:
    The bytes of a file with a palette.
  """
  rows, columns = codes.shape
  pixels = np.where(codes == BLANK, _COLORS, codes % _COLORS).astype(np.uint8)
  lines = np.pad(pixels, ((0, 0), (1, 0)))  # each begins with its filter: none
  size = struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0)
  return b"\x89PNG\r\n\x1a\n" + b"".join(
    _chunk(kind, data)
    for kind, data in (
      (b"IHDR", size),
      (b"PLTE", _palette()),
      (b"tRNS", b"\xff" * _COLORS + b"\x00"),
      (b"IDAT", zlib.compress(lines.tobytes(), 9)),
      (b"IEND", b""),
    )
  )


def _palette() -> bytes:
  colors = []
  for code in range(_COLORS):
    lightness = (0.42, 0.55, 0.68)[code % 3]
    colors.append(colorsys.hls_to_rgb(code * _TURN % 1, lightness, 0.6))
  return bytes(round(255 * v) for rgb in [*colors, (0, 0, 0)] for v in rgb)


def _chunk(kind: bytes, data: bytes) -> bytes:
  check = zlib.crc32(kind + data)
  return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

"""Audio: sound files to codes and a manifest, and codes to sound files.

folder of songs ─► stems ─► rows ──────► encode ─► songs.jsonl, codes/*.npy
(separation)       reading   sheets        │
                                         Codec
sound files ─► fitting ─► mel_codec ──────┤ of codecs, by opening
                          xcodec ─────────┤
                                          │
codes of a song ────────────────────────► decode ─► wav, flac
                                            loudness

stems       which files are a song, by their names
separation  stems of a mixture, by a command of the user's
reading     any file as 16 kHz mono, or why not
rows        a song's sound, lyrics, structure and tags
encode      all songs of a folder, several at once, resumable
codecs      what a codec is
mel_codec   the embedded one, of `spectra`; fitted by `fitting`
xcodec      that of YuE, by transformers; the only module that needs PyTorch
opening     either, by its folder or name
decode      songs as sound, with the gain that `loudness` finds
"""

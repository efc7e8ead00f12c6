"""A small world of songs whose every probability is known.

    config     WorldConfig: sizes, noises and lengths of a world
    generator  World: its fixed tables, and songs drawn from it
    manifest   a song as a manifest row with (8, T) codes, and back
    chains     the hidden Markov chains behind the sound
    filters    what is known of a song after hearing part of it, exactly
    floors     nats per token of a perfect model, by stream
    baselines  the same for a model that cannot see the lyrics
    lyrics     from sung codes back to words; lyric error rate

The process itself is described, with a picture, in `generator`.
"""

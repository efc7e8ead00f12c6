"""The paper's automatic evaluation (section 5), on numpy alone.

    estimates        intervals by resampling songs
    embeddings       arrays of embeddings, read and checked
    distributions    Fréchet distance and KL divergences, with their bias
    alignment        cosine scores of pairs, as CLAP's
    vocal_range      F0 tracks to semitones

Every metric is a function of arrays that says what it wants of them, and
raises ValueError rather than give a number that means nothing.
"""

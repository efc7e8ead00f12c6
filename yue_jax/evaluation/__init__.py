"""The paper's automatic evaluation (section 5); nothing here needs JAX.

    estimates        intervals by resampling songs
    embeddings       arrays of embeddings, read and checked
    clap             embeddings by CLAP, the one module that needs PyTorch
    distributions    Fréchet distance and KL divergences, with their bias
    alignment        cosine scores of pairs, as CLAP's
    vocal_range      F0 tracks to semitones
    transcripts      lyrics and what was heard of them, matched by name
    transcription    what a recogniser of speech hears, section by section
    normalise        both in one spelling, for the languages of YuE
    lyric_errors     word and character error rates, by section and over time
    memorisation     songs against training songs and references, and a null
    ngrams           the index of these, on disk
    local_alignment  the stretch of two songs that is most alike

    probes           linear probes of hidden states, with splits by group
    comparison       differences of two systems, and claims about them
    results          the folders that hold all this
    measures         every metric of a folder of results
    training_songs   the index of a prepared data set
    report figures   what tools/evaluate.py writes

Every metric is a function of arrays that says what it wants of them, and
raises ValueError rather than give a number that means nothing.
"""

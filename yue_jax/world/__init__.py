"""A small world of songs whose every probability is known.

    config     WorldConfig: sizes, noises and lengths of a world
    generator  World: its fixed tables, and songs drawn from it
    manifest   a song as a manifest row with (8, T) codes, and back
    corpus     songs for training and for evaluation, on disk
    chains     the hidden Markov chains behind the sound
    filters    what is known of a song after hearing part of it, exactly
    sections   the filters on many songs at once, section by section
    nats       nats of a document's tokens, and their sums by stream
    floors     what a perfect model pays, token by token
    mixtures   the same for the mixture of both tracks
    baselines  what a model pays that cannot see the lyrics
    lyrics     from sung codes back to words; lyric error rate
    listening  what an evaluation hears: pitch, embeddings, genres
    results    songs as a folder of results, for the evaluation
    rendering  a song's codes as sound: `singer` and `accompaniment`
    folder     songs as people have theirs: sound, lyrics, structure

The process itself is described, with a picture, in `generator`. Start a
comparison like this:

    world = corpus.read_world(path / "world.json")
    drawn = [manifest.from_song(world, song) for song in heldout]
    floor = nats.per_token(
      nats.add(
        document_nats.totals(document.streams)
        for document_nats, document in zip(
          floors.cot(world, drawn), documents, strict=True
        )
      )
    )
    floor["vocal"]  # nats per vocal token
"""

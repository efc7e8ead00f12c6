"""Sheets: lyrics and structure of a recording, from files to sections.

    lyrics.txt, .lrc or .json ─► read.read_lyrics ───► Parts
    structure.json ────────────► read.read_structure ► Segments
                                 align.sections ◄────┘ with the song's seconds
                                 └► Sections ─► align.segmented_lyrics
                                                └► entries of a manifest row

    sheet      what these words mean: Line, Part, Segment, Section
    labels     which spellings of a label are one: [Verse 1], [verse]
    labelled   text under labels in square brackets
    lrc        LRC: text with times
    documents  JSON of lyrics and of structure
    read       a file by its name
    align      which words are sung when

What cannot be used is a SongError with a reason, and nothing is guessed: a
wrong pair of words and sound teaches a model not to listen to its lyrics.
"""

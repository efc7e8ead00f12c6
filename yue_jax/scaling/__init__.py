"""Scaling laws from a table of runs, with intervals and with refusals.

    refusals    why a table says nothing: one class of error for each reason
    runs        Runs: sizes, tokens, FLOPs and losses, as arrays
    law         L(N, D) = E + A / N^alpha + B / D^beta, and its best (N, D)
    projection  the parameters of the law, by variable projection
    fitting     fit: the law with bootstrap draws; leave-out errors
    bootstrap   samples of runs, and intervals
    curves      parabolas in the log of a setting, powers through their minima
    isoflop     the best size of every budget by parabolas, for the picture
    tuning      the best learning rate or batch by size and tokens
    table       rows of a sweep's table, as runs
    sizes       the sizes of YuE, and what a token costs there
    report      what is printed of a fit
    plot        what is drawn of it (the extra [plots])
    planted     tables of runs of a law that is known
    bias        how far parabolas are off on such tables; bias_page shows it
                (the extra [plots])

NumPy only, but for these two. Sizes N are counted as the caller counts them,
with embeddings or without; tokens D are those trained on; FLOPs are the
project's (`yue_jax.accounting`); losses are nats per token. A typical use:

    runs = Runs(parameters, tokens, flops, loss)
    fitted = fitting.fit(runs)
    best = fitting.recommend(fitted, flops=1e21)
    best.parameters, best.parameters_interval
"""

"""Laws that are planted in tables, of text and of a toy."""

from yue_jax.scaling.law import Law

TEXT = Law(E=1.8, A=480.0, B=2080.0, alpha=0.35, beta=0.37)
TOY = Law(E=0.9, A=60.0, B=900.0, alpha=0.4, beta=0.5)

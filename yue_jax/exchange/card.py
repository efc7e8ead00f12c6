"""The README of an exported folder: what it holds and how to use it."""

from collections.abc import Sequence

from yue_jax import accounting
from yue_jax.config import ModelConfig
from yue_jax.vocab import SPECIALS, Vocab
from yue_jax.weights import Weights

_CARD = """\
---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
tags:
- music
- yue
---

# {title}

A decoder that sings: it continues documents in which lyrics and tags are
followed by the codes of an audio codec. It reads and writes token ids; a codec
turns the codes into sound. A plain `LlamaForCausalLM` that needs no code of its
own, exported by `yue_jax` {when}.

## Shape

| | |
|---|--:|
{shape}

Stored as {dtype}; no biases, embeddings not tied, rotary embeddings without
scaling.

## Vocabulary

| ids | content |
|---|---|
{vocabulary}

A codebook `k` of `size` codes begins at its block's first id plus
`k * size`. `vocabulary.json` holds the same map for programs.

## How to load

```python
import torch
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained("THIS_FOLDER", dtype="auto")
prompt = torch.tensor([[{soa}, {xcodec}]])  # <SOA> <xcodec>
with torch.no_grad():
  logits = model(prompt).logits[0, -1, :{size}]
```

Ids from {size:,} on are padding: exclude them from sampling, as above.
`checksums.json` has the SHA-256 of every tensor.

## Text

{text}

## License

Apache-2.0.
"""
_WITH_TOKENIZER = """\
`tokenizer.model` is a SentencePiece model and `tokenizer.json` the same for
`AutoTokenizer`; both give the ids of training. Neither adds a token at the
beginning, and no text is special: `<SOA>` in lyrics is text. Use the special
ids of the table above by number. (`LlamaTokenizer` rebuilds the model in its
own way and gives other ids where spaces follow each other.)"""
_WITHOUT_TOKENIZER = """\
No tokenizer is included. Ids of text are those of the SentencePiece model
that the training data were prepared with."""


def model_card(
  weights: Weights,
  *,
  title: str,
  dtype: str,
  has_tokenizer: bool,
  steps: Sequence[int],
) -> str:
  """Text of README.md, with the front matter that hubs read.

  Args:
    weights: what is described; its parameters are not used.
    title: of the page.
    dtype: of the stored tensors.
    has_tokenizer: whether the folder has the tokenizer.
    steps: of training, of whose weights these are the mean.
  """
  vocab = weights.vocab
  when = f"at training step {steps[0]:,}"
  if len(steps) > 1:
    listed = ", ".join(f"{step:,}" for step in steps)
    when = f"as the mean of the weights at training steps {listed}"
  return _CARD.format(
    title=title,
    when=when,
    shape=_shape_rows(weights.model),
    dtype=dtype,
    vocabulary=_vocabulary_rows(vocab, weights.model.vocab_size),
    soa=vocab.soa,
    xcodec=vocab.xcodec,
    size=vocab.size,
    text=_WITH_TOKENIZER if has_tokenizer else _WITHOUT_TOKENIZER,
  )


def _shape_rows(cfg: ModelConfig) -> str:
  facts = {
    "parameters": accounting.parameter_count(cfg),
    "layers": cfg.layers,
    "width": cfg.width,
    "MLP width": cfg.mlp_width,
    "query heads": cfg.heads,
    "key/value heads": cfg.kv_heads,
    "context (tokens)": cfg.max_positions,
    "rows of the vocabulary": cfg.vocab_size,
  }
  return "\n".join(f"| {name} | {value:,} |" for name, value in facts.items())


def _vocabulary_rows(vocab: Vocab, rows: int) -> str:
  special = ", ".join(f"`<{name}>` {vocab.special(name)}" for name in SPECIALS)
  contents = [(vocab.text, "text"), (vocab.specials, f"special: {special}")]
  for block in vocab.codec_blocks:
    what = f"{block.name}: {block.codebooks} x {block.size:,} codes"
    contents.append((vocab.codec(block.name), what))
  contents.append((range(vocab.size, rows), "padding"))
  return "\n".join(
    f"| {ids.start} .. {ids.stop - 1} | {what} |" for ids, what in contents
  )

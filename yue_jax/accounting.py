"""What a model costs: parameters, and FLOPs of training per token.

One multiply-add is 2 FLOPs, and the backward pass costs twice the forward
pass; recomputation (remat) is never counted. Only matrix multiplications
count: the embedding lookup, norms and softmax do not. So every token costs

  6 * (matmul parameters)                         projections, MLP, logits
  12 * layers * width * (keys a query attends to) attention

or, where adapters are trained, which spares a frozen weight its gradient,

  4 * (matmul parameters) + 6 * (those of adapters)

in place of the first. And conventions differ in the number of keys alone:

  full     the whole context, for every query. Most published MFU figures use
           this one, masked or not.
  causal   the mean over a causal document, (length + 1) / 2; with the mean
           segment length of packed samples, what they really need.

At 16,384 tokens full is 1.27 times causal for the 7B, so an MFU without its
convention says little. Standard library only.
"""

from collections.abc import Iterable

from yue_jax.config import LoraConfig, ModelConfig


def parameters(cfg: ModelConfig) -> dict[str, int]:
  """Number of parameters by part; the layers' are summed."""
  d, h = cfg.width, cfg.head_width
  return {
    "embed": cfg.vocab_size * d,
    "attention": cfg.layers * 2 * d * h * (cfg.heads + cfg.kv_heads),
    "mlp": cfg.layers * 3 * d * cfg.mlp_width,
    "norms": (2 * cfg.layers + 1) * d,
    "unembed": cfg.vocab_size * d,
  }


def parameter_count(cfg: ModelConfig) -> int:
  """All parameters, both embedding tables included."""
  return sum(parameters(cfg).values())


def parameters_without_embedding(cfg: ModelConfig) -> int:
  """All parameters but both embedding tables, as in scaling laws' N."""
  parts = parameters(cfg)
  return sum(parts.values()) - parts["embed"] - parts["unembed"]


def matmul_parameters(cfg: ModelConfig) -> int:
  """Parameters that every token is multiplied by: no lookup, no norms."""
  parts = parameters(cfg)
  return parts["attention"] + parts["mlp"] + parts["unembed"]


def adapter_parameters(cfg: ModelConfig, lora: LoraConfig) -> int:
  """Parameters of all adapters: rank * (inputs + outputs) for each weight."""
  d, f, h = cfg.width, cfg.mlp_width, cfg.head_width
  heads = {"q": cfg.heads, "k": cfg.kv_heads, "v": cfg.kv_heads}
  attention = {name: d + n * h for name, n in heads.items()}
  sizes = attention | {"out": cfg.heads * h + d}
  sizes |= dict.fromkeys(("gate", "up", "down"), d + f)
  return cfg.layers * lora.rank * sum(sizes[name] for name in lora.targets)


def train_flops_per_token(
  cfg: ModelConfig, length: float, lora: LoraConfig | None = None
) -> float:
  """FLOPs to train on one token, by the causal convention.

  Args:
    cfg: the model.
    length: of the document in which the token lies: the context where one
      document fills it, else `mean_segment` of the packed documents.
    lora: adapters, if they alone are trained.
  """
  return _flops_per_token(cfg, (length + 1) / 2, lora)


def train_flops_per_token_full(
  cfg: ModelConfig, context: int, lora: LoraConfig | None = None
) -> float:
  """FLOPs to train on one token, by the full (non-causal) convention."""
  return _flops_per_token(cfg, context, lora)


def mean_segment(lengths: Iterable[int]) -> float:
  """Mean length of a token's segment, over tokens and not over segments.

  Long segments hold more of the tokens, and the attention of a segment grows
  with its square: [1, 3] -> (1 * 1 + 3 * 3) / (1 + 3) = 2.5.
  """
  lengths = list(lengths)
  if not lengths or min(lengths) < 1:
    raise ValueError(f"segment lengths {lengths}, expected positive integers")
  return sum(n * n for n in lengths) / sum(lengths)


def _flops_per_token(
  cfg: ModelConfig, keys: float, lora: LoraConfig | None
) -> float:
  weights = 6 * matmul_parameters(cfg)
  if lora is not None:
    weights = 4 * matmul_parameters(cfg) + 6 * adapter_parameters(cfg, lora)
  return weights + 12 * cfg.layers * cfg.width * keys

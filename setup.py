"""Packaging; settings of tools are in pyproject.toml.

Lower bounds are the versions the suite ran with on Python 3.11; the upper
ones exclude what has not been seen (parts of it ran on 3.12 with jax 0.12.0
and flax 0.12.12). Grain and Orbax write formats of their own, hence the tight
ranges.
"""

import setuptools

PARITY = ["safetensors>=0.8", "transformers>=5.23,<6"]  # torch: see Makefile
PLOTS = ["matplotlib>=3.11,<4"]
AUDIO = [
  "pyloudnorm>=0.2,<0.3",
  "scikit-learn>=1.9,<2",
  "scipy>=1.17,<2",
  "soundfile>=0.14,<0.15",
  "soxr>=1.1,<2",
  "transformers>=5.23,<6",  # X-Codec; torch: see Makefile
]
EVAL = ["jiwer>=4,<5", "scikit-learn>=1.9,<2", "scipy>=1.17,<2", *PLOTS]
STUDY = [
  "choix>=0.4.1,<0.5",
  "krippendorff>=0.9,<0.10",
  "pyloudnorm>=0.2,<0.3",
  "scipy>=1.17,<2",
  "soundfile>=0.14,<0.15",
  "soxr>=1.1,<2",
]

setuptools.setup(
  name="yue_jax",
  version="0.1.0",
  description="Pre-training of the YuE song models in JAX, for TPU pods",
  license="Apache-2.0",
  python_requires=">=3.11",
  packages=setuptools.find_packages(include=["yue_jax", "yue_jax.*"]),
  package_data={"yue_jax.study": ["page.*"], "yue_jax.report": ["page.*"]},
  install_requires=[
    "absl-py>=2.5",
    "array-record>=0.8.6,<0.9",
    "etils[epath]>=1.15",
    "flax>=0.12.8,<0.13",
    "grain>=0.2.18,<0.2.19",
    "importlib-resources>=7.1",  # tensorflow-datasets forgets to ask for it
    "jax>=0.10.2,<0.13",
    "jaxtyping>=0.3.11,<0.4",
    "ml-collections>=1.1,<2",
    "ml-dtypes>=0.5",
    "numpy>=2.4,<3",
    "optax>=0.2.8,<0.3",
    "orbax-checkpoint>=0.12.8,<0.13",
    "safetensors>=0.8,<0.9",
    "protobuf>=6",
    "PyYAML>=6,<7",
    "sentencepiece>=0.2.3,<0.3",
    "tensorboardX>=2.6.5,<3",
    "tensorflow-datasets>=4.9.10,<5",
    "tensorstore>=0.1.86,<0.2",
    "tqdm>=4.70,<5",
  ],
  extras_require={
    "tpu": ["jax[tpu]", "gcsfs>=2026.4"],
    "hf": PARITY,
    # Brings a torch with CUDA where there is none: see Makefile.
    "peft": ["peft>=0.21.2,<0.22"],
    "audio": AUDIO,
    "plots": PLOTS,
    "eval": [*EVAL, *STUDY],
    # Wants protobuf<7 and pyarrow<26: an environment of its own.
    "beam": ["apache-beam>=2.77,<3"],
    "test": [
      *AUDIO,
      *PARITY,
      *PLOTS,
      *EVAL,
      *STUDY,
      "jax[tpu]",  # its compiler also runs where there is no TPU
      "pytest>=9.2,<10",
      "pytest-xdist>=3.8,<4",
      "ruff>=0.17,<0.18",
    ],
  },
)

"""Arrays of a checkpoint read and written box by box, in little memory.

  open_arrays(item)              {name: StoredArray}, read as array[box]
  fingerprint(arrays)            as `checkpoint_arrays.fingerprint`
  ArrayWriter(folder, shapes)    writes boxes, in any order and from any thread
  writer.staged()                what Orbax saves by moving the folder

A box is a tuple of slices, one for each axis. Only the chunks that it touches
are in memory. What is written has the layout of `checkpoint_arrays`, as a
database of its own; Orbax then adds its metadata and joins it to a checkpoint
in the way it joins what several processes have written.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import dataclasses
import itertools
import math
import pathlib

from etils import epath
import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore as ts

from yue_jax.checkpoint_arrays import (
  CHUNK_BYTES,
  fingerprint_of_sums,
  sum_of_bits,
)

Box = tuple[slice, ...]
_FOLDER = "ocdbt.process_0"  # where Orbax expects what process 0 has written
_CONFIG = {  # as Orbax configures its databases
  "config": {
    "max_inline_value_bytes": 1024,
    "max_decoded_node_bytes": 100_000_000,
    "manifest_kind": "single",
  },
}
# Nothing is kept between reads but the index of the database.
_CONTEXT = {
  "cache_pool": {"total_bytes_limit": 0},
  "cache_pool#index": {"total_bytes_limit": 32 * 2**20},
  "data_copy_concurrency": {"limit": 2},
  "file_io_concurrency": {"limit": 4},
}


class StoredArray:
  """An array on disk; `array[box]` reads, whole chunks at a time.

  `array.start(box)` begins to read and gives what waits for the box, so that
  one can be worked on while the next is on its way.

  Attributes:
    shape, dtype: of the array.
    chunk: shape of the pieces that are read as a whole.
  """

  def __init__(self, name: str, store: ts.TensorStore):
    self._name, self._store = name, store
    self.shape = tuple(store.shape)
    self.dtype = store.dtype.numpy_dtype
    self.chunk = tuple(store.chunk_layout.read_chunk.shape)

  def __getitem__(self, box: Box) -> np.ndarray:
    return self.start(box)()

  def start(self, box: Box) -> Callable[[], np.ndarray]:
    reading = self._store[box].read()

    def wait() -> np.ndarray:
      try:
        return reading.result()
      except ValueError as error:
        raise OSError(
          f"{self._name} cannot be read; restore the checkpoint from a copy, or"
          f" name another: {error}"
        ) from error

    return wait


@dataclasses.dataclass(frozen=True)
class StagedArray:
  """One array of a finished ArrayWriter; `staging_handler` saves them."""

  folder: pathlib.Path
  shape: tuple[int, ...]
  dtype: np.dtype


class ArrayWriter:
  """Writes float32 arrays into a folder on a disk.

  What was written before an interruption is found again by a later writer
  for the same folder and shapes. What was on its way then may stay in the
  folder, unreferenced.
  """

  def __init__(
    self, folder: pathlib.Path, shapes: Mapping[str, tuple[int, ...]]
  ):
    """Opens the folder, or makes it.

    Args:
      folder: for these arrays alone.
      shapes: by name, axes separated by "/"; arrays whose name begins with
        "blocks/" are cut along their first axis.
    """
    self._folder, self._context = folder, ts.Context(_CONTEXT)
    database = _database(folder.absolute().as_uri() + "/") | _CONFIG
    kvstore = ts.KvStore.open(database, context=self._context).result()
    self._written = {key.decode() for key in kvstore.list().result()}
    opening = {
      name: self._open(name, shape, database) for name, shape in shapes.items()
    }
    self._stores = {name: store.result() for name, store in opening.items()}

  def _open(self, name, shape, database) -> ts.Future:
    chunk = list(chunk_shape(shape, 4, by_layer=name.startswith("blocks/")))
    spec = {
      "driver": "zarr3",
      "kvstore": database | {"path": name.replace("/", ".") + "/"},
      "metadata": _zarr_metadata(shape, chunk),
      # A chunk of zeros is written as well: it is known to be there.
      "store_data_equal_to_fill_value": True,
    }
    return ts.open(spec, create=True, open=True, context=self._context)

  def chunk(self, name: str) -> tuple[int, ...]:
    return tuple(self._stores[name].chunk_layout.write_chunk.shape)

  def has(self, name: str, box: Box) -> bool:
    """Whether all chunks of a box had been written when this was opened."""
    prefix, chunk = name.replace("/", ".") + "/c", self.chunk(name)
    return all(
      "/".join([prefix, *(str(s.start // c) for s, c in at)]) in self._written
      for at in (zip(b, chunk, strict=True) for b in boxes(box, chunk))
    )

  def write(self, name: str, box: Box, array: np.ndarray) -> Callable[[], None]:
    """Starts to write a box, which is made of whole chunks.

    Args:
      name: of the array.
      box: where in it.
      array: float32; must not change before it is written.

    Returns:
      What waits until the box is safely on the disk, and raises OSError if
      it cannot be written.
    """
    store = self._stores[name][box]
    writing = store.write(array, can_reference_source_data_indefinitely=True)

    def wait() -> None:
      try:
        writing.commit.result()
      except ValueError as error:
        raise OSError(
          f"{name} cannot be written to {self._folder}: {error}"
        ) from error

    return wait

  def staged(self) -> dict[str, StagedArray]:
    """The arrays by name, when all boxes are written."""
    return {
      name: StagedArray(
        self._folder, tuple(store.shape), store.dtype.numpy_dtype
      )
      for name, store in self._stores.items()
    }


def open_arrays(item: epath.PathLike) -> dict[str, StoredArray]:
  """The arrays of one item of a checkpoint by name, such as "norm/scale".

  Raises:
    OSError: the item cannot be opened.
  """
  item = epath.Path(item)
  database = _database(_url(item))
  context = ts.Context(_CONTEXT)
  try:
    kvstore = ts.KvStore.open(database, context=context).result()
    keys = [key.decode() for key in kvstore.list().result()]
    folders = sorted(
      k.removesuffix("zarr.json") for k in keys if k.endswith("/zarr.json")
    )
    opening = [
      ts.open(
        {
          "driver": "zarr3",
          "kvstore": database | {"path": folder},
          # A chunk that is not there is an error, not zeros.
          "fill_missing_data_reads": False,
        },
        open=True,
        context=context,
      )
      for folder in folders
    ]
    stores = [future.result() for future in opening]
  except ValueError as error:
    raise OSError(f"the arrays in {item} cannot be opened: {error}") from error
  return {
    folder.rstrip("/").replace(".", "/"): StoredArray(f"{item}: {folder}", s)
    for folder, s in zip(folders, stores, strict=True)
  }


def fingerprint(arrays: Mapping[str, StoredArray]) -> str:
  """Of arrays by name; that of the same arrays in memory."""
  host = jax.local_devices(backend="cpu")[0]
  sum_of = jax.jit(sum_of_bits)
  sums = {}
  for name, array in arrays.items():
    cut = boxes(whole(array.shape), array.chunk)
    sums[name] = 0
    for box, part in read_ahead(array.start, cut):
      corner = tuple(np.uint32(s.start) for s in box)
      sums[name] += int(sum_of(jax.device_put(part, host), corner))
    sums[name] %= 2**32
  return fingerprint_of_sums(sums)


def read_ahead(
  start: Callable[[Box], Callable[[], np.ndarray]], wanted: Iterable[Box]
) -> Iterator[tuple[Box, np.ndarray]]:
  """Boxes with what is read; one is worked on while the next is on its way.

  Args:
    start: of a `StoredArray`, or what does the same.
  """
  reads = ((box, start(box)) for box in wanted)
  for (box, wait), _ in itertools.pairwise(itertools.chain(reads, [None])):
    yield box, wait()


def staging_handler() -> ocp.PyTreeCheckpointHandler:
  """What saves a tree of `StagedArray`s of one writer, by moving its folder."""
  registry = ocp.type_handlers.create_type_handler_registry(
    (StagedArray, _MovingHandler()),
    (jax.Array, ocp.type_handlers.ArrayHandler()),  # Orbax wants one
  )
  return ocp.PyTreeCheckpointHandler(
    use_zarr3=True, use_compression=False, type_handler_registry=registry
  )


def whole(shape: Sequence[int]) -> Box:
  """The box that is all of an array."""
  return tuple(slice(0, size) for size in shape)


def boxes(box: Box, chunk: Sequence[int]) -> Iterator[Box]:
  """Cuts a box where chunks meet.

  Example: rows 2 to 7 in chunks of 4 -> 2 to 4, 4 to 7.
  """
  cuts = [
    [
      slice(max(at, s.start), min(at + size, s.stop))
      for at in range(s.start - s.start % size, s.stop, size)
    ]
    for s, size in zip(box, chunk, strict=True)
  ]
  return itertools.product(*cuts)


def chunk_shape(
  shape: Sequence[int], itemsize: int, *, by_layer: bool
) -> tuple[int, ...]:
  """The chunks that Orbax cuts an array into, which lies on one device.

  The longest axis is cut by its smallest divisor until a chunk has no more
  than CHUNK_BYTES.
  """
  chunk = [1, *shape[1:]] if by_layer else list(shape)
  while math.prod(chunk) * itemsize > CHUNK_BYTES:
    axis = chunk.index(max(chunk))
    size = chunk[axis]
    chunk[axis] = size // next(d for d in range(2, size + 1) if size % d == 0)
  return tuple(chunk)


class _MovingHandler(ocp.type_handlers.NumpyHandler):
  """Saves arrays that are written already; they are restored as any other."""

  async def serialize(self, values, infos, args=None):
    [folder] = {value.folder for value in values}

    async def move():
      await infos[0].await_path_creation()
      folder.rename(infos[0].parent_dir / _FOLDER)

    return [ocp.future.CommitFutureAwaitingContractedSignals(move())]


def _database(base: str) -> dict[str, object]:
  """Spec of a key-value store."""
  return {"driver": "ocdbt", "base": base, "cache_pool": "cache_pool#index"}


def _zarr_metadata(shape: Sequence[int], chunk: Sequence[int]) -> dict:
  little = {"name": "bytes", "configuration": {"endian": "little"}}
  return {
    "shape": list(shape),
    "data_type": "float32",
    "chunk_grid": {
      "name": "regular",
      "configuration": {"chunk_shape": list(chunk)},
    },
    "codecs": [
      {
        "name": "sharding_indexed",
        "configuration": {
          "chunk_shape": list(chunk),
          "codecs": [little],
          "index_codecs": [little, {"name": "crc32c"}],
          "index_location": "end",
        },
      }
    ],
  }


def _url(item: epath.Path) -> str:
  path = str(item)
  return (path if "://" in path else item.absolute().as_uri()) + "/"

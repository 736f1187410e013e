"""`cupy.ndarray` of the stand-in: a NumPy view of device memory that answers no NumPy function."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar, NoReturn

import numpy as np

from cuda_on_host.stand_in import queue
from cuda_on_host.stand_in.memory import Memory, allocate

_SCALARS = (bool, int, float, complex, np.generic, type(None), str, type, np.dtype, slice, type(...))


class ndarray:  # noqa: N801 - CuPy's name
    """An array of device memory. Several share it where one is a view of the other."""

    __array_priority__: ClassVar[int] = 100
    __array_ufunc__: ClassVar[None] = None  # NumPy's operators leave it to ours, and NumPy's functions refuse it

    def __init__(self, memory: Memory, host: np.ndarray) -> None:
        self.memory, self.host = memory, host

    shape = property(lambda self: self.host.shape)
    dtype = property(lambda self: self.host.dtype)
    size = property(lambda self: self.host.size)
    ndim = property(lambda self: self.host.ndim)
    strides = property(lambda self: self.host.strides)
    itemsize = property(lambda self: self.host.itemsize)
    nbytes = property(lambda self: self.host.nbytes)
    flags = property(lambda self: self.host.flags)
    data = property(lambda self: SimpleNamespace(ptr=self.host.ctypes.data, mem=self.memory))
    device = property(lambda self: SimpleNamespace(id=0))
    T = property(lambda self: ndarray(self.memory, self.host.T))

    def __len__(self) -> int:
        return len(self.host)

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """NumPy's methods: sum, astype, reshape, ..."""
        if name.startswith("_") or not callable(getattr(np.ndarray, name, None)):
            raise AttributeError(name)
        return lambda *arguments, **options: apply(_method(name), (self, *arguments), options)

    # ---- to the host -------------------------------------------------------------------------------------------------

    def get(self, *_: Any, **__: Any) -> np.ndarray:
        self._read("reading to the host")
        return self.host.copy()

    def item(self, *place: int) -> Any:
        self._read("item")
        return self.host.item(*place)

    def tolist(self) -> Any:
        self._read("tolist")
        return self.host.tolist()

    def __bool__(self) -> bool:
        self._read("bool")
        return bool(self.host)

    def __float__(self) -> float:
        self._read("float")
        return float(self.host)

    def __int__(self) -> int:
        self._read("int")
        return int(self.host)

    def __index__(self) -> int:
        self._read("an index")
        return operator.index(self.host)

    def __repr__(self) -> str:
        return f"<stand-in array {self.dtype} {self.shape}>"

    def _read(self, what: str) -> None:
        queue.refuse_while_capturing(what)
        queue.counts.reads += 1
        if not self.memory.segment.alive:
            raise queue.CUDARuntimeError("the memory was given back to the device")

    # ---- from the host, and parts -----------------------------------------------------------------------------------

    def set(self, values: np.ndarray) -> None:
        if not isinstance(values, np.ndarray) or (values.shape, values.dtype) != (self.shape, self.dtype):
            raise ValueError(f"set takes a NumPy array {self.dtype} {self.shape}")
        queue.refuse_while_capturing("copying from the host")
        queue.counts.uploads += 1
        self.host[...] = values

    def __getitem__(self, key: Any) -> ndarray:
        keys = key if isinstance(key, tuple) else (key,)
        if any(isinstance(part, ndarray) and part.dtype == np.bool_ for part in keys):
            self._read("an index by a mask, whose size the host must know")
        return apply(operator.getitem, (self, key), {})

    def __setitem__(self, key: Any, value: Any) -> None:
        place, values, target = _hosts(key), _hosts(value), self.host

        def run() -> None:
            target[place] = values

        queue.submit("setitem", run, segments((self, key, value)))

    def fill(self, value: Any) -> None:
        self[...] = value


def _method(name: str) -> Callable[..., Any]:
    def call(host: np.ndarray, *arguments: Any, **options: Any) -> Any:
        return getattr(host, name)(*arguments, **options)

    call.__name__ = name
    return call


def _add_operators() -> None:
    comparisons = ["lt", "le", "eq", "ne", "gt", "ge"]
    binary = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor", *comparisons]
    for name in binary:
        function = getattr(operator, f"__{name}__")
        setattr(ndarray, f"__{name}__", lambda self, other, f=function: apply(f, (self, other), {}))
        if name in comparisons:
            continue
        setattr(ndarray, f"__r{name}__", lambda self, other, f=function: apply(f, (other, self), {}))
        setattr(ndarray, f"__i{name}__", lambda self, other, f=function: apply(f, (self, other), {"out": self}))
    for name in ("neg", "pos", "abs", "invert"):
        function = getattr(operator, name)
        setattr(ndarray, f"__{name}__", lambda self, f=function: apply(f, (self,), {}))


_add_operators()
ndarray.__hash__ = None  # type: ignore[assignment]  # as CuPy's
ndarray.__module__ = "cupy"


def empty(shape: int | Sequence[int], dtype: Any = np.float64) -> ndarray:
    """Memory as the pool has it: NaN, unless somebody still writes there."""
    sizes = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    wanted = np.dtype(dtype)
    memory = allocate(int(np.prod(sizes, dtype=np.int64)) * wanted.itemsize)
    return ndarray(memory, memory.bytes.view(wanted).reshape(sizes))


def upload(values: Any, dtype: Any = None) -> ndarray:
    """A copy of what the host has."""
    queue.refuse_while_capturing("copying from the host")
    queue.counts.uploads += 1
    host = np.asarray(values, dtype)
    array = empty(host.shape, host.dtype)
    array.host[...] = host
    return array


def apply(function: Callable[..., Any], arguments: Sequence[Any], options: dict[str, Any]) -> Any:
    """A NumPy function of device arrays, as one launch. Results are device arrays, of no axes where NumPy gives numbers."""
    out = options.pop("out", None)
    given, keywords = _hosts(tuple(arguments)), _hosts(options)
    touched = [(array.host, array.memory) for array in _arrays((arguments, options))]
    with np.errstate(all="ignore"):
        result = function(*given, **keywords)  # while capturing, of what happens to lie there: for its shape
    if isinstance(result, np.ndarray) and result.base is not None and result.size and out is None:
        for host, memory in touched:
            if np.shares_memory(result, host):
                return ndarray(memory, result)
    results = result if isinstance(result, (tuple, list)) else (result,)
    if not all(isinstance(value, (np.ndarray, np.generic)) for value in results):
        return result
    outs = [out] if out is not None else [empty(np.shape(value), np.asarray(value).dtype) for value in results]
    targets = [array.host for array in outs]
    capturing = queue.current().is_capturing()

    def run() -> None:
        with np.errstate(all="ignore"):
            values = function(*given, **keywords) if capturing else result
        for target, value in zip(targets, values if isinstance(values, (tuple, list)) else (values,), strict=True):
            np.copyto(target, value, casting="same_kind")

    queue.submit(function.__name__, run, segments((arguments, options, outs)))
    return type(result)(outs) if isinstance(result, (tuple, list)) else outs[0]


def _hosts(value: Any) -> Any:
    if isinstance(value, ndarray):
        return value.host
    if isinstance(value, (tuple, list)):
        return type(value)(_hosts(part) for part in value)
    if isinstance(value, dict):
        return {name: _hosts(part) for name, part in value.items()}
    if isinstance(value, _SCALARS):
        return value
    raise TypeError(f"Unsupported type {type(value)}")


def _arrays(value: Any) -> list[ndarray]:
    if isinstance(value, ndarray):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else ()
    return [array for part in parts for array in _arrays(part)]


def segments(value: Any) -> list[Any]:
    return [array.memory.segment for array in _arrays(value)]

"""What computes maps: the protocol that all of them keep, and the one place that chooses.

    backend      float32 network in host memory      float32 network on a GPU            other dtypes
    auto         Plan: fused CPU kernels             CudaGraphPlan: one CUDA graph       Operators
    cpu          Plan                                TypeError                           TypeError
    cuda         CudaGraphPlan, weights copied       CudaGraphPlan                       TypeError
    reference    Operators: one by one, as in `epcore.ops`

A network with parts that plans do not know runs by its operators under `auto`; a backend that is named refuses it. Whoever
wants maps fast asks `engine`: predict, evaluate, the trainer's validation, run and demo.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np

from epcore.backend import check_backend, current_backend, use_backend
from epcore.base.arrays import to_device_of
from epcore.inference.step import NoPlanError
from epcore.network import Network
from epcore.not_numbers import Source, backend_of


@runtime_checkable
class Engine(Protocol):
    """A network, ready to compute.

    name: for messages. resolution: side of the square input, or (height, width), pixels. preprocessing: how pixels become x, a
    key of `epcore.pose.preprocess.PREPROCESSING`. source: what it was made from, None where that is not known.
    """

    @property
    def name(self) -> str: ...

    @property
    def resolution(self) -> int | tuple[int, int]: ...

    @property
    def preprocessing(self) -> str: ...

    @property
    def source(self) -> Source | None: ...

    def __call__(self, x: np.ndarray) -> Any:
        """x (N,R,R,3) float32 in host memory -> `PoseOutputs`, or what else the network gives.

        x is moved to where the engine computes, and converted to its dtype; the outputs stay there (`base.arrays.to_numpy`).
        """


class PoseModel(Protocol):
    """The least that `epcore.predict` takes: a network, an engine, or an object of the user's own.

    Its attribute `preprocessing` says how `epcore.pose.normalize` makes x of pixels; without it, as ImageNet's.
    """

    @property
    def resolution(self) -> int | tuple[int, int]:
        """Side of the square input, pixels. Plans may have been compiled for oblong input, which cannot be decoded."""

    def __call__(self, x: Any) -> Any:
        """x (1,R,R,3) -> outputs whose `final` is the confidence maps (1,h,w,16)."""


def engine(
    model: Network, batch: int = 1, *, resolution: int | tuple[int, int] | None = None, backend: str | None = None
) -> Engine:
    """What computes `batch` pictures fastest under a backend.

    resolution: side, or (height, width), of x; the network's own by default. backend: the current one by default; what is
    current at later calls does not matter. Raises TypeError for a network that the backend cannot take (see above), ValueError
    for one in training mode or with parts that plans do not know, RuntimeError for "cuda" without a GPU.
    """
    backend = current_backend() if backend is None else check_backend(backend)
    if backend == "auto":
        try:
            backend = "reference" if model.dtype != np.float32 else backend_of(model, "auto")
            return engine(model, batch, resolution=resolution, backend=backend)
        except NoPlanError:
            return Operators(model, resolution=resolution, backend="auto")
    if backend == "cuda":
        from epcore.inference.cuda_graph import CudaGraphPlan  # here and below: nobody needs both

        return CudaGraphPlan(model, batch, resolution=resolution)
    if backend == "cpu":
        from epcore.inference.compile import compile

        return compile(model, batch, resolution=resolution)
    return Operators(model, resolution=resolution, backend=backend)


def as_engine(model: PoseModel) -> Engine:
    """A network by its operators, on the backend that is current at the call; an engine as it is; any other object with what it
    lacks. Raises ValueError for a network in training mode.
    """
    if isinstance(model, Network):
        return Operators(model)
    return model if isinstance(model, Engine) else UserModel(model)


class Operators:
    """A network operator by operator, its weights as they are at the call.

    backend: None for the one that is current at the call. Raises ValueError for a network in training mode.
    """

    def __init__(self, model: Network, *, resolution: int | tuple[int, int] | None = None, backend: str | None = None) -> None:
        if model.training:
            raise ValueError("the model is in training mode, where a picture changes it: call model.eval() first")
        self.model = model
        self.name = model.name
        self.resolution = model.resolution if resolution is None else resolution
        self.preprocessing = model.preprocessing
        self._backend = backend

    @property
    def source(self) -> Source:
        return Source.of(self.model, backend_of(self.model, self._backend))

    def __call__(self, x: np.ndarray) -> Any:
        x = to_device_of(self.model.any_parameter, x.astype(self.model.dtype, copy=False))
        with use_backend(self._backend or current_backend()):
            return self.model(x)


class UserModel:
    """An object that epcore knows nothing of. It takes x in host memory."""

    source = None

    def __init__(self, model: PoseModel) -> None:
        self.name = type(model).__name__
        self.resolution = model.resolution
        self.preprocessing: str = getattr(model, "preprocessing", "imagenet")
        self._model = model

    def __call__(self, x: np.ndarray) -> Any:
        return self._model(x)

"""CuPy's place taken by NumPy and the emulated kernels. It is stricter than a GPU: what is wrong there raises or is NaN here.

    with stand_in() as cupy:                      # `import cupy` gives it, kernels are compiled by g++
        plan = CudaGraphPlan(epcore.EfficientPose("RT").to("cuda"))

* `memory`: a pool that splits, merges and reuses as CuPy's does; what is freed is filled with NaN.
* `queue`: streams, events and graphs. A stream that captures refuses host reads, copies from the host and synchronising; a
  graph runs what was recorded on the memory it was recorded with, and raises where that was given back.
* `array`: arrays that mix with NumPy's no more than CuPy's do, and read to the host only where that is written.
* `module`: the module `cupy`, and what counts launches and reads.

Not modelled: that streams run beside each other, and time.
"""

from cuda_on_host.stand_in.module import stand_in

__all__ = ["stand_in"]

"""Weight files in: readers of every Keras layout and of epcore's own, name maps, manifests."""

if __name__ != "epcore.weights_tools":
    raise ImportError(f"import this package as epcore.weights_tools, not as {__name__!r}")

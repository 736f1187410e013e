if __name__ != "epcore.weights_tools":
    raise ImportError(f"import this package as epcore.weights_tools, not as {__name__!r}")
"""Weight files in and out: readers of every Keras layout, name maps, manifests, golden vectors, divergence finder."""

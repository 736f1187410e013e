"""`epcore doctor`: what this machine is, what the kernels make of it, and whether they are right on it."""

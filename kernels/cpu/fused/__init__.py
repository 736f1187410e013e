"""Fused inference kernels of `epcore.inference`: every step of a plan works on one arena of float32.

Each file holds one kind of step as a function `(arena, step, task)`. `step` is one row of the plan's program, a vector of
integers whose positions `fields` names; `task` is the piece of the step to do. Tasks of a step are independent, write
disjoint places and never depend on who does them, so results are bitwise the same for any number of threads.
"""

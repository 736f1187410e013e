"""What runs an operator or a step of a plan, down to the processor's instructions: `epcore kernel`."""

WRITTEN = ("reference", "cpu", "cuda")  # where an operator may be written
PLAN = "plan"  # what steps of plans are found under
INNER, ALL = "inner", "all"  # what of the machine code is shown

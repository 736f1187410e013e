"""What runs an operator or a step of a plan, down to the processor's instructions: `epcore kernel`."""

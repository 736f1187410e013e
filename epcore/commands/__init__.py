"""The subcommands of `epcore`, one a file: `add_arguments(parser)` and `run(arguments)`, which gives a `Result`."""

"""AArch64 without an AArch64 machine: kernels compiled for it here, and the tests run there by an emulator."""

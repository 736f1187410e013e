"""Training: configuration, schedules, loss, optimizers, checkpoints, the loop (Section 4.1 and Appendix B of the paper)."""

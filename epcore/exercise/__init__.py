"""Exercises: write an operator's backward pass yourself; the gradient check says whether, and where, it is wrong."""

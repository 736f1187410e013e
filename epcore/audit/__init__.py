"""Counting: how much the networks compute and hold, beside the figures the paper prints."""

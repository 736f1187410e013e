"""What half precision and int8 would do to a network: ranges, sums that could overflow, and the experiment itself."""

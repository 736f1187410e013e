"""For porters: golden vectors, where a port diverges and why, what half precision and integers would do."""

"""How good a pose is: PCKh, and maps averaged over scales and flips."""

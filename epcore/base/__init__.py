"""The ground floor: what every part uses and what knows nothing of networks."""

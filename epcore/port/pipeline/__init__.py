"""What a port does before and after the network: a picture becomes x, maps become keypoints."""

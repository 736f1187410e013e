"""Pictures with known keypoints: MPII, synthetic figures, augmentation, loading."""

"""Pictures with known keypoints: MPII, synthetic figures, augmentation, target maps, loading."""

"""Comparisons with a gold standard: patches, cells, landmarks, indices."""

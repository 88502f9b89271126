"""The labelling process: people with roles, slides, labels with versions, review, quality control, agreement."""

"""Labelled fields and patches: every layout read and written, labels matched with what was found, figures of both.

Cells: :mod:`ki67.fields.labelled_fields`; carcinoma: :mod:`ki67.fields.patches`, drawn by
:mod:`ki67.fields.patch_sampling`. Nothing here trains (:mod:`ki67.learning`) or judges (:mod:`ki67.evaluation`).
"""

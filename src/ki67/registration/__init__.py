"""Registration of the H&E and the Ki-67 section: one transform in µm, and how far to trust it."""

from ki67.registration.belief import LocalBelief
from ki67.registration.block import Registered, reach, ways
from ki67.registration.by_hand import ByHand, Landmarks, read_landmark_pairs
from ki67.registration.pieces import Piece, PiecewiseTransform
from ki67.registration.quality import MAPS, RegistrationQuality
from ki67.registration.region import Carried, carry_over
from ki67.registration.register import register, register_sections, sections
from ki67.registration.store import FIELD_NAMES, read_transform, write_transform
from ki67.registration.transform import DisplacementField, Transform, apply_matrix
from ki67.registration.uncertainty import draw_motions

__all__ = [
    "FIELD_NAMES",
    "MAPS",
    "ByHand",
    "Carried",
    "DisplacementField",
    "Landmarks",
    "LocalBelief",
    "Piece",
    "PiecewiseTransform",
    "Registered",
    "RegistrationQuality",
    "Transform",
    "apply_matrix",
    "carry_over",
    "draw_motions",
    "reach",
    "read_landmark_pairs",
    "read_transform",
    "register",
    "register_sections",
    "sections",
    "ways",
    "write_transform",
]

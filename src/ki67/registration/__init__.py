"""Registration of the H&E and the Ki-67 section: one transform in µm, and how far to trust it."""

from ki67.registration.by_hand import ByHand, Landmarks, read_landmark_pairs
from ki67.registration.quality import RegistrationQuality
from ki67.registration.register import Mode, register, register_sections, sections
from ki67.registration.store import read_transform, write_transform
from ki67.registration.transform import DisplacementField, Transform
from ki67.registration.uncertainty import draw_motions

__all__ = [
    "ByHand",
    "DisplacementField",
    "Landmarks",
    "Mode",
    "RegistrationQuality",
    "Transform",
    "draw_motions",
    "read_landmark_pairs",
    "read_transform",
    "register",
    "register_sections",
    "sections",
    "write_transform",
]

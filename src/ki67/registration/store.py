"""The transform on disk: ``transform.json`` and, for each piece that has a displacement field, an ``.mha`` beside it.

MetaImage (.mha) is a text header followed by raw numbers; ITK, SimpleITK, 3D Slicer and elastix read it as a
displacement field in the H&E frame in µm. Written and read here without ITK, which takes seconds to import.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ki67.errors import FileError, RegistrationError
from ki67.files import atomic_path, read_json, write_json
from ki67.registration.pieces import PiecewiseTransform, pieces_of
from ki67.registration.transform import DisplacementField, Transform

MAXIMUM_PIECES = 12
FIELD_NAMES = ("displacement.mha", *(f"displacement-{number}.mha" for number in range(2, MAXIMUM_PIECES + 1)))
"""The displacement field of each piece, beside the transform."""
# A header is a few hundred bytes; a file that has none by then is something else.
MAXIMUM_HEADER_BYTES = 4096
WAY_OUT = "Run ki67 register again."


def write_transform(path: str | Path, transform: PiecewiseTransform | Transform) -> None:
    """Write a transform as JSON, and its displacement fields beside it."""
    target = Path(path)
    if isinstance(transform, Transform):
        transform = PiecewiseTransform.whole(transform)
    data = transform.to_dict()
    for name, piece, entry in zip(FIELD_NAMES, transform.pieces, pieces_of(data), strict=False):
        field = piece.transform.displacement
        if field is not None:
            _write_field(target.with_name(name), field)
            entry["displacement"]["file"] = name
    used = [entry["displacement"]["file"] for entry in pieces_of(data) if entry["displacement"] is not None]
    for name in set(FIELD_NAMES) - set(used):
        # A field of an earlier run does not belong to this transform.
        target.with_name(name).unlink(missing_ok=True)
    write_json(target, data)


def read_transform(path: str | Path) -> PiecewiseTransform:
    """Read what :func:`write_transform` wrote, in this version or the one before pieces.

    Raises
    ------
    FileError
        Where the file, or a field beside it, is missing or is not what it should be.
    """
    source = Path(path)
    data = read_json(source, FileError, WAY_OUT, "a transform")
    if not isinstance(data, dict):
        raise FileError(source, "is not a transform", WAY_OUT)
    try:
        vectors = [
            _read_field(source.with_name(name)) if entry.get("displacement") is not None else None
            for name, entry in zip(FIELD_NAMES, pieces_of(data), strict=False)
        ]
        return PiecewiseTransform.from_dict(data, vectors)
    except RegistrationError as error:
        raise FileError(source, str(error), WAY_OUT) from error


def _write_field(path: Path, field: DisplacementField) -> None:
    rows, columns = field.vectors_um.shape[:2]
    header = (
        "ObjectType = Image\nNDims = 2\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n"
        f"TransformMatrix = 1 0 0 1\nOffset = {field.origin_um[0]!r} {field.origin_um[1]!r}\nCenterOfRotation = 0 0\n"
        f"ElementSpacing = {field.spacing_um!r} {field.spacing_um!r}\nDimSize = {columns} {rows}\n"
        "ElementNumberOfChannels = 2\nElementType = MET_FLOAT\nElementDataFile = LOCAL\n"
    )
    with atomic_path(path) as temporary:
        temporary.write_bytes(header.encode("ascii") + field.vectors_um.astype("<f4").tobytes())


def _read_field(path: Path) -> NDArray[np.float32]:
    """Vectors (rows, columns, 2) of a displacement field that :func:`_write_field` wrote."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FileError(path, f"cannot be read ({error.strerror})", WAY_OUT) from error
    marker = b"ElementDataFile = LOCAL\n"
    end = content[:MAXIMUM_HEADER_BYTES].find(marker)
    if end < 0:
        raise FileError(path, "is not a displacement field (MetaImage)", WAY_OUT)
    lines = (line.partition(" = ") for line in content[:end].decode("ascii", "replace").splitlines())
    header = {key: value for key, _, value in lines}
    try:
        columns, rows = (int(value) for value in header["DimSize"].split())
    except (KeyError, ValueError) as error:
        raise FileError(path, f"has a damaged header: {error}", WAY_OUT) from error
    data = content[end + len(marker) :]
    if header.get("ElementType") != "MET_FLOAT" or len(data) != rows * columns * 8:
        raise FileError(path, f"holds {len(data)} bytes of vectors, {rows * columns * 8} expected", WAY_OUT)
    return np.frombuffer(data, "<f4").reshape(rows, columns, 2).astype(np.float32)

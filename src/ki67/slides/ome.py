"""What OME-XML says of the pictures in a TIFF: sizes, planes, where they lie, how large their pixels are.

Read element by element, without building a tree and without entities, so that no XML can grow in memory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final
from xml.parsers import expat

UM_PER_UNIT: Final = {
    "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "Å": 1e-4, "pm": 1e-6,
    "nm": 1e-3, "mm": 1e3, "cm": 1e4, "dm": 1e5, "m": 1e6, "in": 25400.0,
}  # fmt: skip
LARGEST_XML: Final = 64 * 2**20
ACCESSORY: Final = re.compile(r"\b(label|macro|overview|thumbnail|barcode)\b", re.IGNORECASE)


class OmeError(ValueError):
    """OME-XML that cannot be read."""


@dataclass
class OmeData:
    """Where planes of a picture lie: ``planes`` of them from directory ``ifd`` on, the first being ``first_c``."""

    ifd: int | None
    planes: int | None
    first_c: int
    file_name: str | None = None
    uuid: str = ""


@dataclass
class OmeImage:
    """One picture of an OME-TIFF.

    Attributes
    ----------
    name
        What its writer called it.
    size_px
        Width and height.
    depths
        Numbers of channels (samples counted), focal planes and times.
    pixel_um
        Width and height of a pixel in µm; None where it is not said, or in no unit of length.
    samples
        Samples a pixel of each channel that is described.
    channel_names
        As written.
    data
        Where its planes are.
    """

    name: str = ""
    size_px: tuple[int, int] = (0, 0)
    depths: tuple[int, int, int] = (1, 1, 1)
    pixel_um: tuple[float, float] | None = None
    samples: list[int] = field(default_factory=list)
    channel_names: list[str] = field(default_factory=list)
    data: list[OmeData] = field(default_factory=list)

    @property
    def planes(self) -> int:
        """How many grey or RGB planes the picture is made of."""
        channels, depth, times = self.depths
        return max(1, channels // max(self.samples, default=1)) * depth * times

    @property
    def is_accessory(self) -> bool:
        """Whether it is a picture of the label or of the whole glass, by its name."""
        return ACCESSORY.search(self.name) is not None


def is_ome(description: str) -> bool:
    """Whether a TIFF's description is OME-XML."""
    return (
        description.lstrip("\ufeff \t\r\n").startswith("<")
        and re.search(r"<(?:\w+:)?OME[\s>]", description) is not None
    )


def read_ome(xml: str) -> tuple[str, list[OmeImage]]:
    """Read OME-XML.

    Returns
    -------
    tuple
        The identifier of the file that the XML belongs to (empty where there is none), and its pictures in order.

    Raises
    ------
    OmeError
        Malformed, with a document type, too long, or with numbers that are none.
    """
    if len(xml) > LARGEST_XML:
        raise OmeError(f"it is longer than {LARGEST_XML // 2**20} MB")
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = reader.doctype
    # The declaration names the encoding of bytes that have become text by now.
    text = re.sub(r"^\s*<\?xml[^>]*\?>", "", xml.strip("\ufeff \t\r\n\0"))
    try:
        parser.Parse(text.encode("utf-8", "surrogatepass"), True)
    except expat.ExpatError as error:
        raise OmeError(str(error)) from error
    except (ValueError, OverflowError) as error:
        raise OmeError(" ".join(str(error).split())) from error
    return reader.uuid, reader.images


class _Reader:
    def __init__(self) -> None:
        self.uuid = ""
        self.images: list[OmeImage] = []
        self._in_uuid = False

    def start(self, name: str, facts: dict[str, str]) -> None:
        name = name.rpartition(":")[2]
        if name == "OME":
            self.uuid = facts.get("UUID", "")
        elif name == "Image":
            self.images.append(OmeImage(name=facts.get("Name", "")))
        elif self.images:
            self._within(self.images[-1], name, facts)

    def _within(self, image: OmeImage, name: str, facts: dict[str, str]) -> None:
        if name == "Name":
            return
        if name == "Pixels":
            image.size_px = (_whole(facts["SizeX"]), _whole(facts["SizeY"])) if _sized(facts) else (0, 0)
            image.depths = (_whole(facts.get("SizeC")), _whole(facts.get("SizeZ")), _whole(facts.get("SizeT")))
            image.pixel_um = _pixel_um(facts)
        elif name == "Channel":
            image.samples.append(max(1, _whole(facts.get("SamplesPerPixel"))))
            image.channel_names.append(facts.get("Name", ""))
        elif name == "TiffData":
            ifd = facts.get("IFD")
            planes = facts.get("PlaneCount", facts.get("NumPlanes"))
            image.data.append(
                OmeData(
                    None if ifd is None else _whole(ifd),
                    None if planes is None else _whole(planes),
                    _whole(facts.get("FirstC", "0")),
                )
            )
        elif name == "UUID" and image.data:
            image.data[-1].file_name = facts.get("FileName")
            self._in_uuid = True

    def end(self, _name: str) -> None:
        self._in_uuid = False

    def text(self, text: str) -> None:
        if self._in_uuid:
            self.images[-1].data[-1].uuid += text.strip()

    def doctype(self, *_: object) -> None:
        raise OmeError("it has a document type, which OME-XML has not")


def _sized(facts: dict[str, str]) -> bool:
    return "SizeX" in facts and "SizeY" in facts


def _whole(text: str | None) -> int:
    value = 1 if text is None else int(text)
    if not 0 <= value < 2**31:
        raise OmeError(f"{value} is no number of pixels or planes")
    return value


def _pixel_um(facts: dict[str, str]) -> tuple[float, float] | None:
    sizes = []
    for axis in "XY":
        scale = UM_PER_UNIT.get(facts.get(f"PhysicalSize{axis}Unit", "µm").strip())  # OME: the default unit is µm
        text = facts.get(f"PhysicalSize{axis}")
        if scale is None or text is None:
            return None
        try:
            sizes.append(float(text) * scale)
        except ValueError:
            return None
    return sizes[0], sizes[1]

"""Which of a TIFF's pages are the picture, and which of them are its coarser levels.

A TIFF is a bag of pages. What the slide is, is said by OME-XML where there is any; otherwise the largest tiled page
is taken, the first of equals, and of the others those are its levels that are tiled, have its shape and its colours
and are smaller. Labels, photographs of the glass, masks, further focal planes are none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

import tifffile

from ki67.errors import SlideError
from ki67.slides.ome import OmeError, OmeImage, is_ome, read_ome
from ki67.slides.sources import REPAIR

Page: TypeAlias = tifffile.TiffPage
Planes: TypeAlias = tuple[Page, ...]

REDUCED: Final = 1
MASK: Final = 4
RGB_PLANES: Final = 3
NEARLY_AS_LARGE: Final = 0.5  # of the pixels of the picture read; a photograph of the glass has far fewer
UPRIGHT: Final = 1
RGB_NAMES: Final = re.compile(r"(?:channel[ :_-]*)?(?:\d+|r|g|b|red|green|blue|rgb)?(?:[ :_-]*\d+)?", re.IGNORECASE)
EXPORT: Final = "Export one plane as RGB"


@dataclass
class Layout:
    """The picture of a TIFF.

    Attributes
    ----------
    levels
        From fine to coarse: one page each, or three grey pages that are red, green and blue.
    ome
        What OME-XML says of it; None where there is none.
    warnings
        What of the choice a user should know.
    doubt
        Why what the file says of its pixel size cannot be about this picture; None where it can.
    """

    levels: list[Planes]
    ome: OmeImage | None = None
    warnings: list[str] = field(default_factory=list)
    doubt: str | None = None

    @property
    def page(self) -> Page:
        """The page (the first of them) of the finest level."""
        return self.levels[0][0]


def size_px(page: Page) -> tuple[int, int]:
    """Width and height of a page."""
    return int(page.imagewidth), int(page.imagelength)


def layout_of(path: Path, tiff: tifffile.TiffFile) -> Layout:
    """Choose the picture and its levels.

    Raises
    ------
    SlideError
        No picture, a stack, separate channels, or a picture of which a part is in another file.
    """
    pages = [page for page in tiff.pages if min(size_px(page)) > 0]
    if not pages:
        raise SlideError(path, "is a TIFF without a picture in it", REPAIR)
    description = pages[0].description
    if is_ome(description):
        try:
            uuid, images = read_ome(description)
        except OmeError as error:
            layout = _by_shape(path, pages)
            layout.doubt = f"has OME-XML that cannot be read ({error})"
            return layout
        images = [image for image in images if min(image.size_px) > 0]
        if images:
            return _by_ome(path, list(tiff.pages), uuid, images)
    _refuse_imagej_stack(path, tiff)
    return _by_shape(path, pages)


def _by_ome(path: Path, pages: Sequence[Page], uuid: str, images: Sequence[OmeImage]) -> Layout:
    pictures = [image for image in images if not image.is_accessory] or list(images)
    main = max(pictures, key=lambda image: image.size_px[0] * image.size_px[1])  # the first of equals
    _refuse_stack(path, main)
    indices = _pages_of(path, main, images, uuid)
    found = [pages[index] for index in indices if index < len(pages)]
    if len(found) < len(indices):
        text = f"announces {len(indices)} planes of its picture in OME-XML and holds {len(found)}"
        raise SlideError(path, text, REPAIR)
    if size_px(found[0]) != main.size_px:
        layout = _by_shape(path, [page for page in pages if min(size_px(page)) > 0])
        said, held = (f"{width} x {height} px" for width, height in (main.size_px, size_px(layout.page)))
        layout.doubt = (
            f"has OME-XML about a picture of {said} and holds one of {held} (cropped or shrunk?), so that the pixel "
            "size in it cannot be trusted"
        )
        return layout
    layout = Layout([tuple(found), *_levels_below(found, pages, set(indices), images)], main)
    if len(found) == RGB_PLANES:
        layout.warnings.append("its three grey planes are taken for red, green and blue, as OME-XML orders them")
    rivals = [image for image in pictures if image is not main and _rival(image.size_px, main.size_px)]
    layout.warnings += _rival_warning(main.size_px, len(rivals))
    return layout


def _refuse_stack(path: Path, image: OmeImage) -> None:
    channels, depth, times = image.depths
    colours = [name for name in image.channel_names if not RGB_NAMES.fullmatch(name.strip())]
    rgb = image.planes in {1, RGB_PLANES} and depth == times == 1
    if rgb and (image.planes == 1 or not colours):
        return
    names = f" called {', '.join(colours)}" if colours else ""
    counts = [f"{channels} channels{names}", f"{depth} focal planes", f"{times} times"]
    told = ", ".join(text for text, count in zip(counts, image.depths, strict=True) if count > 1)
    size = f"{image.size_px[0]} x {image.size_px[1]} px"
    found = f"holds a stack or separate channels ({told}, of {size}), expected one grey or RGB picture"
    raise SlideError(path, found, EXPORT)


def _pages_of(path: Path, image: OmeImage, images: Sequence[OmeImage], uuid: str) -> list[int]:
    """Return the directories of the picture's planes in their order."""
    places: dict[int, int] = {}
    before = sum(other.planes for other in images[: _place(images, image)])
    elsewhere: set[str] = set()
    for data in image.data:
        if data.file_name and data.file_name != path.name and (not uuid or data.uuid != uuid):
            elsewhere.add(data.file_name)
        first = data.ifd if data.ifd is not None else before if len(image.data) == 1 else None
        if first is None:
            continue
        count = data.planes if data.planes is not None else image.planes if data.ifd is None else 1
        for step in range(min(count, image.planes)):
            places.setdefault(data.first_c + step, first + step)
    if len(elsewhere) > 1 or (elsewhere and uuid):
        names = ", ".join(sorted(elsewhere)[:3])
        raise SlideError(path, f"is one file of several that make up an OME-TIFF ({names})", "Export it as one file")
    if not image.data:
        places = {step: before + step for step in range(image.planes)}
    return [places[step] for step in range(image.planes) if step in places] or [before]


def _place(images: Sequence[OmeImage], image: OmeImage) -> int:
    return next(index for index, other in enumerate(images) if other is image)


def _levels_below(
    main: Sequence[Page], pages: Sequence[Page], own: set[int], images: Sequence[OmeImage]
) -> list[Planes]:
    """Levels of OME pages: their sub-directories, or (older writers) further pages that no picture claims."""
    columns = [_levels_of(page, page.pages or ()) for page in main]
    if all(columns) and len({len(column) for column in columns}) == 1:
        rows = [tuple(row) for row in zip(*columns, strict=True)]
        return [row for row in rows if len({size_px(page) for page in row}) == 1]
    if len(main) > 1:
        return []
    claimed = own | {data.ifd for image in images for data in image.data if data.ifd is not None}
    free = [page for index, page in enumerate(pages) if index not in claimed and page.subfiletype & REDUCED]
    return [(page,) for page in _levels_of(main[0], free)]


def _by_shape(path: Path, pages: Sequence[Page]) -> Layout:
    whole = [page for page in pages if not int(page.subfiletype) & (MASK | REDUCED)] or list(pages)
    tiled = [page for page in whole if page.is_tiled]
    candidates = tiled or whole
    main = max(candidates, key=lambda page: size_px(page)[0] * size_px(page)[1])  # the first of equals
    others = [page for page in pages if page is not main]
    levels = _levels_of(main, [*(main.pages or ()), *others])
    rivals = [
        page
        for page in candidates
        if page is not main and all(page is not level for level in levels) and _rival(size_px(page), size_px(main))
    ]
    if len(rivals) >= RGB_PLANES - 1 and all(page.samplesperpixel == 1 for page in (main, *rivals)):
        width, height = size_px(main)
        found = f"holds {1 + len(rivals)} grey pictures of {width} x {height} px: a stack or separate channels"
        raise SlideError(path, f"{found}, expected one grey or RGB picture", EXPORT)
    return Layout([(main,), *((page,) for page in levels)], warnings=_rival_warning(size_px(main), len(rivals)))


def _refuse_imagej_stack(path: Path, tiff: tifffile.TiffFile) -> None:
    """Refuse ImageJ's stacks, of which all but the first picture may have no directory."""
    text = tiff.pages.first.description
    if not text.startswith("ImageJ="):
        return
    counts = {
        name: int(count) for name, count in re.findall(r"^(channels|slices|frames|images)=(\d{1,9})$", text, re.M)
    }
    if max(counts.values(), default=1) > 1:
        axes = ", ".join(f"{count} {name}" for name, count in counts.items() if name != "images" or len(counts) == 1)
        found = f"holds a stack or separate channels (ImageJ: {axes}), expected one grey or RGB picture"
        raise SlideError(path, found, EXPORT)


def _levels_of(main: Page, candidates: Sequence[Page]) -> list[Page]:
    """Return the coarser levels among the candidates, from fine to coarse, one of each size."""
    fitting = [page for page in candidates if _is_level(page, main)]
    flagged = [page for page in fitting if int(page.subfiletype) & REDUCED]
    by_size: dict[tuple[int, int], Page] = {}
    for page in flagged or fitting:
        by_size.setdefault(size_px(page), page)
    return [by_size[size] for size in sorted(by_size, reverse=True)]


def _is_level(page: Page, main: Page) -> bool:
    width, height = size_px(page)
    full_width, full_height = size_px(main)
    if not (page.is_tiled and 0 < width < full_width and 0 < height < full_height):
        return False
    if int(page.subfiletype) & MASK or page.dtype != main.dtype or page.samplesperpixel != main.samplesperpixel:
        return False
    # Rounded to whole pixels, each side is off by less than one of the level's own pixels.
    return abs(full_width * height - full_height * width) <= full_width + full_height


def _rival(size: tuple[int, int], main: tuple[int, int]) -> bool:
    return size[0] * size[1] >= NEARLY_AS_LARGE * main[0] * main[1]


def _rival_warning(size: tuple[int, int], rivals: int) -> list[str]:
    if not rivals:
        return []
    which = f"the largest ({size[0]} x {size[1]} px), of equals the first"
    return [f"it holds {1 + rivals} pictures of about one size: {which}, is read, the others are not"]

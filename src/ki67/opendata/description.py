"""How a data set tells of itself: a card to read, and Croissant 1.0 (JSON-LD) for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ki67 import __version__

CARD, CROISSANT, SUMS, TABLE = "README.md", "croissant.json", "SHA256SUMS", "items.csv"
"""Files at the top of a data set."""

COLUMNS: Final = {
    "name": "Text", "kind": "Text", "patient": "Text", "split": "Text", "picture": "Text", "cells": "Text",
    "regions": "Text", "width_px": "Integer", "height_px": "Integer", "mpp": "Float", "positive": "Integer",
    "negative": "Integer", "other": "Integer",
}  # fmt: skip
"""Columns of the table, and what Croissant calls their types."""

_MEANING: Final = {
    "name": "name of the picture",
    "kind": "field (a small picture) or slide",
    "patient": "pseudonym; all pictures of a patient are in one split",
    "split": "train, validation or test",
    "picture": "file, lossless where kind is field",
    "cells": "file of labelled cells: x, y (pixels, the centre of the first one is 0, 0), label; empty: not labelled",
    "regions": "file of labelled regions: GeoJSON, pixels; empty: none",
    "width_px": "width in pixels",
    "height_px": "height in pixels",
    "mpp": "micrometres per pixel",
    "positive": "labelled Ki-67 positive tumour cells",
    "negative": "labelled Ki-67 negative tumour cells",
    "other": "labelled other cells",
}

_CONTEXT: Final[dict[str, Any]] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The context that the Croissant 1.0 specification gives."""

_ENCODINGS: Final = {
    ".csv": "text/csv",
    ".tif": "image/tiff",
    ".geojson": "application/geo+json",
    ".md": "text/markdown",
}


@dataclass(frozen=True)
class Description:
    """What the owner says of a data set.

    Parameters
    ----------
    title, text
        Its name, and what is in it.
    creator
        Who made it.
    licence
        Under which terms it may be used: a URL, or a name such as ``CC-BY-4.0``.
    date
        Day of publication, ISO 8601.
    version
        Of the data set.
    url
        Where it will lie.
    """

    title: str
    text: str
    creator: str
    licence: str
    date: str
    version: str = "1.0.0"
    url: str = ""


def croissant(said: Description, sums: Mapping[str, str], sizes: Mapping[str, int]) -> dict[str, Any]:
    """Metadata of a data set in Croissant 1.0.

    Parameters
    ----------
    said
        What the owner says.
    sums, sizes
        SHA-256 and bytes of each file, by its name relative to the data set.
    """
    files = [
        {
            "@type": "cr:FileObject",
            "@id": name,
            "name": name,
            "contentUrl": name,
            "contentSize": f"{sizes[name]} B",
            "encodingFormat": _ENCODINGS[name[name.rindex(".") :]],
            "sha256": sums[name],
        }
        for name in sorted(sums)
    ]
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"items/{name}",
            "name": name,
            "description": _MEANING[name],
            "dataType": f"sc:{kind}",
            "source": {"fileObject": {"@id": TABLE}, "extract": {"column": name}},
        }
        for name, kind in COLUMNS.items()
    ]
    records = {
        "@type": "cr:RecordSet",
        "@id": "items",
        "name": "items",
        "key": {"@id": "items/name"},
        "field": fields,
    }
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": said.title,
        "description": said.text,
        "license": said.licence,
        "creator": {"@type": "sc:Organization", "name": said.creator},
        "datePublished": said.date,
        "version": said.version,
        "citeAs": f"{said.creator}: {said.title}, version {said.version}, {said.date}",
        **({"url": said.url} if said.url else {}),
        "distribution": files,
        "recordSet": [records],
    }


def card(said: Description, rows: Sequence[Mapping[str, str]]) -> str:
    """The data card, in Markdown."""
    meaning = "; ".join(f"`{name}`: {text}" for name, text in _MEANING.items())
    return _CARD.format(said=said, counts="\n".join(_counts(rows)), meaning=meaning, version=__version__)


def _counts(rows: Sequence[Mapping[str, str]]) -> Iterator[str]:
    for split in sorted({row["split"] for row in rows}):
        own = [row for row in rows if row["split"] == split]
        kinds = [sum(row["kind"] == kind for row in own) for kind in ("field", "slide")]
        cells = [sum(int(row.get(name) or 0) for row in own) for name in ("positive", "negative", "other")]
        numbers = [len({row["patient"] for row in own}), len(own), *kinds, *cells]
        yield "| " + " | ".join([split, *(f"{number:,}" for number in numbers)]) + " |"


_CARD: Final = """# {said.title}

{said.text}

Creator: {said.creator}. Licence: {said.licence}. Version {said.version}, {said.date}.

| split | patients | pictures | fields | slides | positive | negative | other |
|---|---|---|---|---|---|---|---|
{counts}

## Files
- `items.csv`: a line for each picture: {meaning}
- `fields/`: small pictures, lossless, each with its labelled cells in a CSV of the same name, and regions
- `slides/`: slides as pyramidal TIFF, each with its regions (`.geojson`) and cells (`_cells.csv`)
- `croissant.json`: the same for programs (Croissant 1.0); `SHA256SUMS`: of every file (`sha256sum -c SHA256SUMS`)

## How it was made
By `ki67 dataset export` {version}. Of every picture the pixels and the pixel size were kept and nothing else: label
and overview pictures, the scanner's notes, dates and file names are left out, patients and pictures are named anew.
Slides were compressed once more (JPEG, quality 95), unless the description says otherwise.

## How it is read
- `ki67 dataset check DIR`: everything there, nothing changed
- `ki67 evaluate cells DIR/fields --layout points --predictions FILE` (or without: the program's own count)
- `ki67 evaluate idc-region DIR/slides/NAME.tif DIR/slides/NAME.geojson --predictions FILE`

## Not for
Diagnosis. Splits are by patient: whoever mixes them measures what was learnt by heart.
"""

"""DICOM whole-slide images drawn in code."""

import io

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import JPEGBaseline8Bit, generate_uid

TILE = 128


def ycbcr_jpeg(tile):
    stream = io.BytesIO()
    Image.fromarray(tile).save(stream, "JPEG", quality=95, subsampling=0)
    return stream.getvalue()


def sequence(**facts):
    item = Dataset()
    for name, value in facts.items():
        setattr(item, name, value)
    return Sequence([item])


def write_dicom(
    path, rgb, mpp=0.5, series="1.2.3", flavour="VOLUME", photometric="YBR_FULL_422", jpeg=ycbcr_jpeg, **more
):
    height, width = rgb.shape[:2]
    frames = []
    for y in range(0, height, TILE):
        for x in range(0, width, TILE):
            tile = np.full((TILE, TILE, 3), 244, np.uint8)
            part = rgb[y : y + TILE, x : x + TILE]
            tile[: part.shape[0], : part.shape[1]] = part
            frames.append(jpeg(tile))
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.6"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = JPEGBaseline8Bit
    slide = Dataset()
    slide.file_meta = meta
    facts = {
        "SOPClassUID": meta.MediaStorageSOPClassUID, "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "StudyInstanceUID": "1.2", "SeriesInstanceUID": series, "Modality": "SM",
        "ImageType": ["ORIGINAL", "PRIMARY", flavour, "NONE"], "FrameOfReferenceUID": "1.2.9", "InstanceNumber": 1,
        "ImagedVolumeWidth": width * mpp / 1000, "ImagedVolumeHeight": height * mpp / 1000,
        "TotalPixelMatrixColumns": width, "TotalPixelMatrixRows": height, "TotalPixelMatrixFocalPlanes": 1,
        "TotalPixelMatrixOriginSequence": sequence(
            XOffsetInSlideCoordinateSystem=0, YOffsetInSlideCoordinateSystem=0
        ),
        "ImageOrientationSlide": [0, 1, 0, 1, 0, 0], "Rows": TILE, "Columns": TILE, "NumberOfFrames": len(frames),
        "SamplesPerPixel": 3, "PhotometricInterpretation": photometric, "PlanarConfiguration": 0, "BitsAllocated": 8,
        "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0, "LossyImageCompression": "01",
        "DimensionOrganizationType": "TILED_FULL", "NumberOfOpticalPaths": 1, "VolumetricProperties": "VOLUME",
        "SharedFunctionalGroupsSequence": sequence(
            PixelMeasuresSequence=sequence(PixelSpacing=[mpp / 1000, mpp / 1000], SliceThickness=0.004)
        ),
        "OpticalPathSequence": sequence(OpticalPathIdentifier="1"), "ContainerIdentifier": "A",
    }  # fmt: skip
    for name, value in (facts | more).items():
        setattr(slide, name, value)
    slide.PixelData = encapsulate(frames)
    slide["PixelData"].is_undefined_length = True
    slide.save_as(path, enforce_file_format=True)
    return path

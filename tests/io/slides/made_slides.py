"""Small slides as scanners write them, made here: OpenSlide takes each for its maker's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

SHAPE = (512, 768)


def tissue(shape: tuple[int, int] = SHAPE, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth colours, so that JPEG changes them little."""
    rng = np.random.default_rng(seed)
    small = rng.integers(90, 250, (shape[0] // 32 + 1, shape[1] // 32 + 1, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((shape[1], shape[0]), Image.Resampling.BICUBIC), np.uint8)


def philips(path: Path, image: NDArray[np.uint8], um_per_px: float = 0.25) -> None:
    """A Philips TIFF of two levels and a macro image in its description's place."""
    spacings = "".join(
        f'<DataObject ObjectType="PixelDataRepresentation"><Attribute Name="DICOM_PIXEL_SPACING" Group="0x0028" '
        f'Element="0x0030" PMSVR="IDoubleArray">&quot;{s:g}&quot; &quot;{s:g}&quot;</Attribute>'
        f'<Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_NUMBER" Group="0x301D" Element="0x2003" '
        f'PMSVR="IUInt16">{k}</Attribute></DataObject>'
        for k, s in enumerate((um_per_px / 1000, um_per_px / 500))
    )
    text = (
        '<?xml version="1.0" encoding="UTF-8" ?><DataObject ObjectType="DPUfsImport">'
        '<Attribute Name="DICOM_PATIENT_NAME" Group="0x0010" Element="0x0010" PMSVR="IString">SECRET</Attribute>'
        '<Attribute Name="PIM_DP_SCANNED_IMAGES" Group="0x301D" Element="0x1003" PMSVR="IDataObjectArray"><Array>'
        '<DataObject ObjectType="DPScannedImage"><Attribute Name="PIM_DP_IMAGE_TYPE" Group="0x301D" Element="0x1004" '
        'PMSVR="IString">WSI</Attribute><Attribute Name="DICOM_PIXEL_SPACING" Group="0x0028" Element="0x0030" '
        f'PMSVR="IDoubleArray">&quot;{um_per_px / 1000:g}&quot; &quot;{um_per_px / 1000:g}&quot;</Attribute>'
        '<Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE" Group="0x1001" Element="0x8B01" '
        f'PMSVR="IDataObjectArray"><Array>{spacings}</Array></Attribute></DataObject></Array></Attribute></DataObject>'
    )
    options = {"photometric": "rgb", "tile": (256, 256), "compression": "deflate", "metadata": None}
    with tifffile.TiffWriter(path) as writer:
        writer.write(image, description=text, software="Philips DP v1.0", **options)
        writer.write(image[::2, ::2], subfiletype=1, software="Philips DP v1.0", **options)
        writer.write(np.zeros((32, 32, 3), np.uint8), description="Macro", photometric="rgb", metadata=None)


def trestle(path: Path, image: NDArray[np.uint8], overlap: int = 16) -> None:
    """A Trestle TIFF: tiles of 128 px that overlap by 16."""
    side = 128
    step = side - overlap
    tiles = [
        image[y : y + side, x : x + side]
        for y in range(0, image.shape[0] - side + 1, step)
        for x in range(0, image.shape[1] - side + 1, step)
    ]
    rows, columns = (len(range(0, n - side + 1, step)) for n in image.shape[:2])
    text = f"Background Color=FFFFFF;Objective Power=20;OverlapsXY={overlap} {overlap}"
    with tifffile.TiffWriter(path) as writer:
        writer.write(
            iter(tiles), shape=(rows * side, columns * side, 3), dtype=np.uint8, photometric="rgb", tile=(side, side),
            description=text, software="MedScan", compression="deflate", metadata=None, resolution=(0.5, 0.5),
        )  # fmt: skip


def ndpi(path: Path, image: NDArray[np.uint8]) -> None:
    """A Hamamatsu NDPI: a JPEG a level, at 20x and 10x, and the macro image."""
    with tifffile.TiffWriter(path) as writer:
        for step, lens in ((1, 20.0), (2, 10.0), (16, -1.0)):
            level = np.ascontiguousarray(image[::step, ::step])
            writer.write(
                level, photometric="rgb", compression="jpeg", compressionargs={"level": 100}, rowsperstrip=len(level),
                metadata=None, resolution=(1e4 / (0.5 * step),) * 2, resolutionunit="CENTIMETER",
                extratags=[(65420, 4, 1, 1, True), (65421, 11, 1, lens, True), (65422, 9, 1, 0, True), (65423, 9, 1, 0, True),
                           (65424, 9, 1, 0, True)],
            )  # fmt: skip


def vms(folder: Path, image: NDArray[np.uint8]) -> Path:
    """A Hamamatsu VMS: two JPEGs side by side, a map, and a macro image with the label."""
    middle = image.shape[1] // 2
    for name, part in (("a", image[:, :middle]), ("a(1,0)", image[:, middle:]), ("a_map", image[::8, ::8])):
        blocks = part.shape[1] // 8 // 2
        Image.fromarray(part).save(
            folder / f"{name}.jpg", quality=100, subsampling=0, restart_marker_blocks=blocks
        )  # fmt: skip
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(folder / "a_macro.jpg")
    path = folder / "a.vms"
    path.write_text(
        "[Virtual Microscope Specimen]\nNoLayers=1\nNoJpegColumns=2\nNoJpegRows=1\nImageFile=a.jpg\n"
        "ImageFile(1,0)=a(1,0).jpg\nMapFile=a_map.jpg\nMacroImage=a_macro.jpg\nSourceLens=20\n"
        f"PhysicalWidth={image.shape[1] * 500}\nPhysicalHeight={image.shape[0] * 500}\n"
    )
    return path


def scn(path: Path, image: NDArray[np.uint8], place: tuple[int, int] = (100, 200)) -> None:
    """A Leica SCN: an area of 0.5 um/px within a larger collection, and the macro image of all of it."""
    height, width = image.shape[:2]
    nm = 500
    whole = ((height + 300) * nm, (width + 500) * nm)

    def entry(
        name: str, sizes: list[tuple[int, int]], first: int, view: tuple[int, int], at: tuple[int, int], lens: float
    ) -> str:
        levels = "".join(
            f'<dimension sizeX="{w}" sizeY="{h}" r="{k}" ifd="{first + k}"/>' for k, (h, w) in enumerate(sizes)
        )
        return (
            f'<image name="{name}" uuid="urn:uuid:{name}"><creationDate>2020-01-01</creationDate>'
            f'<device model="Leica SCN400" version="1"/><pixels sizeX="{sizes[0][1]}" sizeY="{sizes[0][0]}">{levels}'
            f'</pixels><view sizeX="{view[1]}" sizeY="{view[0]}" offsetX="{at[1]}" offsetY="{at[0]}" spacingZ="0"/>'
            f"<scanSettings><objectiveSettings><objective>{lens:g}</objective></objectiveSettings>"
            "<illuminationSettings><numericalAperture>0.4</numericalAperture><illuminationSource>brightfield"
            "</illuminationSource></illuminationSettings></scanSettings></image>"
        )

    macro = (32, round(32 * whole[1] / whole[0]))
    sizes = [(height, width), (height // 4, width // 4)]
    text = (
        '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01" uuid="urn:uuid:c">'
        f'<collection name="SECRET" uuid="urn:uuid:c" sizeX="{whole[1]}" sizeY="{whole[0]}">'
        "<barcode>SECRET</barcode>"
        + entry("macro", [macro], 0, whole, (0, 0), 0.6)
        + entry("slide", sizes, 1, (height * nm, width * nm), (place[0] * nm, place[1] * nm), 20)
        + "</collection></scn>"
    )
    options = {"photometric": "rgb", "tile": (256, 256), "compression": "deflate", "metadata": None}
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        writer.write(np.zeros((*macro, 3), np.uint8), description=text, **options)
        for step in (1, 4):
            resolution = {"resolution": (1e7 / nm / step,) * 2, "resolutionunit": "CENTIMETER"}
            writer.write(np.ascontiguousarray(image[::step, ::step]), **options, **resolution)


def dicom(folder: Path, image: NDArray[np.uint8], *, series: str = "1.2.3.4", rle: bool = False) -> list[Path]:
    """A DICOM whole slide: three levels (1, 2, 4), a label and a thumbnail, each of a name that is no hint."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = [("VOLUME", 1), ("LABEL", 16), ("VOLUME", 2), ("THUMBNAIL", 8), ("VOLUME", 4)]
    paths = []
    for k, (kind, step) in enumerate(parts):
        pixels = np.zeros_like(image[::step, ::step]) if kind == "LABEL" else image[::step, ::step]
        paths.append(folder / f"I{series[-1]}{k}.dcm")
        _dicom_file(paths[-1], np.ascontiguousarray(pixels), kind, step, f"{series}.{k}", series, rle)
    return paths


def _dicom_file(path: Path, image: NDArray[np.uint8], kind: str, step: int, uid: str, series: str, rle: bool) -> None:
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.sequence import Sequence
    from pydicom.uid import JPEGBaseline8Bit, RLELossless

    tile = 256
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.6"
    meta.MediaStorageSOPInstanceUID = uid
    meta.TransferSyntaxUID = RLELossless if rle else JPEGBaseline8Bit
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, uid
    data.SpecificCharacterSet = "ISO_IR 192"
    data.PatientName, data.PatientID, data.PatientBirthDate = "SECRET^NAME", "SECRET", "19500101"
    data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = "1.2.3", series, "1.2.3.9"
    data.ImageType, data.Modality = ["DERIVED", "PRIMARY", kind, "NONE"], "SM"
    data.ContainerIdentifier, data.StudyID, data.AccessionNumber = "SECRET", "SECRET", "SECRET"
    data.Manufacturer, data.ManufacturerModelName, data.DeviceSerialNumber = "m", "m", "1"
    data.SoftwareVersions, data.InstanceNumber, data.SeriesNumber = "1", "1", 1
    data.AcquisitionDateTime = data.ContentDate = "20200101"
    data.ContentTime = "000000"
    data.SamplesPerPixel, data.BitsAllocated, data.BitsStored, data.HighBit = 3, 8, 8, 7
    data.PixelRepresentation, data.PlanarConfiguration, data.PhotometricInterpretation = 0, 0, "RGB"
    data.Rows = data.Columns = tile
    data.TotalPixelMatrixRows, data.TotalPixelMatrixColumns = image.shape[:2]
    data.TotalPixelMatrixFocalPlanes, data.NumberOfOpticalPaths = 1, 1
    data.ImagedVolumeWidth, data.ImagedVolumeHeight = (image.shape[k] * step * 5e-4 for k in (1, 0))
    data.ImagedVolumeDepth = 0.001
    data.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
    data.DimensionOrganizationType, data.VolumetricProperties = "TILED_FULL", "VOLUME"
    data.BurnedInAnnotation, data.FocusMethod, data.ExtendedDepthOfField = "NO", "AUTO", "NO"
    data.SpecimenLabelInImage, data.LossyImageCompression = "YES" if kind == "LABEL" else "NO", "01"
    origin = Dataset()
    origin.XOffsetInSlideCoordinateSystem = origin.YOffsetInSlideCoordinateSystem = 0
    data.TotalPixelMatrixOriginSequence = Sequence([origin])
    measures, shared, optical = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [5e-4 * step] * 2, 0.001
    shared.PixelMeasuresSequence = Sequence([measures])
    data.SharedFunctionalGroupsSequence = Sequence([shared])
    optical.OpticalPathIdentifier, optical.ObjectiveLensPower = "0", 20
    light = Dataset()
    light.CodeValue, light.CodingSchemeDesignator, light.CodeMeaning = "111744", "DCM", "Brightfield illumination"
    optical.IlluminationTypeCodeSequence = Sequence([light])
    data.OpticalPathSequence = Sequence([optical])
    tiles = []
    padded = np.pad(image, [(0, -n % tile) for n in image.shape[:2]] + [(0, 0)], mode="edge")
    for y in range(0, image.shape[0], tile):
        for x in range(0, image.shape[1], tile):
            tiles.append(padded[y : y + tile, x : x + tile])
    data.NumberOfFrames = len(tiles)
    data.PixelData = encapsulate([_rle(t) if rle else _jpeg(t) for t in tiles])
    data["PixelData"].is_undefined_length = True
    data.save_as(path, enforce_file_format=True)


def _jpeg(tile: NDArray[np.uint8]) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.jpeg8_encode(tile, level=100, colorspace="rgb", outcolorspace="rgb"))


def _rle(tile: NDArray[np.uint8]) -> bytes:
    """DICOM's run lengths: a segment a colour, here of runs that repeat nothing."""
    segments = []
    for k in range(3):
        plane = tile[..., k].tobytes()
        rows = [plane[i : i + 128] for i in range(0, len(plane), 128)]
        segments.append(b"".join(bytes([len(r) - 1]) + r for r in rows))
        segments[-1] += b"\0" * (len(segments[-1]) % 2)
    offsets, at = [], 64
    for segment in segments:
        offsets.append(at)
        at += len(segment)
    header = np.array([3, *offsets, *[0] * 12], "<u4").tobytes()
    return header + b"".join(segments)

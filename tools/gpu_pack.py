"""What a machine with a card and no package index needs: wheels of what it lacks, and a dozen crops, in one folder.

    python tools/gpu_pack.py [--out .gpu] [--data FOLDER] [--python 3.12]

Such a machine has torch, torchvision, timm, numpy, pandas, OpenCV, scikit-image, tifffile, safetensors, jinja2, typer and psutil
with what they need. The rest, at the versions that are installed here, comes as wheels for Linux on x86-64; the crops
(whole patients, the smaller ones first) lie in the layout of MoNuSAC. ``tools/gpu_check.py`` is what runs there.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: What the command line and the check import beyond what such a machine has. pytest and MONAI are for the check alone.
CARRIED = (
    "albumentations", "albucore", "stringzilla", "simsimd",
    "segmentation-models-pytorch",
    "pydantic", "pydantic-core", "annotated-types", "typing-inspection", "pydantic-settings", "python-dotenv",
    "zarr", "numcodecs", "donfig", "google-crc32c",
    "dask", "cloudpickle", "toolz", "partd", "locket",
    "imagecodecs", "tomli-w", "shapely", "platformdirs", "psygnal",
    "pytest", "pytest-timeout", "iniconfig", "pluggy", "hypothesis", "sortedcontainers",
    "monai",
)  # fmt: skip
#: pip matches the number exactly.
GLIBC = ("2_39", "2_34", "2_28", "2_27", "2_26", "2_24", "2_17", "_2014", "2_12", "_2010", "2_5", "_1")
MOST_BYTES = 60_000_000
CROPS, CROPS_BYTES, SMALLEST_CROP_BYTES = 12, 4_500_000, 90_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / ".gpu", help="an ignored folder; what it held goes")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "monusac")
    parser.add_argument("--python", default="3.12", help="of the machine with the card")
    args = parser.parse_args()
    shutil.rmtree(args.out, ignore_errors=True)
    wheels = args.out / "wheels"
    wheels.mkdir(parents=True)
    download(wheels, args.python)
    images = copy_crops(args.data, args.out / "crops") if args.data.is_dir() else 0
    size = sum(f.stat().st_size for f in args.out.rglob("*") if f.is_file())
    print(f"{args.out}: {len(list(wheels.iterdir()))} wheels, {images} crops, {size / 1e6:.1f} MB")
    if size > MOST_BYTES:
        print(f"more than {MOST_BYTES / 1e6:.0f} MB: leave out crops or a wheel", file=sys.stderr)
        return 1
    return 0


def download(folder: Path, python: str) -> None:
    """Download the wheels: of each its installed version, or the newest."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--python-version", python, "--implementation", "cp", "--dest", str(folder)]
    for abi in (f"cp{python.replace('.', '')}", "abi3", "none"):
        command += ["--abi", abi]
    for glibc in GLIBC:
        command += ["--platform", f"manylinux{'' if glibc.startswith('_') else '_'}{glibc.removeprefix('_')}_x86_64"]
    subprocess.run([*command, *map(requirement, CARRIED)], check=True)


def requirement(name: str) -> str:
    try:
        return f"{name}=={version(name)}"
    except PackageNotFoundError:
        return name


def copy_crops(data: Path, out: Path) -> int:
    """Copy a dozen crops with their outlines, smaller ones first, at most three of a patient; say how many."""
    patients: dict[str, int] = {}
    left = CROPS_BYTES
    for image in sorted(data.rglob("*.tif"), key=lambda f: f.stat().st_size):
        size, patient, outlines = image.stat().st_size, image.parent.name, image.with_suffix(".xml")
        if size < SMALLEST_CROP_BYTES or size > left or patients.get(patient, 0) == 3 or not outlines.is_file():
            continue
        folder = out / image.parent.relative_to(data)
        folder.mkdir(parents=True, exist_ok=True)
        for file in (image, outlines):
            shutil.copyfile(file, folder / file.name)
        patients[patient] = patients.get(patient, 0) + 1
        left -= size
        if sum(patients.values()) == CROPS:
            break
    return sum(patients.values())


if __name__ == "__main__":
    sys.exit(main())

"""Feeds mutated annotation files to the readers: no crash, no hang, our own error or the result of ElementTree.

    python benchmarks/fuzz_annotations.py [--examples 10000] [--seed 0] [--json]

Four in five mutants are Aperio XML, the others GeoJSON or COCO. Any error but a `MonusacError` is a failure. XML that
is read must have the coordinates that ElementTree finds, and be the same after writing and reading once more.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import resource
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np

from napari_monusac.core.errors import MonusacError
from napari_monusac.io.annotations.coco import read_coco
from napari_monusac.io.annotations.files import Bounds, read_annotation, write_annotation

BOUNDS = Bounds(max_bytes=2**20, max_vertices=5000, max_regions=500, max_layers=50, max_depth=20)
VERTEX = '<Vertex X="{}" Y="{}" Z="0"/>'
TOKENS = [
    "<!DOCTYPE a [<!ENTITY a 'b'>]>",
    "&a;",
    "&amp;",
    "&#49;",
    "&#x31;",
    "<!-- <Vertices> -->",
    "<![CDATA[<Vertices>]]>",
    "<?pi <Vertices>?>",
    "<Vertices>",
    "</Vertices>",
    "<Vertex/>",
    "<Region>",
    "</Region>",
    '<Foo><Vertices><Vertex X="1" Y="2"/></Vertices></Foo>',
    "text",
    'monusac-cut="0"',
    " monusac-cut='0'",
    "nan",
    "inf",
    "-",
    "--1",
    "1e5",
    "1e999",
    "1_0",
    "1,5",
    "+3",
    " 7 ",
    ".5",
    "5.",
    "٣",
    "\x00",
    "é",
    "\ufeff",
    '"',
    "'",
    "<",
    ">",
    "/>",
    "=",
    "]]>",
    "9" * 25,
    "0" * 400,
    "<a>" * 40,
    "Ambiguous",
    "../../etc/passwd",
    '" onload="',
    "\r\n",
    "\t",
    "\x0b",
]
JSON_TOKENS = [
    "[",
    "]",
    "{",
    "}",
    "null",
    "true",
    "NaN",
    "1e999",
    "-1",
    "9" * 400,
    '""',
    "[]",
    "{}",
    ",",
    "[[[[",
    '"a"',
    ":",
    '"../x"',
    "[" * 3000,
]


def seed_xml(rng: random.Random) -> str:
    """A small valid file in one of the two usual layouts."""
    compact = rng.random() < 0.5
    layers = []
    for name in rng.sample(
        ["Epithelial", "Lymphocyte", "Neutrophil", "Macrophage", "Ambiguous", "Description", ""], rng.randint(1, 4)
    ):
        regions = []
        for k in range(rng.randint(0, 4)):
            kind = rng.choice(["{}", "{}.5", "-{}", "{}.123456"])
            form = VERTEX if rng.random() < 0.7 else VERTEX.replace(' Z="0"', "")
            points = [
                form.format(kind.format(rng.randint(0, 50)), kind.format(rng.randint(0, 50)))
                for _ in range(rng.randint(0, 8))
            ]
            space = "" if compact else "\n\t\t\t\t\t"
            start = f'<Region Id="{k}" Type="0" Length="1.0" Area="2.0"><Attributes/><Vertices>'
            regions.append(start + "".join(space + p for p in points) + "</Vertices></Region>")
        attributes = (
            f'<Attributes><Attribute Name="{name}" Id="0" Value=""/></Attributes>' if rng.random() < 0.9 else ""
        )
        layers.append(
            f'<Annotation Id="1" LineColor="255">{attributes}<Regions>{"".join(regions)}</Regions><Plots/></Annotation>'
        )
    head = rng.choice(
        [
            "",
            "",
            '<?xml version="1.0"?>\n',
            '<?xml version="1.0" encoding="utf-8"?>\n',
            '<?xml version="1.0" encoding="iso-8859-1"?>',
        ]
    )
    return f'{head}<Annotations MicronsPerPixel="0.25">{"".join(layers)}</Annotations>\n'


def seed_json(rng: random.Random) -> str:
    """A small valid GeoJSON or COCO file."""
    ring = [[rng.randint(0, 50), rng.random() * 50] for _ in range(rng.randint(3, 6))]
    if rng.random() < 0.5:
        polygon = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
        features = [
            {"type": "Feature", "geometry": polygon, "properties": {"classification": {"name": "Epithelial"}}}
        ] * rng.randint(1, 3)
        return json.dumps({"type": "FeatureCollection", "features": features})
    image = {"id": 1, "file_name": "a.png", "height": 60, "width": 60}
    shape = (
        [[value for pair in ring for value in pair]]
        if rng.random() < 0.6
        else {"size": [60, 60], "counts": [100, 30, 3470]}
    )
    entry = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": shape}
    return json.dumps({"images": [image], "annotations": [entry], "categories": [{"id": 1, "name": "Epithelial"}]})


def mutated(content: bytes, tokens: list[str], rng: random.Random) -> bytes:
    """One to four random edits; half of them exchange one value, which leaves the file well-formed."""
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        at, to = sorted((rng.randint(0, len(content)), rng.randint(0, len(content))))
        kind = rng.choice([0, 1, 2, 3, 4, 5, 5, 5, 5, 5, 5, 6, 7, 8])
        if kind == 0 and content:
            at = min(at, len(content) - 1)
            content = content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :]
        elif kind == 1:
            content = content[:at] + content[min(to, at + rng.randint(1, 40)) :]
        elif kind == 2:
            content = content[:to] + content[at:to] + content[to:] if len(content) < 200_000 else content
        elif kind in (3, 4):
            content = content[:at] + rng.choice(tokens).encode("utf-8", "surrogatepass") + content[at:]
        elif kind == 5:
            found = list(re.finditer(rb'"[^"]*"|\d+', content))
            if found:
                spot = rng.choice(found)
                quoted = spot[0][:1] == b'"'
                new = rng.choice(tokens).encode("utf-8", "surrogatepass")
                content = content[: spot.start()] + (b'"%s"' % new if quoted else new) + content[spot.end() :]
        elif kind == 6:
            content = content[:at]
        elif kind == 8:
            # between two elements, where most tokens are well-formed
            spots = [m.end() for m in re.finditer(rb"[>,]", content)]
            at = rng.choice(spots) if spots else 0
            content = content[:at] + rng.choice(tokens).encode("utf-8", "surrogatepass") + content[at:]
        else:
            codec = rng.choice(["utf-16", "utf-8-sig", "latin-1", "cp037"])
            content = content.decode("utf-8", "replace").encode(codec, "replace") if rng.random() < 0.2 else content
    return content


def reference(content: bytes) -> list[list[tuple[float, float]]] | None:
    """Coordinates as ElementTree finds them; None where the file is none of ours."""
    try:
        # UTF-16 is read as such, whatever is declared; ElementTree ignores the declaration of a string
        wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
        root = ET.fromstring(content.decode("utf-16") if wide else content)
        return [
            [(float(v.get("Y", "")), float(v.get("X", ""))) for v in region.findall("Vertices/Vertex")]
            for layer in root.findall("Annotation")
            for regions in layer.findall("Regions")
            for region in regions.findall("Region")
        ]
    except (ET.ParseError, ValueError, LookupError):
        return None


def check_xml(content: bytes, folder: Path) -> str:
    """Read a mutant: 'read' or 'refused'; anything else raises."""
    path = folder / "mutant.xml"
    path.write_bytes(content)
    try:
        annotation = read_annotation(path, BOUNDS)
    except MonusacError as error:
        if "\n" in str(error) or str(path) not in str(error):
            raise AssertionError(f"message without file or of several lines: {error!r}") from error
        return "refused"
    expected = reference(content)
    if expected is None:
        raise AssertionError("read, though ElementTree refuses it")
    got = [list(map(tuple, region.vertices.tolist())) for region in annotation]
    if got != expected:
        raise AssertionError("other coordinates than ElementTree")
    again = folder / "again.xml"
    write_annotation(annotation, again)
    back = read_annotation(again, BOUNDS)
    if back.layers != annotation.layers or back.regions != annotation.regions or back.um_per_px != annotation.um_per_px:
        raise AssertionError("another annotation after writing and reading")
    return "read"


def check_json(content: bytes, folder: Path) -> str:
    """As `check_xml`, for GeoJSON and COCO."""
    path = folder / "mutant.json"
    path.write_bytes(content)
    try:
        annotation = read_annotation(path, BOUNDS)
        if b'"images"' in content:
            read_coco(path, BOUNDS)
    except MonusacError as error:
        if "\n" in str(error) or str(path) not in str(error):
            raise AssertionError(f"message without file or of several lines: {error!r}") from error
        return "refused"
    if not all(np.isfinite(region.vertices).all() for region in annotation):
        raise AssertionError("a coordinate is no number")
    return "read"


def run(examples: int, seed: int, keep: Path | None = None) -> dict[str, float]:
    """Check `examples` mutants; the failures are left in `keep`."""
    rng = random.Random(seed)
    counts = {"read": 0, "refused": 0, "failed": 0}
    slowest = 0.0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for k in range(examples):
            is_json = k % 5 == 4
            content = (seed_json if is_json else seed_xml)(rng).encode()
            content = mutated(content, JSON_TOKENS if is_json else TOKENS, rng)
            started = time.perf_counter()
            try:
                outcome = (check_json if is_json else check_xml)(content, folder)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is what we look for
                outcome = "failed"
                print(f"example {k}: {type(error).__name__}: {error}", file=sys.stderr)
                if keep is not None:
                    (keep / f"fuzz-{seed}-{k}{'.json' if is_json else '.xml'}").write_bytes(content)
            slowest = max(slowest, time.perf_counter() - started)
            counts[outcome] += 1
    return {**counts, "slowest_s": slowest, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the mutants that fail")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    result = run(args.examples, args.seed, args.keep)
    if args.json:
        print(json.dumps(result))
    else:
        print(f"{args.examples} mutants: {result['read']} read, {result['refused']} refused, {result['failed']} failed")
        print(f"slowest {result['slowest_s'] * 1e3:.0f} ms, peak memory {result['peak_mib']:.0f} MiB")
    return int(result["failed"] > 0)


if __name__ == "__main__":
    sys.exit(main())

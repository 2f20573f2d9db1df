from __future__ import annotations

import csv
import errno
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage.draw import polygon as draw_polygon

from napari_monusac.core.classes import NucleusClass
from napari_monusac.core.errors import CollectionError
from napari_monusac.core.jsonl import AppendLog
from napari_monusac.io.annotations.files import read_annotation
from napari_monusac.io.collection.collection import open_collection
from napari_monusac.io.doctor.examine import examine
from napari_monusac.io.doctor.mend import fix
from napari_monusac.io.doctor.report import KINDS, DoctorReport
from napari_monusac.io.slides.slide import open_slide

SHAPE = (200, 260)
SQUARE = [(20, 20), (50, 20), (50, 50), (20, 50)]


def shifted(points: list[tuple[float, float]], dx: float, dy: float) -> list[tuple[float, float]]:
    return [(x + dx, y + dy) for x, y in points]


def xml(*regions: tuple[str, list[tuple[float, float]]], um: float | None = 0.25) -> str:
    """ImageScope XML of (class, [(x, y), ...]); one layer a region keeps it simple."""
    scale = f' MicronsPerPixel="{um}"' if um else ""
    layers = []
    for k, (name, points) in enumerate(regions, start=1):
        vertices = "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in points)
        layers.append(
            f'<Annotation Id="{k}" Name="" LineColor="255"><Attributes><Attribute Name="{name}" Id="0" Value=""/>'
            f'</Attributes><Regions><Region Id="{k}"><Vertices>{vertices}</Vertices></Region></Regions></Annotation>'
        )
    return f"<Annotations{scale}>{''.join(layers)}</Annotations>"


def tissue(seed: int, shape: tuple[int, int] = SHAPE, dye: float = 1.0) -> np.ndarray:
    """Discs of haematoxylin on eosin (Ruifrok & Johnston's densities)."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    stain = np.zeros(shape)
    for _ in range(60):
        y, x, r = rng.integers(0, shape[0]), rng.integers(0, shape[1]), rng.integers(5, 11)
        stain[(yy - y) ** 2 + (xx - x) ** 2 < r * r] = rng.uniform(0.8, 1.2)
    eosin = 0.5 + rng.normal(0, 0.05, shape)
    density = dye * (stain[..., None] * [0.65, 0.70, 0.29] + eosin[..., None] * [0.07, 0.99, 0.11])
    return np.clip(np.rint(255 * np.exp(-density)), 0, 255).astype(np.uint8)


def crop(folder: Path, name: str, seed: int, text: str | None = None, swap: bool = False, dye: float = 1.0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    image = tissue(seed, dye=dye)
    path = folder / f"{name}.tif"
    tifffile.imwrite(path, image[..., ::-1] if swap else image, photometric="rgb", compression="lzw")
    path.with_suffix(".xml").write_text(xml(("Epithelial", SQUARE)) if text is None else text)
    return path


def codes(report: DoctorReport) -> set[str]:
    return {f.code for f in report.findings}


def test_a_clean_folder_has_no_finding_but_its_classes(tmp_path: Path) -> None:
    names = ("Epithelial", "Lymphocyte", "Neutrophil", "Macrophage")
    text = xml(*((n, shifted(SQUARE, 50 * k, 20)) for k, n in enumerate(names)))
    for k in range(3):
        crop(tmp_path, f"p{k}_1", k, text)
    report = examine(tmp_path)
    assert report.findings == ()
    assert report.verdict == "nothing wrong"
    assert (report.crops, report.patients) == (3, 3)
    assert report.nuclei["Neutrophil"] == 3


def test_swapped_images_one_finding_each_and_none_for_a_right_one(tmp_path: Path) -> None:
    for k in range(4):
        crop(tmp_path, f"anna_{k}", k, swap=True)
        crop(tmp_path, f"berta_{k}", 10 + k)
    report = examine(tmp_path)
    assert sorted(f.image for f in report.of("swapped-channels")) == [f"anna_{k}" for k in range(4)]
    assert {f.patient for f in report.of("swapped-channels")} == {"anna"}
    assert "4 crops: red and blue swapped, put right" in report.verdict


@pytest.mark.parametrize(("code", "text"), [
    ("degenerate-region", xml(("Epithelial", SQUARE), ("Epithelial", [(5, 5), (9, 9), (5, 5)]))),
    ("zero-area", xml(("Epithelial", SQUARE), ("Epithelial", [(5, 5), (9, 9), (13, 13)]))),
    ("tiny-nucleus", xml(("Epithelial", SQUARE), ("Epithelial", [(5, 5), (9, 5), (9, 9), (5, 9)]))),
    ("self-crossing", xml(("Epithelial", [(20, 20), (60, 60), (60, 20), (20, 60)]))),
    ("out-of-bounds", xml(("Epithelial", shifted(SQUARE, -25, 0)))),
    ("outside-the-image", xml(*[("Epithelial", shifted(SQUARE, 40 * (k % 5), 40 * (k // 5))) for k in range(12)],
                              ("Epithelial", shifted(SQUARE, -100, 0)))),
    ("size-mismatch", xml(*[("Epithelial", shifted(SQUARE, 300, 40 * k)) for k in range(4)])),
    ("duplicate-nucleus", xml(("Epithelial", SQUARE), ("Epithelial", shifted(SQUARE, 1, 0)))),
    ("heavy-overlap", xml(("Epithelial", SQUARE), ("Lymphocyte", shifted(SQUARE, 15, 0)))),
    ("unknown-class", xml(("Epithelial", SQUARE), ("Epithelail", shifted(SQUARE, 60, 0)))),
    ("unclassified-nuclei", xml(("Epithelial", SQUARE), ("Description", shifted(SQUARE, 60, 0)))),
    ("missing-um-per-px", xml(("Epithelial", SQUARE), um=None)),
    ("no-nuclei", xml()),
    ("unreadable-annotation", "<Annotations><Annotation>"),
    ("unreadable-annotation", '<!DOCTYPE a [<!ENTITY b "c">]><Annotations>&b;</Annotations>'),
])  # fmt: skip
def test_what_an_annotation_can_have(tmp_path: Path, code: str, text: str) -> None:
    crop(tmp_path, "anna_1", 1, text)
    crop(tmp_path, "berta_1", 2)
    report = examine(tmp_path)
    found = report.of(code)
    assert len(found) == 1
    assert found[0].image == "anna_1"
    assert found[0].patient == "anna"
    assert found[0].mend
    assert found[0].effect
    others = codes(report) - {code, "class-missing", "class-in-one-patient"}
    assert others <= ({"missing-um-per-px"} if code == "unreadable-annotation" else set()), others


@pytest.mark.parametrize(("dx", "dy"), [(-30.4, 3), (-20.2, -30.7), (220.3, 160.6), (215, 2.5)])
def test_cut_at_the_edge_draws_the_same_pixels(tmp_path: Path, dx: float, dy: float) -> None:
    blob = [(25 + 22 * np.cos(a) + dx, 40 + 17 * np.sin(a) + dy) for a in np.linspace(0, 6.2, 40)]
    crop(tmp_path / "data", "a_1", 1, xml(("Epithelial", blob)))
    report = examine(tmp_path / "data")
    assert len(report.of("out-of-bounds")) == 1
    fix(report, tmp_path / "out")
    assert np.array_equal(drawn(tmp_path / "data" / "a_1.xml"), drawn(tmp_path / "out" / "a_1.xml"))
    assert not examine(tmp_path / "out").of("out-of-bounds")


def test_a_finding_points_at_the_spot(tmp_path: Path) -> None:
    crop(tmp_path, "a_1", 1, xml(("Epithelial", SQUARE), ("Epithelial", [(120, 20), (160, 60), (160, 20), (120, 60)])))
    (found,) = examine(tmp_path).of("self-crossing")
    assert found.at == (40, 140)
    assert found.nuclei == (1,)


def test_a_duplicate_of_another_class_is_an_error(tmp_path: Path) -> None:
    crop(tmp_path, "a_1", 1, xml(("Epithelial", SQUARE), ("Lymphocyte", SQUARE)))
    (found,) = examine(tmp_path).of("duplicate-nucleus")
    assert found.severity == "error"


def test_what_images_can_have(tmp_path: Path) -> None:
    for k in range(9):
        crop(tmp_path, f"p{k}_1", k)
    crop(tmp_path, "dark_1", 50, dye=2.6)
    (tmp_path / "broken_1.tif").write_bytes((tmp_path / "p1_1.tif").read_bytes()[:900])
    shutil.copy(tmp_path / "p2_1.tif", tmp_path / "twin_1.tif")
    tifffile.imwrite(tmp_path / "glass_1.tif", np.full((64, 64, 3), 250, np.uint8), photometric="rgb")
    (tmp_path / "alone_1.xml").write_text(xml(("Epithelial", SQUARE)))
    tifffile.imwrite(tmp_path / "scale_1.tif", tissue(77), photometric="rgb", resolution=(20000, 20000),
                     resolutionunit="centimeter")  # fmt: skip
    (tmp_path / "scale_1.xml").write_text(xml(("Epithelial", SQUARE)))
    report = examine(tmp_path)
    where = {code: {f.image for f in report.of(code)} for code in codes(report)}
    assert where["stain-outlier"] == {"dark_1"}
    assert where["unreadable-image"] == {"broken_1"}
    assert where["identical-images"] == {"twin_1"}
    assert where["little-tissue"] == {"glass_1"}
    assert where["missing-image"] == {"alone_1"}
    assert where["missing-annotation"] == {"broken_1", "twin_1", "glass_1"}
    assert where["contradicting-um-per-px"] == {"scale_1"}


def test_a_guessed_scale_and_pixels_that_are_not_square_are_found(tmp_path: Path) -> None:
    aperio = "Aperio Image Library v10\n192x160 (64x64)|AppMag = 20"
    tifffile.imwrite(tmp_path / "a_1.tif", tissue(1), photometric="rgb", description=aperio, metadata=None)
    tifffile.imwrite(tmp_path / "b_1.tif", tissue(2), photometric="rgb", resolution=(40000, 20000),
                     resolutionunit="centimeter")  # fmt: skip
    report = examine(tmp_path)
    (guessed,), (unequal,) = report.of("guessed-um-per-px"), report.of("unequal-um-per-px")
    assert (guessed.image, unequal.image) == ("a_1", "b_1")
    assert "about 0.5" in guessed.message
    assert "0.25 um wide, 0.5 um high" in unequal.message
    assert not report.of("missing-um-per-px")


def test_a_swapped_copy_of_an_image_is_a_twin_too(tmp_path: Path) -> None:
    crop(tmp_path, "a_1", 3)
    crop(tmp_path, "b_1", 3, swap=True)
    assert [f.image for f in examine(tmp_path).of("identical-images")] == ["b_1"]


def test_leaks_and_rare_classes(tmp_path: Path) -> None:
    train, test = tmp_path / "MoNuSAC_images_and_annotations", tmp_path / "MoNuSAC Testing Data and Annotations"
    many = [("Lymphocyte", shifted(SQUARE, 4 * k, 3 * k)) for k in range(30)]
    crop(train / "TCGA-MP-A4T7-01Z-00-DX1", "TCGA-MP-A4T7-01Z-00-DX1_1", 1, xml(*many, ("Neutrophil", SQUARE)))
    crop(test / "TCGA-MP-A4T7-01Z-00-DX1", "TCGA-MP-A4T7-01Z-00-DX1_001", 2)
    crop(test / "TCGA-G9-6356-01Z-00-DX1", "TCGA-G9-6356-01Z-00-DX1_001", 3)
    report = examine(tmp_path)
    assert [f.patient for f in report.of("patient-in-both-lists")] == ["TCGA-MP-A4T7"]
    assert "neutrophil" in report.of("class-imbalance")[-1].message
    assert "macrophage" in report.of("class-missing")[0].message
    assert {f.patient for f in report.of("class-in-one-patient")} == {"TCGA-MP-A4T7"}


def test_siblings_of_another_size_or_order_are_said(tmp_path: Path) -> None:
    path = crop(tmp_path, "a_1", 1, swap=True)
    tifffile.imwrite(tmp_path / "a_1.svs", tissue(1, (100, 130)), photometric="rgb", tile=(64, 64),
                     description="Aperio Image Library|MPP = 0.25|AppMag = 40", metadata=None)  # fmt: skip
    report = examine(tmp_path)
    assert report.of("swapped-channels") == ()
    assert report.of("swapped-sibling")[0].path == str(path)
    assert "130 x 100" in report.of("size-mismatch")[0].message


def test_report_as_json_and_its_order(tmp_path: Path) -> None:
    crop(tmp_path, "b_1", 1, xml(("Epithelail", SQUARE)), swap=True)
    crop(tmp_path, "a_1", 2, xml(("Epithelial", shifted(SQUARE, -25, 0)), um=None))
    seen: list[float] = []
    report = examine(tmp_path, progress=lambda fraction, text: seen.append(fraction))
    assert seen[-1] == 1
    assert len(seen) == 2
    order = [("error", "warning", "info").index(f.severity) for f in report.findings]
    assert order == sorted(order)
    document = json.loads(report.model_dump_json())
    for f in document["findings"]:
        assert {"code", "severity", "image", "patient", "message", "mend"} <= set(f)
        assert f["code"] in KINDS
    assert DoctorReport.model_validate_json(report.model_dump_json()) == report


def test_progress_can_stop_the_work(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(fraction: float, text: str) -> None:
        raise Stop

    for k in range(5):
        crop(tmp_path, f"a_{k}", k)
    with pytest.raises(Stop):
        examine(tmp_path, progress=stop)


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in sorted(folder.rglob("*")) if p.is_file()}


def drawn(path: Path) -> np.ndarray:
    out = np.zeros(SHAPE, int)
    for k, nucleus in enumerate(read_annotation(path).nuclei, start=1):
        out[draw_polygon(*nucleus.vertices.T, SHAPE)] = k
    return out


def test_fix_mends_copies_and_touches_no_original(tmp_path: Path) -> None:
    data, out = tmp_path / "Übung 1", tmp_path / "mended"
    bow = [(120, 20), (160, 60), (160, 20), (120, 90)]
    crop(data / "anna", "anna_1", 1, xml(
        ("Epithelial", SQUARE), ("Lymphocyte", bow), ("Epithelial", shifted(SQUARE, -25, 80)),
        ("Epithelial", SQUARE), ("Macrophage", shifted(SQUARE, 1, 0)), ("Epithelial", [(5, 5), (9, 9)]),
    ), swap=True)  # fmt: skip
    crop(data / "berta", "berta_1", 2)
    before = snapshot(data)
    written = fix(examine(data), out)
    assert snapshot(data) == before
    assert {m.target.relative_to(out).as_posix() for m in written} == {"anna/anna_1.tif", "anna/anna_1.xml"}
    with open_slide(out / "anna" / "anna_1.tif") as slide:
        assert not slide.channels_swapped
        assert slide.um_per_px == pytest.approx(0.25)
        assert slide.um_per_px_source == "tiff"
        assert np.array_equal(slide.read(0, 0, *SHAPE), tissue(1))
    mended = read_annotation(out / "anna" / "anna_1.xml")
    assert [n.nucleus_class for n in mended.regions] == [
        NucleusClass.EPITHELIAL, NucleusClass.LYMPHOCYTE, NucleusClass.EPITHELIAL, NucleusClass.MACROPHAGE,
    ]  # fmt: skip
    assert np.array_equal(mended.regions[0].vertices, read_annotation(data / "anna" / "anna_1.xml").regions[0].vertices)
    was, now = drawn(data / "anna" / "anna_1.xml"), drawn(out / "anna" / "anna_1.xml")
    assert np.array_equal(was == 3, now == 3)  # cut at the edge: the same pixels
    assert 0 < (now == 2).sum() < (was == 2).sum()
    assert "red and blue put right" in (out / "mended.tsv").read_text()
    again = codes(examine(out))
    assert not again & {"swapped-channels", "self-crossing", "out-of-bounds", "degenerate-region"}


def test_fix_of_everything_is_a_whole_collection(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    crop(data, "a_1", 1, swap=True)
    crop(data, "b_1", 2)
    fix(examine(data), out, everything=True)
    assert [c.name for c in open_collection(out)] == ["a_1", "b_1"]
    assert (out / "b_1.tif").read_bytes() == (data / "b_1.tif").read_bytes()


@pytest.mark.parametrize("suffix", [".svs", ".tif", ".TIFF"])
def test_a_slide_is_copied_without_label_and_macro(tmp_path: Path, suffix: str) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    description = (
        "Aperio Image Library v12\r\n900x800 [40,50 260x200] (240x240) J2K;Aperio Image Library v12|AppMag = 40"
        "|User = Dr Who|Filename = Smith, John|MPP = 0.25"
    )
    with tifffile.TiffWriter(data / f"a_1{suffix}") as writer:
        tiles = {"tile": (240, 240), "compression": "aperio_jp2000_rgb", "photometric": "rgb", "metadata": None}
        writer.write(tissue(1), description=description, **tiles)
        writer.write(np.full((40, 48, 3), 1, np.uint8), description="Aperio \nlabel 48x40", rowsperstrip=8)
        writer.write(np.full((40, 48, 3), 1, np.uint8), description="Aperio \nmacro 48x40", rowsperstrip=8)
    (data / "a_1.xml").write_text(xml(("Epithelial", SQUARE), um=None))
    report = examine(data)
    assert report.of("missing-scale-in-xml")
    written = fix(report, out)
    assert written[0].changes == ("label and macro pages left out",)
    with tifffile.TiffFile(out / f"a_1{suffix}") as copy, tifffile.TiffFile(data / f"a_1{suffix}") as original:
        assert len(copy.pages) == 1
        assert np.array_equal(copy.pages[0].asarray(), original.pages[0].asarray())
        assert "Who" not in copy.pages[0].description
        assert "Smith" not in copy.pages[0].description
    assert b"Smith" not in (out / f"a_1{suffix}").read_bytes()
    with open_slide(out / f"a_1{suffix}") as slide:
        assert slide.origin_px == (50, 40)
        assert slide.um_per_px == 0.25
    assert read_annotation(out / "a_1.xml").um_per_px == 0.25


def test_a_label_page_of_any_maker_is_left_out_and_a_plain_file_is_copied_as_it_is(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    crop(data, "plain_1", 2)
    tiles = {"tile": (64, 64), "photometric": "rgb", "metadata": None}
    with tifffile.TiffWriter(data / "labelled_1.tif") as writer:
        writer.write(tissue(1), **tiles)
        writer.write(np.full((40, 48, 3), 77, np.uint8), description="Label Image", photometric="rgb", metadata=None)
    for name, suffix in (("jpeg_1", ".jpg"), ("png_1", ".png")):
        Image.fromarray(tissue(3)).save(data / f"{name}{suffix}")
    fix(examine(data), out, everything=True)
    with tifffile.TiffFile(out / "labelled_1.tif") as copy:
        assert len(copy.pages) == 1
        assert np.array_equal(copy.pages[0].asarray(), tissue(1))
    for name in ("plain_1.tif", "jpeg_1.jpg", "png_1.png"):
        assert (out / name).read_bytes() == (data / name).read_bytes()


def _three_swapped(data: Path) -> DoctorReport:
    for k in range(3):
        crop(data, f"a_{k}", k, swap=True)
    return examine(data)


class Stop(Exception):
    pass


def _stop_after(number: int):
    told: list[str] = []

    def progress(fraction: float, text: str) -> None:
        told.append(text)
        if len(told) == number:
            raise Stop

    return progress


def test_what_was_stopped_does_not_look_whole_and_is_gone_on_with(tmp_path: Path) -> None:
    report, out = _three_swapped(tmp_path / "data"), tmp_path / "out"
    with pytest.raises(Stop):
        fix(report, out, progress=_stop_after(2))
    with pytest.raises(CollectionError, match=r"a part of a folder.*goes on"):
        open_collection(out)
    crop(tmp_path / "all" / "other", "b_1", 5)
    shutil.copytree(out, tmp_path / "all" / "half")
    around = open_collection(tmp_path / "all")
    assert [c.name for c in around] == ["b_1"]
    assert ["unfinished mend" in p.message for p in around.problems] == [True]
    before = snapshot(out)
    written = fix(report, out)
    after = snapshot(out)
    assert len(written) == 6
    assert {k: after[k] for k in before if k.endswith((".tif", ".xml"))} == {
        k: v for k, v in before.items() if k.endswith((".tif", ".xml"))
    }  # the first two were not written again
    fix(report, tmp_path / "at once")
    names = [p.name for p in sorted(out.iterdir())]
    assert names == [p.name for p in sorted((tmp_path / "at once").iterdir())]
    for name in names:
        if name != "mended.tsv":
            assert (out / name).read_bytes() == (tmp_path / "at once" / name).read_bytes()
    assert len((out / "mended.tsv").read_text().splitlines()) == 7
    assert len(open_collection(out)) == 3


def test_a_crop_that_changed_since_is_written_again(tmp_path: Path) -> None:
    report, out = _three_swapped(tmp_path / "data"), tmp_path / "out"
    with pytest.raises(Stop):
        fix(report, out, progress=_stop_after(2))
    crop(tmp_path / "data", "a_0", 9, swap=True)
    fix(report, out)
    with open_slide(out / "a_0.tif") as slide:
        assert np.array_equal(slide.read(0, 0, *SHAPE), tissue(9))


def test_an_unfinished_copy_of_another_folder_or_with_a_damaged_log_is_left_alone(tmp_path: Path) -> None:
    report, out = _three_swapped(tmp_path / "data"), tmp_path / "out"
    with pytest.raises(Stop):
        fix(report, out, progress=_stop_after(1))
    other = _three_swapped(tmp_path / "other")
    before = snapshot(out)
    with pytest.raises(CollectionError, match=r"unfinished copy of .*data"):
        fix(other, out)
    assert snapshot(out) == before
    log = out / "mending.jsonl"
    log.write_bytes(b"[]\n" + log.read_bytes())
    with pytest.raises(CollectionError, match="is damaged"):
        fix(report, out)
    log.write_bytes(before[str(log)][0][:-9])  # a last line that a crash tore is no record
    assert len(fix(report, out)) == 6


KILLED = """
import sys
from pathlib import Path
from napari_monusac.io.doctor.examine import examine
from napari_monusac.io.doctor.mend import fix
fix(examine(Path(sys.argv[1])), Path(sys.argv[2]), progress=lambda *_: (print("one", flush=True), sys.stdin.readline()))
"""


def test_what_was_killed_is_gone_on_with(tmp_path: Path) -> None:
    report, out = _three_swapped(tmp_path / "data"), tmp_path / "out"
    command = [sys.executable, "-c", KILLED, str(tmp_path / "data"), str(out)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "one\n"
        with pytest.raises(CollectionError, match="another process"):
            fix(report, out)
        process.kill()
    assert len(fix(report, out)) == 6
    assert not list(out.glob(".*"))


def test_a_full_disk_is_one_line_and_can_be_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report, out = _three_swapped(tmp_path / "data"), tmp_path / "out"
    true, left = AppendLog.append, [2]

    def full(self: AppendLog, line: bytes) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        true(self, line)

    with monkeypatch.context() as patch:
        patch.setattr(AppendLog, "append", full)
        with pytest.raises(CollectionError, match=r"No space left.*the same command goes on"):
            fix(report, out)
    assert len(fix(report, out)) == 6


def test_hostile_names_are_names_in_the_list_of_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data, out = Path("=cmd|calc"), Path("@out")
    names = ["=1+2", "@SUM(1)", "a\nb", "c\x1b[31md"]
    for k, name in enumerate(names):
        crop(data, name, k, swap=True)
    fix(examine(data), out)
    text = (out / "mended.tsv").read_text("utf-8")
    rows = list(csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert [len(r) for r in rows] == [3] * 9
    assert not any(c.startswith(("=", "+", "-", "@")) for row in rows for c in row)
    assert "\x1b" not in text
    monkey = [Path(r[0]).name for r in rows[1:]]
    assert {m for m in monkey if m.endswith(".tif")} == {"=1+2.tif", "@SUM(1).tif", "a\\nb.tif", "c\\x1b[31md.tif"}


def test_fix_refuses_places_that_could_harm_originals(tmp_path: Path) -> None:
    crop(tmp_path / "data", "a_1", 1, swap=True)
    report = examine(tmp_path / "data")
    with pytest.raises(CollectionError, match="lies inside"):
        fix(report, tmp_path / "data" / "mended")
    with pytest.raises(CollectionError, match="lies inside"):
        fix(report, tmp_path / "data")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(CollectionError, match="not empty"):
        fix(report, tmp_path / "full")


@pytest.mark.shared
def test_the_real_folder(shared_data: Path) -> None:
    report = examine(shared_data)
    swapped = report.of("swapped-channels")
    assert len(swapped) == 42
    assert len({f.patient for f in swapped}) == 12
    assert all("Testing" in str(f.path) for f in swapped)
    crossing = [f for f in report.of("self-crossing") if "5P-A9K0" in str(f.image)]
    assert sum(len(f.nuclei) for f in crossing) == 7  # DOMAIN 3
    (negative,) = report.of("negative-region")
    assert len(negative.nuclei) == 20
    assert report.nuclei["Neutrophil"] == 65
    assert [f.path for f in report.of("missing-image")] == [str(next(shared_data.rglob("TCGA-XS-A8TJ*.xml")))]


def typed(kind: str, points: list[tuple[float, float]], label: str = "Lymphocyte") -> str:
    """One layer with one region of this ``Type``."""
    vertices = "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in points)
    return (
        f'<Annotation Id="1" Name=""><Attributes><Attribute Name="{label}" Id="0" Value=""/></Attributes><Regions>'
        f'<Region Id="1" Type="{kind}"><Vertices>{vertices}</Vertices></Region></Regions></Annotation>'
    )


def test_shapes_are_told_and_never_deleted(tmp_path: Path) -> None:
    shapes = [("2", [(20, 20), (50, 60)]), ("1", [(80, 20), (110, 60)]), ("4", [(5, 5), (9, 90)]), ("17", [(5, 5)])]
    text = f'<Annotations MicronsPerPixel="0.25">{"".join(typed(k, p) for k, p in shapes)}</Annotations>'
    crop(tmp_path / "data", "a_1", 1, text)
    report = examine(tmp_path / "data")
    assert not codes(report) & {"degenerate-region", "zero-area", "unreadable-annotation"}
    assert [f.nuclei for f in report.of("boxed-shape")] == [(0, 1)]
    assert [f.nuclei for f in report.of("not-an-area")] == [(2, 3)]
    fix(report, tmp_path / "out")
    mended = read_annotation(tmp_path / "out" / "a_1.xml")
    assert [r.role for r in mended.regions] == ["nucleus", "nucleus", "mark", "mark"]
    assert np.array_equal(drawn(tmp_path / "data" / "a_1.xml"), drawn(tmp_path / "out" / "a_1.xml"))
    # other programs, which know no types, now see an outline
    assert [dict(r.attributes)["Type"] for r in mended.regions] == ["0", "0", "4", "17"]
    assert (tmp_path / "out" / "a_1.xml").read_text().count("<Vertex ") > 40
    assert not examine(tmp_path / "out").of("boxed-shape")


def test_a_slip_of_the_pen_is_still_left_out_of_a_mended_copy(tmp_path: Path) -> None:
    crop(tmp_path / "data", "a_1", 1, xml(("Epithelial", SQUARE), ("Epithelial", [(5, 5), (9, 9)])))
    fix(examine(tmp_path / "data"), tmp_path / "out")
    assert len(read_annotation(tmp_path / "out" / "a_1.xml").regions) == 1


def test_regions_of_interest_are_named_and_kept(tmp_path: Path) -> None:
    nuclei = [("Lymphocyte", [(x / 3 + dx, y / 3 + dy) for x, y in SQUARE]) for dx in (20, 60) for dy in (20, 60)]
    outside = ("Lymphocyte", shifted(SQUARE, -100, 0))
    around = [(10, 10), (110, 10), (110, 110), (10, 110)]
    crop(tmp_path / "data", "a_1", 1, xml(*nuclei, *[("Lymphocyte", shifted(SQUARE, 170, 30 * k)) for k in range(4)],
                                          ("Annotated area", around), outside))  # fmt: skip
    report = examine(tmp_path / "data")
    (found,) = report.of("region-of-interest")
    assert found.severity == "info"
    assert found.nuclei == (8,)
    assert "10000 px² (625 um²)" in found.message
    assert "'Annotated area'" in found.message
    assert not codes(report) & {"unknown-class", "heavy-overlap", "huge-nucleus", "unclassified-nuclei"}
    assert report.nuclei["Lymphocyte"] == 9
    fix(report, tmp_path / "out")
    mended = read_annotation(tmp_path / "out" / "a_1.xml")
    assert len(mended.regions_of_interest) == 1
    assert len(mended.nuclei) == 8


@pytest.mark.parametrize("um", [0.25, None])
def test_a_huge_outline_of_a_class_is_named(tmp_path: Path, um: float | None) -> None:
    around = [(2, 2), (250, 2), (250, 190), (2, 190)]
    crop(tmp_path, "a_1", 1, xml(("Epithelial", around), ("Lymphocyte", SQUARE), um=um))
    (found,) = examine(tmp_path).of("huge-nucleus")
    assert found.severity == "warning"
    assert found.nuclei == (0,)
    assert f"{248 * 188} px²" in found.message

"""ONNX and OpenVINO against torch."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_monusac.core.errors import MonusacError
from napari_monusac.infer import export
from napari_monusac.infer.engines import openvino as openvino_engine
from napari_monusac.infer.engines.choose import choose_engine
from napari_monusac.infer.export import export_onnx
from napari_monusac.infer.model import as_model
from napari_monusac.infer.predict import predict
from napari_monusac.network.normalisation import mean_and_deviation

pytestmark = pytest.mark.torch


def test_onnx_answers_as_torch_and_says_what_it_is(checkpoint: Path, tissue: np.ndarray, tmp_path: Path) -> None:
    import torch

    import napari_monusac

    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    report = export_onnx(checkpoint, tmp_path / "m.onnx")
    assert report.difference is not None
    assert report.difference < 1e-3
    session = onnxruntime.InferenceSession(str(report.path), providers=["CPUExecutionProvider"])
    said = session.get_modelmeta().custom_metadata_map
    assert json.loads(said["classes"])[1] == "Epithelial"
    assert float(said["um_per_px"]) == 0.25
    assert said["boundary_width_px"] == "3"
    assert said["fingerprint"] == as_model(checkpoint).recipe.fingerprint()
    np.testing.assert_allclose(
        json.loads(said["normalisation"])["mean"], 255 * np.array([0.485, 0.456, 0.406]), rtol=1e-4
    )
    content = report.path.read_bytes()
    assert said["checkpoint"] == Path(checkpoint).name
    for local in (
        tmp_path.parent.parent,
        Path(checkpoint).parent,
        Path(torch.__file__).parent,
        Path(napari_monusac.__file__).parent,
    ):
        assert str(local).encode() not in content, "nothing of this machine goes out with a model"
    # raw pixels in, probabilities out, at a size that the exporter has not seen; a smaller one would be framed by predict
    image = tissue[:288, :256]
    semantic, ternary = session.run(None, {"image": image.transpose(2, 0, 1)[None].astype(np.float32)})
    expected = predict(image, checkpoint, um_per_px=0.25, device="cpu", precision="float32")
    np.testing.assert_allclose(semantic[0], expected.semantic, atol=1e-4)
    np.testing.assert_allclose(ternary[0], expected.ternary, atol=1e-4)
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_a_file_that_differs_is_not_left_behind(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnx")
    monkeypatch.setattr(export, "_difference", lambda *_: 0.5)
    with pytest.raises(MonusacError, match="differs from torch"):
        export_onnx(checkpoint, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_missing_extras_are_said(
    checkpoint: Path, stand_in: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MonusacError, match=r"napari-monusac\[onnx\]"):
        export_onnx(checkpoint, tmp_path / "m.onnx")
    with pytest.raises(MonusacError, match=r"napari-monusac\[openvino\]"):
        choose_engine(stand_in, "openvino")


def test_normalisation_of_a_network_without_its_own(stand_in: Any) -> None:
    mean, deviation = (v.tolist() for v in mean_and_deviation(stand_in.network))
    np.testing.assert_allclose(mean, 0, atol=1e-4)
    np.testing.assert_allclose(deviation, 255, rtol=1e-6)


def test_openvino_answers_as_torch(checkpoint: Path, tissue: np.ndarray) -> None:
    pytest.importorskip("openvino")
    model = as_model(checkpoint)
    options = {"um_per_px": 0.25, "tile_px": 128, "overlap_px": 32}
    expected = predict(tissue, model, device="cpu", precision="float32", **options)
    exact = predict(tissue, model, device="openvino", precision="float32", **options)
    assert exact.engine == "OpenVINO float32 on cpu"
    np.testing.assert_allclose(exact.semantic, expected.semantic, atol=1e-4)
    np.testing.assert_allclose(exact.ternary, expected.ternary, atol=1e-4)
    fast = predict(tissue, model, device="openvino", **options)
    assert np.abs(fast.ternary - expected.ternary).mean() < 0.02
    flipped = predict(tissue[:64, :96], model, device="openvino", precision="float32", flips=True, **options)
    reference = predict(tissue[:64, :96], model, device="cpu", precision="float32", flips=True, **options)
    np.testing.assert_allclose(flipped.semantic, reference.semantic, atol=1e-4)


def test_openvino_compiles_a_fixed_shape_only_where_it_comes_often(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr(openvino_engine, "FIXED_AFTER", 2)
    engine = openvino_engine.OpenVinoEngine(as_model(checkpoint), "float32")
    rng = np.random.default_rng(0)
    often, once = (rng.integers(0, 256, (1, *shape, 3), dtype=np.uint8) for shape in ((64, 96), (32, 64)))
    first = engine.run(often)
    engine.run(once), engine.run(often)
    assert list(engine._compiled) == [openvino_engine.ANY_SHAPE]
    np.testing.assert_allclose(engine.run(often), first, atol=1e-5)
    assert list(engine._compiled) == [openvino_engine.ANY_SHAPE, often.shape]


def test_openvino_is_chosen_for_much_work_on_a_cpu(stand_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr("napari_monusac.network.device.choose_device", lambda _: ("cpu", "no GPU"))
    stand_in = type(stand_in)(copy.deepcopy(stand_in.network), stand_in.recipe)  # asked for nothing before
    assert choose_engine(stand_in, "auto", "float32", pixels=1000).name == "torch float32 on cpu"
    assert choose_engine(stand_in, "auto", "float32", pixels=50_000_000).name == "OpenVINO float32 on cpu"
    assert choose_engine(stand_in, "auto", "float32", pixels=1000).name == "OpenVINO float32 on cpu"  # ready now
    crops = type(stand_in)(copy.deepcopy(stand_in.network), stand_in.recipe)
    names = [choose_engine(crops, "auto", "float32", pixels=1_500_000).name.split()[0] for _ in range(4)]
    assert names == ["torch", "torch", "OpenVINO", "OpenVINO"], "many small crops are much work, too"
    assert choose_engine(stand_in, "cpu", "float32").name == "torch float32 on cpu"
    monkeypatch.setattr(openvino_engine, "available", lambda: False)
    assert choose_engine(stand_in, "auto", "float32", pixels=50_000_000).name == "torch float32 on cpu"

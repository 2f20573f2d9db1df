"""The data doctor on real data: seconds, what it finds, and swapped channels against the plain statistic.

    python benchmarks/doctor.py [--data ../shared/data] [--json]

Truth: the .tif of the MoNuSAC test folder are swapped (as published), the .svs and the MoNuSeg .tif are right. The
rival is the statistic of one term: the correlation of (OD_red - OD_blue) / OD_sum with OD_sum, below 0 = swapped.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import tifffile

from napari_monusac.io.collection.collection import open_collection
from napari_monusac.io.doctor.examine import examine
from napari_monusac.io.slides.channels import channel_verdict

DATA = Path(os.environ.get("MONUSAC_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def one_term(image: np.ndarray) -> float:
    """Correlate tint and darkness over the stained pixels."""
    density = -np.log((image[..., :3].reshape(-1, 3).astype(np.float64) + 1) / 256)
    total = density.sum(1)
    stained = total > 0.45
    tint = (density[stained, 0] - density[stained, 2]) / total[stained]
    return float(np.corrcoef(tint, total[stained])[0, 1])


def channels(data: Path) -> dict[str, object]:
    """Count right decisions per image and per patient, of both statistics, with the pixels read as they stand."""
    decided: dict[str, list[bool]] = defaultdict(list)
    patients: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    wrong_flags: dict[str, int] = defaultdict(int)
    least = np.inf
    for crop in open_collection(data):
        pixels = tifffile.imread(crop.image, key=0)
        swapped = "Testing" in str(crop.image)
        verdict = channel_verdict(pixels)
        least = min(least, abs(verdict.score))
        for name, says in (("ours", verdict.swapped), ("one term", one_term(pixels) < 0)):
            if swapped:
                decided[name].append(says)
                patients[name][crop.patient].append(says)
            else:
                wrong_flags[name] += says
    result: dict[str, object] = {"smallest score": round(float(least), 2)}
    for name, found in decided.items():
        by_patient = [2 * sum(v) > len(v) for v in patients[name].values()]
        result[name] = {
            "swapped images found": f"{sum(found)} of {len(found)}",
            "swapped patients found": f"{sum(by_patient)} of {len(by_patient)}",
            "right images flagged": wrong_flags[name],
        }
    return result


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    examine(arguments.data / "monuseg" if (arguments.data / "monuseg").is_dir() else arguments.data)  # warm up
    began = time.perf_counter()
    report = examine(arguments.data)
    seconds = time.perf_counter() - began
    nuclei = sum(report.nuclei.values())
    result = {
        "seconds": round(seconds, 2), "crops": report.crops, "nuclei": nuclei,
        "crops_per_s": round(report.crops / seconds, 1),
        "findings": report.counts_by_code(), "channels": channels(arguments.data),
    }  # fmt: skip
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"{report.crops} crops, {nuclei} nuclei in {seconds:.2f} s ({report.crops / seconds:.0f} crops a second)")
    print(f"verdict: {report.verdict}")
    for code, number in report.counts_by_code().items():
        print(f"  {number:5d}  {code}")
    for name, row in result["channels"].items():
        print(f"{name:15s} {row}")


if __name__ == "__main__":
    main()

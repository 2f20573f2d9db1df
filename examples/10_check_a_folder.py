"""Let the data doctor examine a folder before a night of training, and write a mended copy."""

from collections import Counter

from napari_monusac.io.doctor.examine import examine
from napari_monusac.io.doctor.mend import fix
from napari_monusac.synth import write_collection

# Test patients are written as the official ones are: .tif with red and blue swapped.
folder = write_collection("tissue-to-check", n_patients=2, crops_per_patient=1, seed=10, test_patients=1)
broken = next(folder.rglob("*0001*.xml"))
broken.write_bytes(broken.read_bytes().replace(b'Name="Lymphocyte"', b'Name="Lymphozyt"'))

report = examine(folder)
print(report.verdict)
for code, number in Counter(f.code for f in report.findings).items():
    first = report.of(code)[0]
    print(f"  {number} x {code} ({first.severity}): {first.message}\n      {first.mend}")

for mended in fix(report, "mended"):
    print(f"{mended.source.name}: {', '.join(mended.changes) or 'copied'}")

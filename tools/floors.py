"""The lowest versions that the package declares, as pip's constraints: to test that they are true.

python tools/floors.py > floors.txt
python -m pip install -e ".[all]" --group dev -c floors.txt
python -m pytest -m "not gui"
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def floors(requirements: list[str]) -> list[str]:
    """Constraints of requirements: ``numpy>=2.0`` gives ``numpy==2.0.*``, a floor with its fixes."""
    found = []
    for requirement in requirements:
        match = re.match(r"([\w-]+)(?:\[[\w,]+\])?>=([\d.]+)", requirement)
        if match is None:
            raise SystemExit(f"{requirement}: has no floor")
        name, version = match.groups()
        found.append(f"{name}=={version}{'' if version.count('.') > 1 else '.*'}")
    return found


def main() -> None:
    project = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]
    extras = [r for name, group in project["optional-dependencies"].items() if name != "all" for r in group]
    print("\n".join(sorted({*floors(project["dependencies"]), *floors(extras)})))


if __name__ == "__main__":
    main()

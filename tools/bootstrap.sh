#!/bin/sh
# Make the virtual environment and install the package with its tools. Usage: bootstrap.sh PYTHON VENV
set -eu
python=$1
venv=$2
"$python" - <<'PY' || exit 1
import sys
if sys.version_info < (3, 11):
    sys.exit(f"napari-monusac needs Python 3.11 or newer, this is {sys.version.split()[0]}: run `make PYTHON=python3.12 test`")
PY
if [ ! -x "$venv/bin/python" ]; then
  if ! "$python" -m venv "$venv"; then
    echo "No virtual environment could be made. On Debian or Ubuntu: apt-get install -y python3-venv" >&2
    exit 1
  fi
fi
"$venv/bin/python" -m pip install --quiet --upgrade "pip>=25.1"
echo "Installing napari-monusac into $venv (torch is large: this takes some minutes the first time)"
"$venv/bin/python" -m pip install --quiet --editable ".[all]" --group dev

"""No command and no window calls anybody: each runs in a process that may reach this machine alone, and is watched.

Python's own calls (`socket`) are refused and noted by an audit hook in that process and its children; where strace can
be used, the system calls of all libraries are looked through as well. The home folder is a new one: what is written
there is known, and no number for its user is among it.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import napari_monusac

pytestmark = pytest.mark.torch

#: Runs first in each process (Python imports a module of this name by itself), so that nothing calls before it.
SEAL = r"""
import os, sys, threading

LOCAL = {"localhost", "127.0.0.1", "::1", "", "0.0.0.0", "::", None}

def note(line):
    with open(os.environ["SEAL_LOG"], "a", encoding="utf-8") as log:
        log.write(line + "\n")

def hook(event, args):
    if event == "socket.getaddrinfo" or event == "socket.gethostbyname":
        host = args[0]
    elif event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = args[1]
        if not isinstance(address, tuple):
            return  # a socket of this machine (the display), or one that is connected already
        host = address[0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host not in LOCAL:
        note(f"{event} {host} {sys.argv[:3]}")
        raise OSError(101, "sealed: nobody is called")

sys.addaudithook(hook)

def close_the_window():
    import time
    until = time.monotonic() + 200
    while "napari_monusac.ui.studio" not in sys.modules and time.monotonic() < until:
        time.sleep(0.2)
    time.sleep(10)  # the folder is listed, its first crop is open
    note("window " + str("napari_monusac.ui.studio" in sys.modules))
    os._exit(0)  # closing would ask whether one is sure

if "napari" in sys.orig_argv:
    threading.Thread(target=close_the_window, daemon=True).start()
"""

#: What may be written into a new home; another entry is looked at before it is listed here.
KNOWN_AT_HOME = {".cache/fontconfig", ".cache/mesa_shader_cache", ".cache/mesa_shader_cache_db", ".cache/napari", ".cache/napari-monusac",
                 ".cache/torch", ".cache/huggingface", ".cache/matplotlib", ".config/matplotlib", ".config/napari",
                 ".local/share", ".config/napari-monusac", ".cache/qtshadercache"}  # fmt: skip
NETWORK = re.compile(r"sa_family=AF_INET6?, .*?(?:inet_addr\(\"([^\"]+)\"\)|inet_pton\(AF_INET6, \"([^\"]+)\")")


def called(trace: str) -> set[str]:
    """Addresses of other machines in the system calls that strace wrote down."""
    found = {a or b for a, b in NETWORK.findall(trace)}
    return {a for a in found if not a.startswith("127.") and a not in ("::1", "::", "0.0.0.0")}


@functools.cache
def strace() -> str | None:
    """The program, where it is there and may be used."""
    path = shutil.which("strace")
    if path and subprocess.run([path, "-f", "-o", os.devnull, "true"], capture_output=True).returncode == 0:
        return path
    return None


class Sealed:
    """Runs commands in a world of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home, self.log = folder, folder / "home", folder / "log.txt"
        self.traced: set[str] = set()
        self.home.mkdir()
        self.log.touch()
        (folder / "seal").mkdir()
        (folder / "seal" / "sitecustomize.py").write_text(SEAL)
        source = Path(napari_monusac.__file__).parents[1]
        kept = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith(("XDG_", "HF_", "MONUSAC", "NAPARI", "TORCH_HOME", "ORT_", "NO_ALBUM"))
        }
        self.environment = {
            **kept, "HOME": str(self.home), "SEAL_LOG": str(self.log), "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(folder / "seal"), str(source)]),
            "MONUSAC_SETTINGS": str(folder / "settings.ini"),
        }  # fmt: skip

    def run(self, *argv: object) -> subprocess.CompletedProcess[str]:
        traced = self.folder / "trace.txt"
        watch = [
            str(strace()),
            "-f",
            "--seccomp-bpf",
            "-qq",
            "-e",
            "trace=connect,sendto,sendmsg,sendmmsg",
            "-o",
            str(traced),
        ]
        command = [sys.executable, *map(str, argv)]
        done = subprocess.run(
            [*watch, *command] if strace() else command,
            env=self.environment, capture_output=True, text=True, timeout=280, cwd=self.folder,
        )  # fmt: skip
        if strace():
            self.traced |= called(traced.read_text(errors="replace"))
        return done

    def calls(self) -> list[str]:
        """What Python refused, and what strace saw."""
        refused = [line for line in self.log.read_text("utf-8").splitlines() if not line.startswith("window")]
        return [*refused, *sorted(self.traced)]

    def new_at_home(self) -> set[str]:
        """What was written into the home folder and is not known."""
        found = (p.relative_to(self.home) for p in self.home.rglob("*") if p.is_file())
        # Qt names its cache of shaders by the processor
        return {re.sub(r"^(\.cache/qtshadercache).*", r"\1", "/".join(p.parts[:2])) for p in found} - KNOWN_AT_HOME


@pytest.fixture
def sealed(tmp_path: Path) -> Sealed:
    return Sealed(tmp_path)


TINY = [
    f"--set={s}"
    for s in ("epochs=1", "steps_per_epoch=2", "patch_size=64", "batch_size=2", "precision=float32", "warmup_epochs=0",
              "schedule=constant", "decoder_channels=[16, 8, 8, 8, 8]")
] + ["--device=cpu", "--threads=1"]  # fmt: skip


def _commands(data: Path, run: Path, out: Path) -> list[list[str]]:
    """One line for each command, and for each of its ways to load another library."""
    image = str(next(data.rglob("*.svs")))
    engines = [d for d in ("cpu", "openvino") if d == "cpu" or importlib.util.find_spec("openvino")]
    return [
        ["recipes"],
        ["recipes", "show", "run-8"],
        ["weights", "list"],
        ["doctor", str(data)],
        ["masks", str(data), "--out", f"{out}/masks"],
        ["train", "--data", str(data), "--recipe", "quick", "--run", f"{out}/run", *TINY, "--tensorboard"],
        ["predict", image, "--checkpoint", str(run), "--out", f"{out}/auto"],
        *(["predict", image, "--checkpoint", str(run), "--out", f"{out}/{d}", "--device", d] for d in engines),
        ["evaluate", "--truth", str(data), "--pred", f"{out}/auto", "--include-training", "--report", f"{out}/r.html"],
        *(
            ["export", str(data), "--to", to, "--out", f"{out}/{to}"]
            for to in ("geojson", "coco", "csv", "table", "tif", "mat")
        ),
        ["export", f"{out}/auto", "--to", "aperio", "--out", f"{out}/aperio"],
        ["compare", f"{out}/auto", f"{out}/aperio", "--images", str(data)],
        *(["export", str(run), "--to", to, "--out", f"{out}/{to}"] for to in ("onnx", "bioimageio", "card")),
        ["study", "--data", str(data), "--out", f"{out}/study", "--recipe", "quick", *TINY],
        ["demo", "--no-gui", "--out", f"{out}/demo", "--minutes", "0.05", "--device", "cpu"],
    ]


#: All commands one after another in one process: libraries are loaded once.
ALL = """
import json, sys
from napari_monusac.cli import demo, main
from napari_monusac.core.recipe import load_recipe
demo._SHAPE, demo._PATIENTS, demo._EPOCHS = (160, 192), 3, 2
small = {"decoder_channels": (16, 8, 8, 8, 8), "patch_size": 64, "batch_size": 2, "precision": "float32"}
demo.load_recipe = lambda name: load_recipe(name).with_values(**small)
codes = {}
for argv in json.loads(sys.argv[1]):
    try:
        main(argv)
    except SystemExit as end:
        codes[" ".join(argv[:3] + argv[-2:])] = end.code or 0
print("CODES" + json.dumps(codes))
"""


def test_no_command_calls_anybody(sealed: Sealed, example_data: Path, example_run: Path) -> None:
    from napari_monusac.cli import app

    commands = _commands(example_data, example_run, sealed.folder)
    names = {c.name for c in app.registered_commands} | {g.name for g in app.registered_groups}
    assert names - {argv[0] for argv in commands} == {"review"}  # which opens the window, below
    done = sealed.run("-c", ALL, json.dumps(commands))
    assert "CODES" in done.stdout, done.stderr
    codes = json.loads(done.stdout.rpartition("CODES")[2])
    assert {k: v for k, v in codes.items() if v} == {}, done.stderr
    assert sealed.calls() == []
    assert sealed.new_at_home() == set()


@pytest.mark.gui
def test_the_window_calls_nobody(sealed: Sealed, example_data: Path, qapp: object) -> None:
    """`review` starts napari with the Studio as a user does; the folder is listed and its first crop opened."""
    done = sealed.run("-m", "napari_monusac", "review", example_data)
    assert done.returncode == 0, done.stderr
    assert "window True" in sealed.log.read_text("utf-8").splitlines()
    assert sealed.calls() == []
    assert sealed.new_at_home() == set()


@pytest.mark.parametrize(
    "call",
    [
        "import urllib.request as u; u.urlopen('http://example.org')",
        "import socket; socket.create_connection(('192.0.2.1', 80), 1)",
    ],
)
def test_a_call_is_seen_and_refused(sealed: Sealed, call: str) -> None:
    done = sealed.run("-c", call)
    assert done.returncode != 0
    assert "sealed" in done.stderr
    assert len(sealed.calls()) == 1


def test_a_call_of_a_library_is_seen() -> None:
    trace = (
        '1 connect(3, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("10.0.0.2")}, 16) = 0\n'
        '1 connect(3, {sa_family=AF_INET, sin_port=htons(6010), sin_addr=inet_addr("127.0.0.1")}, 16) = 0\n'
        '1 sendto(4, "x", 1, 0, {sa_family=AF_INET6, sin6_port=htons(1), sin6_flowinfo=htonl(0), '
        'inet_pton(AF_INET6, "2001:db8::1", &sin6_addr), sin6_scope_id=0}, 28) = 1\n'
        '1 connect(5, {sa_family=AF_UNIX, sun_path="/tmp/.X11-unix/X1"}, 20) = 0\n'
    )
    assert called(trace) == {"10.0.0.2", "2001:db8::1"}

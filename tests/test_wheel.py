"""What users install: built, looked into, and used where the source is out of reach.

The source distribution is built first and the wheel from it, so that both are complete. Nothing is downloaded: the build runs
with the tools of this environment, and the dependencies of the wheel are borrowed from it.
"""

from __future__ import annotations

import email
import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BUILD_TIMEOUT_S = 240

pytestmark = pytest.mark.project


class Built(NamedTuple):
    wheel: Path
    sdist: Path


class Installed(NamedTuple):
    """A virtual environment that has the wheel, and a folder outside of the source to work in."""

    scripts: Path
    cwd: Path

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {name: text for name, text in os.environ.items() if not name.startswith(("PYTHON", "COV_", "COVERAGE"))}
        command = [str(self.scripts / program), *arguments]
        return subprocess.run(
            command, cwd=self.cwd, env=environment, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False
        )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    target = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return Built(next(target.glob("*.whl")), next(target.glob("*.tar.gz")))


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    home = tmp_path_factory.mktemp("wheel")
    venv.create(home / "venv", with_pip=False)
    paths = sysconfig.get_paths("venv", vars={"base": str(home / "venv"), "platbase": str(home / "venv")})
    python = Path(paths["scripts"]) / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    install = [*pip, "install", "--no-index", "--no-deps", "-q", str(built.wheel)]
    done = subprocess.run(install, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    # A path file is not read recursively, so the editable install that may stand beside the borrowed packages is not seen.
    borrowed = Path(paths["purelib"]) / "borrowed.pth"
    borrowed.write_text("\n".join(dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])) + "\n")
    (home / "elsewhere").mkdir()
    return Installed(Path(paths["scripts"]), home / "elsewhere")


def test_the_wheel_holds_the_package_and_nothing_else(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    source = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "parasync").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == source
    assert "parasync/py.typed" in names


def test_the_metadata_is_what_the_project_file_says(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as wheel:
        texts = {name.split("/", 1)[1]: wheel.read(name).decode() for name in wheel.namelist() if ".dist-info/" in name}
    metadata = email.message_from_string(texts["METADATA"])
    assert metadata["Name"] == "parasync"
    assert metadata["Version"] == PROJECT["version"]
    assert metadata["Requires-Python"] == ">=3.11"
    assert set(metadata.get_all("Provides-Extra") or ()) == set(PROJECT["optional-dependencies"])
    required = {text for text in metadata.get_all("Requires-Dist") or () if "extra ==" not in text}
    assert {text.split("[")[0].split(">")[0] for text in required} == {"attrs", "cattrs", "msgpack", "nats-py"}
    assert "parasync = parasync.cli:main" in texts["entry_points.txt"]
    assert "[pytest11]\nparasync.pytest_plugin = parasync.pytest_plugin" in texts["entry_points.txt"]
    assert "licenses/LICENSE" in texts


def test_the_source_distribution_brings_its_tests_and_docs(built: Built) -> None:
    with tarfile.open(built.sdist) as sdist:
        tops = {name.split("/")[1] for name in sdist.getnames() if name.count("/") >= 1}
    assert {"parasync", "tests", "docs", "benchmarks", "README.md", "LICENSE", "pyproject.toml"} <= tops
    assert not tops & {".git", ".venv", "build", "dist", "site"}


def test_it_imports_without_the_source(installed: Installed) -> None:
    code = "import parasync, parasync.transports.nats; print(parasync.__file__)"
    done = installed.run("python", "-W", "error", "-c", code)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(installed.scripts.parent)


def test_it_works_without_the_source(installed: Installed) -> None:
    code = """
from parasync import Envelope, InProcessTransport, Topic, synced
bus = InProcessTransport()
number = synced(Topic("number", int, version="1.0")["a"], bus, seed=Envelope(1, "1.0", 1))
bus.publish("number:a", Envelope(2, "1.0", 2))
print(number.value)
number.close()
"""
    done = installed.run("python", "-W", "error", "-c", code)
    assert (done.returncode, done.stdout.strip()) == (0, "2"), done.stderr


def test_the_console_script_works(installed: Installed) -> None:
    done = installed.run("parasync", "--help")
    assert done.returncode == 0, done.stderr
    assert all(command in done.stdout for command in ("serve", "watch", "get", "put", "ls", "demo"))


def test_pytest_finds_the_plugin(installed: Installed) -> None:
    test = "def test_bus(inprocess_transport):\n    assert not inprocess_transport.closed\n"
    (installed.cwd / "test_user.py").write_text(test)
    without = ("-p", "no:cacheprovider", "-p", "no:asyncio", "-p", "no:anyio")
    done = installed.run("python", "-W", "error", "-m", "pytest", "-W", "error", *without, "test_user.py")
    assert (done.returncode, "1 passed" in done.stdout) == (0, True), done.stdout + done.stderr
    assert f"parasync-{PROJECT['version']}" in done.stdout


def test_type_checkers_see_the_types(installed: Installed) -> None:
    (installed.cwd / "user.py").write_text("from parasync import Version\nreveal_type(Version(1, 2).sequence)\n")
    python = installed.scripts / "python"
    mypy = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", os.devnull]
    command = [*mypy, "--python-executable", str(python), "user.py"]
    done = subprocess.run(command, cwd=installed.cwd, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False)
    assert 'Revealed type is "int"' in done.stdout.replace("builtins.int", "int"), done.stdout + done.stderr
    assert "missing library stubs" not in done.stdout

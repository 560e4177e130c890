"""What is built from the source is whole: every module, every plugin, twistd's drop-in, and nothing else."""

import configparser
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

import twisted_lb

ROOT = Path(__file__).parents[1]
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"


def build(what: str, source: Path, into: Path) -> Path:
    """Let setuptools build in a copy of ``source``, so that nothing is left there. Returns the archive."""
    copy = into / f"{what}-source"
    kept = ("twisted_lb", "plugins", "twisted", "setup.py", "pyproject.toml", "README.md", "PKG-INFO")
    shutil.copytree(source, copy, ignore=lambda folder, names: set(names) - set(kept) if Path(folder) == source else [])
    done = subprocess.run(
        [sys.executable, "-c", BUILD, what, str(into)],
        cwd=copy,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return into / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("build_wheel", ROOT, tmp_path_factory.mktemp("wheel"))


def modules(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def metadata(wheel: Path, name: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        (found,) = (one for one in archive.namelist() if one.endswith(f".dist-info/{name}"))
        return archive.read(found).decode()


def in_source(folder: str, imported_as: str) -> set[str]:
    paths = (path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob("*.py"))
    return {f"{imported_as}/{path.as_posix()}" for path in paths}


def test_the_wheel_holds_every_module_of_the_source_and_nothing_else(wheel: Path) -> None:
    assert modules(wheel) == {
        *in_source("twisted_lb", "twisted_lb"),
        *in_source("plugins", "twisted_lb_plugins"),
        "twisted/plugins/twisted_lb_dropin.py",
        "twisted/plugins/twisted_lb_endpoints.py",
        "twisted_lb/py.typed",
    }


def test_each_bundled_plugin_is_announced_as_a_third_party_s_would_be(wheel: Path) -> None:
    names = sorted(path.stem for path in (ROOT / "plugins").glob("[a-z]*.py"))
    announced = configparser.RawConfigParser()
    announced.read_string(metadata(wheel, "entry_points.txt"))
    assert dict(announced["twisted_lb"]) == {name: f"twisted_lb_plugins.{name}" for name in names}


def test_the_metadata_says_what_it_is_and_what_it_needs(wheel: Path) -> None:
    about: Message = Parser().parsestr(metadata(wheel, "METADATA"))
    assert about["Name"] == "twisted-lb"
    assert about["Version"] == twisted_lb.__version__
    assert about["Requires-Python"] == ">=3.11"
    assert "MIT" in (about["License"] or about["License-Expression"])
    needs = [line for line in about.get_all("Requires-Dist", []) if "extra ==" not in line]
    names = {line.split(">")[0].strip().lower() for line in needs}
    assert names == {"twisted", "pluggy", "zope.interface", "pyopenssl", "service-identity", "msgspec"}


def test_a_source_distribution_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    archive = build("build_sdist", ROOT, tmp_path)
    shutil.unpack_archive(archive, tmp_path / "sdist")
    (source,) = (tmp_path / "sdist").iterdir()
    assert modules(build("build_wheel", source, tmp_path)) == modules(wheel)


def test_the_tests_run_against_what_is_installed_not_against_the_folder_that_they_lie_in() -> None:
    installed = importlib.metadata.distribution("twisted-lb")
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        assert os.environ.get("TWISTED_LB_TEST_ALL") != "1", "an editable install is not what users get"
        pytest.skip("the install is editable")
    assert Path(twisted_lb.__file__) == Path(str(installed.locate_file("twisted_lb/__init__.py")))

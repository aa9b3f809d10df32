"""Order in the repository: no path of someone's machine, one version number, links that lead somewhere."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import robust_lr

ROOT = Path(__file__).resolve().parent.parent

# In pieces, so that this file is not the one that is found.
FORBIDDEN = re.compile(
    rb"/" + rb"work/|\.\./" + rb"shared|\.\./" + rb"\.library|/(?:home|Users)" + rb"/\w|(?<![\w.$}>])/" + rb"root/"
)
LINK = re.compile(
    r"\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)|^\s*\[[^\]]+\]:\s*(\S+)|(?:src|href)=\"([^\"]+)\"", re.MULTILINE
)
CODE = re.compile(r"^(```|~~~).*?^\1|`[^`\n]*`", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def files() -> list[Path]:
    """Every file that is tracked, or would be after ``git add``, and exists."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in listed.split("\0") if name]
    if ROOT / "pyproject.toml" not in paths:
        pytest.skip("not a git checkout")
    return [path for path in paths if path.is_file()]


def test_no_path_of_a_machine(files):
    found = []
    for path in files:
        for match in FORBIDDEN.finditer(path.read_bytes()):
            found.append(f"{path.relative_to(ROOT)}: {match[0].decode()}")
    assert not found, found


def test_one_version_everywhere():
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" in document["project"]["dynamic"] and "version" not in document["project"]
    assert document["tool"]["hatch"]["version"]["path"] == "robust_lr/_version.py"
    citation = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    assert citation is not None
    assert robust_lr.__version__ == citation[1].strip("\"'")
    assert f"## [{robust_lr.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_links_lead_to_files_of_the_repository(files):
    known = {*files, *(parent for path in files for parent in path.parents)}
    broken = []
    for path in files:
        if path.suffix != ".md":
            continue
        text = CODE.sub("", path.read_text(encoding="utf-8"))
        for groups in LINK.findall(text):
            target = "".join(groups).partition("#")[0]
            if target and not re.match(r"[a-z]+:", target) and (path.parent / target).resolve() not in known:
                broken.append(f"{path.relative_to(ROOT)}: {target}")
    assert not broken, broken


def test_every_pin_is_exact_and_sorted():
    pins = [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if line[0] != "#"]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins), "NAME==VERSION, without a local tag such as +cpu"
    names = [pin.partition("==")[0].lower() for pin in pins]
    assert names == sorted(set(names))


def test_every_dependency_is_pinned():
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = document["project"]
    groups = [each for group in document["dependency-groups"].values() for each in group if isinstance(each, str)]
    wanted = [*project["dependencies"], *groups, *document["build-system"]["requires"]]
    wanted += [requirement for extra in project["optional-dependencies"].values() for requirement in extra]
    names = {re.split(r"[\[<>=~! ;]", requirement)[0] for requirement in wanted} - {"robust-lr"}
    pinned = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    normal = {re.sub(r"[-_.]+", "-", name).lower() for name in pinned}
    assert names <= normal, names - normal

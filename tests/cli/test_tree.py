"""Which file is which object."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parasync.cli._tree import FOLDERS_DEEP_MAX, key_of, path_of, scan
from parasync.errors import InvalidKeyError


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("config/db.json", "config:db"),
        ("config/eu/db.toml", "config:eu:db"),
        ("limits.yaml", "limits"),
        ("limits.YML", "limits"),
        ("config/db.prod.json", "config:db.prod"),
        ("config/a:b.json", "config:a:b"),
        ("größe/ä ö.json", "größe:ä ö"),
        ("x.json/y.json", "x.json:y"),
    ],
)
def test_the_path_is_the_key(path: str, key: str) -> None:
    assert key_of(path) == key


@pytest.mark.parametrize(
    "path",
    [
        *("config/db.txt", "config/db", "config/.db.json", ".git/db.json", ".json", "a:b/c.json", "a:b.json", "a/\udc80.json"),
        "x/" + "a" * 600 + ".json",
    ],
)
def test_what_is_no_key_is_no_object(path: str) -> None:
    with pytest.raises(InvalidKeyError):
        key_of(path)


@pytest.mark.parametrize(
    ("key", "path"), [("config:eu:db", "config/eu/db.json"), ("limits", "limits.json"), ("a.b:c.json", "a.b/c.json.json")]
)
def test_a_new_object_has_its_place(key: str, path: str) -> None:
    assert path_of(key) == path


@pytest.mark.parametrize(
    "key", ["a:..:b", "..:b", "a:.b", "a:b/c", "a/b", "a::b", "a:b:", "a:b\\c", "a:b\n", "a:\x00", "a:b*", "a:x<y"]
)
def test_a_key_that_makes_no_safe_path_has_no_place(key: str) -> None:
    with pytest.raises(InvalidKeyError):
        path_of(key)


@given(st.text(min_size=1, max_size=20))
def test_no_key_leads_out_of_the_folder(text: str) -> None:
    try:
        path = path_of(f"topic:{text}")
    except InvalidKeyError:
        return
    assert os.path.normpath(path) == path
    assert path.startswith("topic/")
    assert key_of(path) == f"topic:{text}"


def write(path: Path, text: str = "1") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def keys(root: Path) -> dict[str, list[str]]:
    return {key: [claim.path for claim in claims] for key, claims in scan(root).claims.items()}


def test_a_walk_finds_the_files_and_leaves_the_rest(tmp_path: Path) -> None:
    for name in ("config/db.json", "config/db.toml", "limits.yml", "config/.db.json.swp", ".git/x.json", "config/notes.txt"):
        write(tmp_path / name)
    (tmp_path / "config" / "empty").mkdir()
    assert keys(tmp_path) == {"config:db": ["config/db.json", "config/db.toml"], "limits": ["limits.yml"]}
    assert scan(tmp_path).problems == {}


def test_links_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    write(tmp_path / "data" / "real.json")
    root = tmp_path / "root"
    write(root / "config" / "db.json")
    (root / "config" / "linked.json").symlink_to(tmp_path / "data" / "real.json")
    (root / "more").symlink_to(tmp_path / "data")
    (root / "config" / "up").symlink_to(root)
    (root / "config" / "itself.json").symlink_to("itself.json")
    (root / "config" / "nowhere.json").symlink_to("nowhere-else.json")
    found = {"config:db": ["config/db.json"], "config:linked": ["config/linked.json"], "more:real": ["more/real.json"]}
    assert keys(root) == found


def test_a_link_that_is_turned_over_is_a_new_content(tmp_path: Path) -> None:
    """As a container platform replaces a mounted folder: one link is exchanged, and with it all files."""
    write(tmp_path / "..1" / "db.json", '{"a": 1}')
    write(tmp_path / "..2" / "db.json", '{"a": 2}')
    root = tmp_path / "root"
    root.mkdir()
    (root / "..data").symlink_to(tmp_path / "..1")
    (root / "config").mkdir()
    (root / "config" / "db.json").symlink_to("../..data/db.json")
    before = scan(root).claims["config:db"][0].signature
    (root / "..new").symlink_to(tmp_path / "..2")
    (root / "..new").rename(root / "..data")
    assert scan(root).claims["config:db"][0].signature != before


def test_what_is_no_file_is_reported_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "a:b.json").write_text("1")
    found = scan(tmp_path)
    assert found.claims == {}
    assert found.problems["pipe.json"] == "not a regular file"
    assert "colon" in found.problems["a:b.json"]


def test_a_folder_too_deep_is_reported(tmp_path: Path) -> None:
    write(tmp_path.joinpath(*["d"] * FOLDERS_DEEP_MAX, "x.json"))
    found = scan(tmp_path)
    assert found.claims == {}
    assert list(found.problems.values()) == [f"more than {FOLDERS_DEEP_MAX} folders deep"]


def test_a_folder_that_cannot_be_read_is_no_folder_without_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "config" / "db.json")
    write(tmp_path / "other" / "db.json")
    tmp_path.chmod(0o755)
    (tmp_path / "config").chmod(0)
    (tmp_path / "other").chmod(0o744)
    monkeypatch.chdir(tmp_path)
    superuser = os.geteuid() == 0
    if superuser:
        os.seteuid(65_534)
    try:
        found = scan(Path())
    finally:
        if superuser:
            os.seteuid(0)
        (tmp_path / "config").chmod(0o755)
        (tmp_path / "other").chmod(0o755)
    assert found.problems["config"] == "the folder cannot be read (Permission denied)"
    if superuser:
        # The owner may enter it; everybody else only sees the names.
        assert found.problems["other/db.json"] == "cannot be read (Permission denied)"
        assert sorted(found.blind) == ["config/", "other/db.json"]


def test_a_root_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        scan(tmp_path / "gone")

"""Whole or not at all: files, folders and locks, also when two want the same and when one is killed."""

import os
import subprocess
import sys
import threading

import pytest

from yzlin import ROOT
from yzlin.tools.files import is_lfs_pointer, locked, made_folder, need_file, sha256_of, whole_file, whole_folder

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


def tree(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_a_file_that_fails_leaves_the_old_one(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), whole_file(path, "w") as file:
        file.write("new")
        file.flush()
        assert path.read_text() == "old"
        1 / 0  # noqa: B018
    assert path.read_text() == "old" and tree(tmp_path) == {"a.txt"}
    with whole_file(path, "w") as file:
        file.write("\u4e66\n")
    assert path.read_bytes() == "\u4e66\n".encode() and tree(tmp_path) == {"a.txt"}


@pytest.mark.parametrize("error", [ValueError("x"), OSError("y"), KeyboardInterrupt()])
def test_a_folder_that_fails_leaves_nothing_new(error, tmp_path):
    out = tmp_path / "new" / "deep" / "out"
    with pytest.raises(type(error)), whole_folder(out, False, 0, {"a"}) as folder:
        (folder / "a").write_text("half")
        raise error
    assert tree(tmp_path) == set()


def test_a_folder_takes_its_name_whole_and_replaces_only_what_is_ours(tmp_path):
    out = tmp_path / "new" / "out"
    for text in ("one", "two"):
        with whole_folder(out, text == "two", 0, {"a"}) as folder:
            (folder / "a").write_text(text)
            assert not (out / "a").exists() or (out / "a").read_text() == "one"
        assert (out / "a").read_text() == text and tree(tmp_path) == {"new", "new/out", "new/out/a"}
    with pytest.raises(FileExistsError, match="use --force"), whole_folder(out, False, 0, {"a"}):
        pass
    (out / "b").write_text("mine")
    with pytest.raises(FileExistsError, match=r"other things \(b\)"), whole_folder(out, True, 0, {"a"}):
        pass
    assert tree(tmp_path) == {"new", "new/out", "new/out/a", "new/out/b"}


def test_a_folder_that_has_no_room_or_no_name(tmp_path):
    with pytest.raises(OSError, match="make room"), whole_folder(tmp_path / "new" / "out", False, 2**70, set()):
        pass
    for out, words in ((tmp_path.anchor, "is the whole disk"), ("a\0b", "no file name")):
        with pytest.raises((OSError, ValueError), match=words), whole_folder(out, True, 0, set()):
            pass
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError, match="is not a folder"), whole_folder(tmp_path / "file" / "out", False, 0, set()):
        pass
    assert tree(tmp_path) == {"file"}


def test_of_many_that_want_the_same_folder_one_wins_and_the_others_say_so(tmp_path):
    start, ends = threading.Barrier(8), []

    def run(number):
        start.wait()
        try:
            with whole_folder(tmp_path / "out", False, 0, {"a"}) as folder:
                (folder / "a").write_text(str(number))
            ends.append(number)
        except FileExistsError as error:
            assert "another run is preparing" in str(error) or "there already" in str(error)
            ends.append(None)

    for _ in range(20):
        ends.clear()
        threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        (winner,) = [number for number in ends if number is not None]
        assert len(ends) == 8 and (tmp_path / "out" / "a").read_text() == str(winner)
        assert tree(tmp_path) == {"out", "out/a"}
        (tmp_path / "out" / "a").unlink()
        (tmp_path / "out").rmdir()


def test_a_made_folder_goes_again_only_if_it_is_new_and_empty(tmp_path):
    (tmp_path / "old").mkdir()
    with pytest.raises(ValueError), made_folder(tmp_path / "old" / "a" / "b"):
        raise ValueError
    assert tree(tmp_path) == {"old"}
    with pytest.raises(ValueError), made_folder(tmp_path / "old" / "a" / "b"):
        (tmp_path / "old" / "a" / "kept").write_text("x")
        raise ValueError
    assert tree(tmp_path) == {"old", "old/a", "old/a/kept"}


def test_a_lock_is_held_by_one_and_the_lock_of_a_killed_process_is_free(tmp_path):
    code = "from yzlin.tools.files import locked\n"
    code += f"with locked({str(tmp_path / 'lock')!r}, 'no'):\n    print(1, flush=True)\n    input()"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline().strip() == b"1"
    with pytest.raises(FileExistsError, match="busy"), locked(tmp_path / "lock", "busy"):
        pass
    process.kill()
    process.communicate()
    with locked(tmp_path / "lock", "busy"):
        assert (tmp_path / "lock").exists()
    assert tree(tmp_path) == set()


def test_what_a_file_should_be(tmp_path):
    (tmp_path / "pointer").write_bytes(LFS)
    (tmp_path / "good").write_bytes(b"version")
    for name, words in (("", "is a folder, not the data: do it"), ("none", "is missing: do it"), ("pointer", "git lfs pull")):
        with pytest.raises((OSError, ValueError), match=words):
            need_file(tmp_path / name, "the data", "do it")
    assert need_file(str(tmp_path / "good"), "the data", "do it") == tmp_path / "good"
    assert is_lfs_pointer(tmp_path / "pointer") and not is_lfs_pointer(tmp_path / "good")
    if os.name != "nt":
        (tmp_path / "link").symlink_to("nowhere")
        with pytest.raises(FileNotFoundError, match="is missing"):
            need_file(tmp_path / "link", "the data", "do it")


def test_the_hash_of_a_file(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")  # FIPS 180-4, the first example
    assert sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

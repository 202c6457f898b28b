"""The download, against a server on this machine that does everything a server should not."""

import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
from bad_server import CHANGED, E1, OTHER, TEXT, names, serve, small  # noqa: F401

from yzlin import ROOT
from yzlin.__main__ import main
from yzlin.tokenizer import EOT
from yzlin.tools import download
from yzlin.tools.download import PATH, Remote


def fetch(server, out, part="full", **kwargs):
    return download.download(part, out=out, mirror=server.url, progress=False, **kwargs)


# ---- it ends whole


@pytest.mark.parametrize(
    "faults",
    [
        [],
        ["slow"],
        ["redirect"],
        ["breaks off"],
        ["breaks off"] * 5,  # each brings something new
        ["closes at once", "closes at once"],
        ["falls silent"],
        ["ignores ranges"],
        ["breaks off", "ignores ranges"],
        ["breaks off", "ignores and breaks off", "ignores and breaks off"],
        ["breaks off", "wrong range", "500"],
        ["500", "503", "429"],
        ["no length"],
        ["breaks off", "no length"],
    ],
    ids=", then ".join,
)
def test_it_ends_whole(faults, server, tmp_path):
    server.faults = list(faults)
    path = fetch(server, tmp_path / "t.txt")
    assert path.read_bytes() == TEXT and names(tmp_path) == ["t.txt"] and not server.faults
    assert server.paths[0] == PATH + "small.txt"


def test_it_goes_on_from_where_it_broke_off(server, tmp_path):
    server.faults = ["breaks off", "breaks off"]
    fetch(server, tmp_path / "t.txt")
    starts = [int(asked[6:-1]) for asked in server.asked]
    came = [len(TEXT) // 2, starts[1] + (len(TEXT) - starts[1]) // 2]  # of the last 8 kB, some may be lost
    assert starts[0] == 0 and all(n - 8192 - 1000 <= start <= n - 1000 for n, start in zip(came, starts[1:], strict=True))


@pytest.mark.parametrize("fault", [None, "ignores ranges", "breaks off"])
def test_the_first_part_ends_with_a_whole_story_and_no_more_is_fetched(fault, server, tmp_path):
    server.faults = [fault] if fault else []
    path = fetch(server, tmp_path / "t.txt", "0.1")
    assert path.read_bytes() == TEXT[: TEXT.rindex(EOT.encode(), 0, 100_000) + len(EOT)]
    assert server.asked[0] == "bytes=0-99999"


def test_a_half_file_of_an_earlier_run_is_used(server, tmp_path):
    (tmp_path / "t.txt.part").write_bytes(TEXT[:200_000])
    assert fetch(server, tmp_path / "t.txt").read_bytes() == TEXT
    assert server.asked == ["bytes=199000-"]


@pytest.mark.parametrize("half", [OTHER[:200_000], TEXT + b"more", OTHER * 2, b"", TEXT])
@pytest.mark.parametrize("fault", [None, "ignores ranges"])
def test_a_half_file_that_is_another_one_is_not_used(half, fault, server, tmp_path):
    server.always = fault
    (tmp_path / "t.txt.part").write_bytes(half)
    assert fetch(server, tmp_path / "t.txt").read_bytes() == TEXT
    assert names(tmp_path) == ["t.txt"]


def test_the_mirror_comes_from_the_environment_too(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", server.url + "/")
    assert download.download("valid", out=tmp_path / "t.txt", progress=False).read_bytes() == TEXT
    assert server.paths == [PATH + "small.txt"]


def test_a_plain_url_is_fetched_whole(server, tmp_path):
    server.body, server.faults = b"Any text.", ["breaks off"]
    path = download.download(out=tmp_path / "t.txt", url=server.url + "/any.txt", progress=False)
    assert path.read_bytes() == b"Any text." and server.paths[-1] == "/any.txt"


def test_the_command_line_says_what_comes_next_and_fetches_once(server, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for said in ("Next: python -m yzlin prepare", "nothing to do"):
        assert main(["download", "tinystories", "--mirror", server.url]) == 0
        assert said in capsys.readouterr().out
    assert names(tmp_path / "data" / "download") == ["tinystories.txt"] and len(server.asked) == 1
    assert main(["download", "tinystories", "--mirror", server.url, "--force"]) == 0 and len(server.asked) == 2


# ---- or with one clear sentence, and what was there stays


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("403", "refuses access"),
        ("401", "refuses access"),
        ("404", "not there"),
        ("400", "answers 400"),
        ("500", "answers 500.*--mirror.*by hand to .*t.txt.*storybook"),
        ("web page", "log in to this network"),
        ("disguised web page", "log in to this network"),
        ("closes at once", "--mirror"),
        ("falls silent", "--mirror"),
        ("redirect", "sends on .* without an end .*30 redirects"),
        ("403", "127.0.0.1 refuses access"),
        ("sends on to another host", "localhost, to which 127.0.0.1 sends on, refuses access"),
        ("503", "127.0.0.1 answers 503"),
        ("gzip", "127.0.0.1 sends .* packed \\(gzip\\)"),
        ("empty", "has 0 bytes and should have"),
        ("negative length", "gives '-5' as the length"),
        ("no number", "gives 'many' as the length"),
        ("two lengths", "cannot be fetched .*7, 9"),
    ],
)
def test_a_fault_that_stays(fault, words, server, tmp_path, capsys, monkeypatch):
    half = TEXT[:200_000]
    (tmp_path / "t.txt.part").write_bytes(half)
    if fault == "falls silent":
        server.body = TEXT[:199_500]  # nothing new ever comes
        monkeypatch.setattr(download, "FILES", {(1, "train"): Remote("small.txt", len(server.body), "")})
        half = TEXT[:199_100]
        (tmp_path / "t.txt.part").write_bytes(half)
    server.always = fault
    code = main(["download", "tinystories", "--part", "full", "--mirror", server.url, "--out", str(tmp_path / "t.txt")])
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 2 and re.search(words, error) and error.startswith("yzlin download: ") and "HTTPConnection" not in error
    assert not (tmp_path / "t.txt").exists()
    assert (tmp_path / "t.txt.part").read_bytes().startswith(half)  # the next run goes on from here


def test_no_network(tmp_path, capsys):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    for mirror in (url, "http://no-such-host.invalid"):
        code = main(["download", "tinystories", "--mirror", mirror, "--out", str(tmp_path / "t.txt")])
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert code == 2 and all(way in error for way in ("--mirror", "by hand to", "prepare storybook"))
        assert "object at 0x" not in error and len(error) < 500
    assert not (tmp_path / "t.txt").exists()


@pytest.mark.parametrize(
    ("body", "part", "words"),
    [
        (TEXT[:-1], "full", "another file"),
        (TEXT + b" ", "valid", "another file"),
        (TEXT + b" ", "0.1", "another file"),
        (TEXT[:-9] + b"damaged!\n", "full", "sha256"),
        (b"x" * len(TEXT), "0.1", "not TinyStories"),
    ],
)
def test_another_file_under_the_name(body, part, words, server, tmp_path):
    server.body = body
    (tmp_path / "t.txt").write_bytes(b"mine")
    with pytest.raises(ValueError, match=words):
        fetch(server, tmp_path / "t.txt", part, force=True)
    assert (tmp_path / "t.txt").read_bytes() == b"mine"
    server.body = TEXT
    assert TEXT.startswith(fetch(server, tmp_path / "t.txt", part, force=True).read_bytes())


def test_no_space(server, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(OSError, match="make room"):
        fetch(server, tmp_path / "t.txt")
    assert not (tmp_path / "t.txt").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal for one process")
def test_stopped_with_ctrl_c_it_goes_on_later_and_two_at_once_are_refused(server, tmp_path):
    server.always = "very slow"  # Ctrl+C comes in time on a busy machine, too
    code = f"""
import hashlib
from yzlin.tools import download
from yzlin.__main__ import main
download.FILES = {{(1, "train"): download.Remote("small.txt", {len(TEXT)}, "{hashlib.sha256(TEXT).hexdigest()}")}}
main(["download", "tinystories", "--part", "full", "--mirror", "{server.url}", "--out", "{tmp_path / "t.txt"}"])
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True, env=os.environ)
    part, deadline = tmp_path / "t.txt.part", time.monotonic() + 60
    while not (part.exists() and part.stat().st_size):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    with pytest.raises(FileExistsError, match="another run"):
        fetch(server, tmp_path / "t.txt")
    process.send_signal(signal.SIGINT)
    assert "the same command goes on" in process.communicate()[1].lower()
    assert not (tmp_path / "t.txt").exists() and 0 < part.stat().st_size < len(TEXT)
    server.always = None
    assert fetch(server, tmp_path / "t.txt").read_bytes() == TEXT
    assert int(server.asked[-1][6:-1]) > 0 and names(tmp_path) == ["t.txt"]


# ---- another source


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("empty", "is an empty file"),
        ("gzip", "packed"),
        ("negative length", "'-5'"),
        ("no length, no chunks", "does not say how long"),
        ("web page", "log in"),
    ],
)
def test_a_plain_url_with_a_fault(fault, words, server, tmp_path, capsys):
    server.always = fault
    out = tmp_path / "new" / "folder" / "t.txt"
    assert main(["download", "tinystories", "--url", server.url + "/t.txt", "--out", str(out)]) == 2
    assert re.search(words, capsys.readouterr().err) and names(tmp_path) == []  # no new folder, no lock


def test_each_source_has_a_name_of_its_own(server, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ("/a/text.txt", "/b/text.txt", "/text.txt?version=2", "/", "/%e4%b9%a6%2F..%2F.txt"):
        for said in ("Next: python -m yzlin prepare", "nothing to do"):
            assert main(["download", "tinystories", "--url", server.url + path]) == 0
            assert said in capsys.readouterr().out
    for options in (["--part", "full"], ["--part", "valid"], [], ["--version", "2"]):
        assert main(["download", "tinystories", "--mirror", server.url, *options]) == 0
        assert "there already" not in capsys.readouterr().out
    assert len([name for name in names(tmp_path / "data" / "download") if name.endswith(".txt")]) == 9
    assert names(tmp_path) == ["data"]


def test_what_is_there_from_another_source_is_not_taken_for_it(server, tmp_path, capsys):
    out, other = str(tmp_path / "t.txt"), server.url + "/other.txt"
    server.body = b"Something else."
    assert main(["download", "tinystories", "--url", other, "--out", out]) == 0
    server.body = TEXT
    for options in (["--part", "full"], ["--part", "valid"], [], ["--url", server.url + "/third.txt"]):
        words = options if "--url" in options else [*options, "--mirror", server.url]
        assert main(["download", "tinystories", "--out", out, *words]) == 2
        assert f"and it is not {server.url}" in (error := capsys.readouterr().err) and f"but {other}" in error
    assert (tmp_path / "t.txt").read_bytes() == b"Something else."
    assert main(["download", "tinystories", "--part", "full", "--mirror", server.url, "--out", out, "--force"]) == 0
    assert main(["download", "tinystories", "--part", "full", "--mirror", server.url, "--out", out]) == 0
    assert "there already" in capsys.readouterr().out and names(tmp_path) == ["t.txt"]
    (tmp_path / "t.txt").write_bytes(CHANGED)
    assert main(["download", "tinystories", "--part", "full", "--mirror", server.url, "--out", out]) == 2


@pytest.mark.parametrize("way", ["signs", "200 with a range"])
@pytest.mark.parametrize("part", ["0.1", "valid", "full"])
def test_modelscope(part, way, server, tmp_path, monkeypatch):
    """A server that answers as ModelScope was seen to: a part with the status 200, or from a signed address."""
    monkeypatch.setattr(download, "MODELSCOPE", server.url)
    server.faults, server.validators = [way, "breaks off", way, "200 with a range"], E1
    if way != "signs":
        server.faults = [way] * 8
    path = download.download(part, out=tmp_path / "t.txt", mirror="modelscope", progress=False)
    assert TEXT.startswith(path.read_bytes()) and (part == "0.1") == (path.read_bytes() != TEXT)
    assert server.paths[0] == "/datasets/AI-ModelScope/TinyStories/resolve/master/small.txt"
    assert ("/store/file?Expires=1&Signature=abc" in server.paths) == (way == "signs")


@pytest.mark.parametrize(
    "options",
    [
        ["--mirror", "hf-mirror.com"],
        ["--mirror", "file:///etc"],
        ["--mirror", "http://"],
        ["--mirror", "http://["],
        ["--url", "ftp://x/y.txt"],
        ["--url", "/etc/passwd"],
        ["--url", "http://a b/c"],
        ["--url", "http://127.0.0.1:99999/c"],
        ["--url", "http://127.0.0.1:http/c"],
        ["--url", "http://" + "a" * 70 + ".invalid/c"],
        ["--url", "http://127.0.0.1/c", "--mirror", "modelscope"],
    ],
    ids=" ".join,
)
def test_what_is_not_an_address(options, tmp_path, capsys):
    assert main(["download", "tinystories", *options, "--out", str(tmp_path / "new" / "t.txt")]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("yzlin download: ") and not names(tmp_path)
    assert options[1] in error or "give one of them" in error


def test_where_it_cannot_be_written(server, tmp_path, capsys):
    (tmp_path / "file").write_bytes(b"mine")
    for out, words in ((tmp_path, "is a folder"), (tmp_path / "file" / "t.txt", "is not a folder"), ("", "is a folder")):
        assert main(["download", "tinystories", "--mirror", server.url, "--out", str(out)]) == 2
        assert words in capsys.readouterr().err
    assert names(tmp_path) == ["file"] and not server.asked
    for options in ({"part": "half"}, {"version": 3}):
        with pytest.raises(ValueError, match="use 0.1, valid or full"):
            download.download(**options)

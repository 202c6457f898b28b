"""One file over HTTP: never a mixture of two, and an error names its host and its cause."""

import errno
import hashlib

import pytest
import requests
from bad_server import CHANGED, DATES, E1, E2, TEXT, names, serve, small  # noqa: F401

from yzlin.tokenizer import EOT
from yzlin.tools import download, fetch
from yzlin.tools.download import Remote


@pytest.mark.parametrize("validators", [(E1, E2), DATES, ({}, {}), (E1, {}), ({}, E2), ({"ETag": 'W/"1"'}, {"ETag": 'W/"1"'})])
@pytest.mark.parametrize("then", [None, "ignores If-Range", "ignores ranges", "breaks off"])
@pytest.mark.parametrize("part", ["url", "0.1", "full"])
def test_a_file_that_changes_while_it_is_fetched_never_becomes_a_mixture(part, then, validators, server, tmp_path, monkeypatch):
    before, after = validators
    whole = Remote("small.txt", len(TEXT), hashlib.sha256(CHANGED).hexdigest())
    monkeypatch.setattr(download, "FILES", {(1, "train"): whole})
    server.faults = ["breaks off", then] if then else ["breaks off"]
    server.changes = [(TEXT, before), (CHANGED, after)]
    source = {"url": server.url + "/x.txt"} if part == "url" else {"part": part, "mirror": server.url}
    try:
        path = download.download(out=tmp_path / "t.txt", progress=False, **source)
    except ValueError as error:  # only the hash at the end knew
        assert part == "full" and "sha256" in str(error)
        path = download.download(out=tmp_path / "t.txt", progress=False, **source)
    got = path.read_bytes()
    assert got == (CHANGED if part != "0.1" else CHANGED[: CHANGED.rindex(EOT.encode(), 0, 100_000) + len(EOT)])
    assert names(tmp_path) == ["t.txt", "t.txt.source.json"][: 1 + (part == "url")]


def test_a_file_that_changed_between_two_runs_and_one_that_did_not(server, tmp_path):
    url = server.url + "/x.txt"
    for validators, body in ((E1, TEXT), (E2, CHANGED), ({}, CHANGED)):
        server.validators, server.body, server.asked = E1, TEXT, []
        server.faults = ["breaks off", "404"]
        with pytest.raises(FileNotFoundError):
            download.download(out=tmp_path / "t.txt", url=url, progress=False)
        assert names(tmp_path) == ["t.txt.part", "t.txt.part.json"]  # the lock is gone, what has come stays
        server.validators, server.body = validators, body
        assert download.download(out=tmp_path / "t.txt", url=url, progress=False).read_bytes() == body
        assert int(server.asked[2][6:-1]) > 100_000  # it asked to go on
        (tmp_path / "t.txt").unlink()
        (tmp_path / "t.txt.source.json").unlink()


def test_a_half_file_of_another_address_is_not_gone_on_with(server, tmp_path):
    server.validators, server.faults = E1, ["breaks off", "404"]
    with pytest.raises(FileNotFoundError):
        download.download(out=tmp_path / "t.txt", url=server.url + "/one.txt", progress=False)
    server.body = CHANGED  # another file, and its server gives the same ETag
    path = download.download(out=tmp_path / "t.txt", url=server.url + "/two.txt", progress=False)
    assert path.read_bytes() == CHANGED


def test_a_disk_that_fills_up_keeps_what_has_come(server, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetch.os, "fsync", full)
    with pytest.raises(OSError, match="no room left.*goes on"):
        download.download(out=tmp_path / "t.txt", url=server.url + "/t.txt", progress=False)
    assert (tmp_path / "t.txt.part").exists() and not (tmp_path / "t.txt").exists()


def answer(**headers):
    found = requests.Response()
    found.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return found


def test_what_tells_that_a_file_is_the_same():
    date = "Tue, 01 Sep 2026 10:00:00 GMT"
    assert fetch.validator_of(answer(ETag='"a"', Last_Modified=date)) == '"a"'
    assert fetch.validator_of(answer(ETag='W/"a"', Last_Modified=date)) == date  # a weak one may stand for other bytes
    assert fetch.validator_of(answer(ETag='W/"a"')) == fetch.validator_of(answer()) == ""


def test_a_record_that_is_damaged_is_none(tmp_path):
    path = tmp_path / "t.part.json"
    assert fetch.read_json(path) == {}
    for text in ("", "{", "[]", "[" * 100_000, '{"url": 3}', "\xff"):
        path.write_text(text, encoding="latin-1")
        assert fetch.read_json(path) == {}
    fetch.write_json(path, {"url": "\u4e66"})
    assert fetch.read_json(path) == {"url": "\u4e66"}


def test_the_reason_is_the_first_cause_with_its_host():
    request = requests.Request("GET", "http://far.example/x").prepare()
    cause = OSError(113, "No route to host")
    assert fetch.reason(requests.ConnectionError(cause, request=request)) == "far.example: [Errno 113] No route to host"
    assert fetch.reason(fetch.BrokenOff("far.example answers 500")) == "far.example answers 500"
    assert fetch.reason(requests.Timeout()) == "Timeout"

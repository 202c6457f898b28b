"""A server on this machine that does everything a server should not: for test_fetch.py and test_download.py."""

import gzip
import hashlib
import random
import re
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from yzlin.tokenizer import EOT
from yzlin.tools import download
from yzlin.tools import fetch as fetch_module
from yzlin.tools.download import Remote

STORY = "Once upon a time there was a little {}. The end.\n" + EOT + "\n"
TEXT = "".join(STORY.format(random.Random(i).random()) for i in range(4000)).encode()  # some 300 kB
OTHER = TEXT.replace(b"little", b"BIGGER")


CHANGED = b"Wonc" + TEXT[4:]  # as long as TEXT and equal in all but the first bytes: no overlap at the end shows it
E1, E2 = {"ETag": '"one"'}, {"ETag": '"two"'}
DATES = {"Last-Modified": "Tue, 01 Sep 2026 10:00:00 GMT"}, {"Last-Modified": "Wed, 02 Sep 2026 10:00:00 GMT"}
PAUSES = {"slow": 0.02, "very slow": 0.5}  # seconds behind each 20,000 bytes


class Server(ThreadingHTTPServer):
    """Serves `body`. `faults` holds what it does wrong, one name an answer; when they are used up it does right."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.faults, self.always, self.asked, self.paths = TEXT, [], None, [], []
        self.validators = {}  # ETag or Last-Modified, sent with every answer
        self.changes = []  # (body, validators) from the next answer on

    def handle_error(self, request, client_address):
        """The reader went away: that is what some of the tests do."""

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        server, body = self.server, self.server.body
        fault = server.faults.pop(0) if server.faults else server.always
        asked = self.headers.get("Range")
        server.asked.append(asked)
        server.paths.append(self.path)
        if self.path == "/refused":
            return self.answer(403, b"no", {})
        if fault and fault.isdecimal():
            return self.answer(int(fault), b"no", {})
        if fault == "web page":
            return self.answer(200, b"<html>log in</html>", {"Content-Type": "text/html; charset=utf-8"})
        if fault == "disguised web page":
            return self.answer(200, b"\n<!DOCTYPE html><p>log in".ljust(len(body)), {"Content-Type": "text/plain"})
        if fault == "redirect":
            return self.answer(302, b"", {"Location": "/elsewhere"})
        if fault == "sends on to another host":
            return self.answer(302, b"", {"Location": f"http://localhost:{server.server_port}/refused"})
        if fault == "closes at once":
            return self.connection.shutdown(socket.SHUT_RDWR)
        if fault == "gzip":
            return self.answer(200, gzip.compress(body), {"Content-Encoding": "gzip"})
        if fault == "empty":
            return self.answer(200, b"", {})
        if fault in ("negative length", "no number", "two lengths"):
            odd = {"negative length": "-5", "no number": "many", "two lengths": "7, 9"}[fault]
            return self.answer(200, body, {"Content-Length": odd}, fault)
        if fault == "no length, no chunks":
            self.send_response(200)
            self.end_headers()
            self.close_connection = True
            return self.wfile.write(body)
        if "/datasets/AI-ModelScope/" in self.path and fault == "signs":  # a large file lies in a store of its own
            return self.answer(302, b"", {"Location": "/store/file?Expires=1&Signature=abc"})
        unchanged = self.headers.get("If-Range") in (None, *server.validators.values())
        if server.changes:
            server.body, server.validators = server.changes.pop(0)
            body = server.body
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", asked or "")
        ignores = fault in ("ignores ranges", "ignores and breaks off", "no length")
        ignores = ignores or not unchanged and fault != "ignores If-Range"
        start, end = (int(match[1]), int(match[2] or len(body) - 1)) if match and not ignores else (0, len(body) - 1)
        if start >= len(body):
            return self.answer(416, b"", {"Content-Range": f"bytes */{len(body)}"})
        data = body[start : end + 1]
        if fault == "no length":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for i in range(0, len(data), 50_000):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data[i : i + 50_000]), data[i : i + 50_000]))
            return self.wfile.write(b"0\r\n\r\n")
        ranged = {} if ignores else {"Content-Range": f"bytes {start}-{start + len(data) - 1}/{len(body)}"}
        if fault == "wrong range":
            ranged = {"Content-Range": f"bytes {start + 7}-{start + len(data) - 1}/{len(body)}"}
        sent = data
        if fault in ("breaks off", "ignores and breaks off"):
            sent = data[: len(data) // 2]
        status = 200 if ignores or fault == "200 with a range" else 206
        self.answer(status, sent, {"Content-Length": str(len(data)), **ranged, **server.validators}, fault)

    def answer(self, status, body, headers, fault=None):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "Content-Type": "text/plain", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        step = 20_000 if fault in PAUSES else len(body) // 2 + 1
        for i in range(0, len(body), step):
            self.wfile.write(body[i : i + step])
            if fault == "falls silent":
                time.sleep(1)
                break
            time.sleep(PAUSES.get(fault, 0))
        if fault:
            self.close_connection = True


@pytest.fixture(name="server")
def serve():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A dataset of 300 kB, known by size and hash; no long waits; no proxy between this machine and itself."""
    remote = Remote("small.txt", len(TEXT), hashlib.sha256(TEXT).hexdigest())
    monkeypatch.setattr(download, "FILES", {(v, part): remote for v in (1, 2) for part in ("train", "valid")})
    monkeypatch.setattr(download, "FIRST", 100_000)
    monkeypatch.setattr(fetch_module, "OVERLAP", 1000)
    monkeypatch.setattr(fetch_module, "TIMEOUT", (2, 0.3))
    monkeypatch.setattr(fetch_module, "WAIT", 0.001)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("HF_ENDPOINT", raising=False)


def names(folder):
    return sorted(path.name for path in folder.iterdir())

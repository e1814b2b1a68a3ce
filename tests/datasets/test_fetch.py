"""Downloads: whole and right under their name, or not there; against a server on loopback."""

from __future__ import annotations

import hashlib
import io
import re
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from neurosim.datasets import FETCHABLE, fetch, load_dataset
from neurosim.errors import ConfigError, DataError


class Server(ThreadingHTTPServer):
    """Serves bytes by name, as badly as it is told to."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.behaviour: dict[str, str] = {}  #: name → "corrupt", "cut", "cut without length"
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        self.server.asked.append(self.path)
        if name not in self.server.files:
            self.send_error(404)
            return
        body, behaviour = self.server.files[name], self.server.behaviour.get(name, "")
        if behaviour == "corrupt":
            body = body[:-1] + bytes([body[-1] ^ 1])
        self.send_response(200)
        if behaviour != "cut without length":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if behaviour.startswith("cut") else body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that has what ``mnist`` should be made of, in small."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as made:
        for stem, count in (("train", 12), ("t10k", 10)):
            images, labels = (np.arange(count * 6) % 256).astype(np.uint8), np.arange(count, dtype=np.uint8) % 10
            for name, array, shape in (("images-idx3", images, (count, 3, 2)), ("labels-idx1", labels, (count,))):
                header = bytes((0, 0, 8, len(shape))) + b"".join(size.to_bytes(4) for size in shape)
                made.files[f"{stem}-{name}-ubyte"] = header + array.tobytes()
        checksums = {name: hashlib.sha256(data).hexdigest() for name, data in made.files.items()}
        monkeypatch.setitem(
            FETCHABLE, "mnist", FETCHABLE["mnist"]._replace(files=checksums, mirrors=(f"{made.url}/one", f"{made.url}/two"))
        )
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield made
        finally:
            made.shutdown()
            thread.join()


ONE = "t10k-labels-idx1-ubyte"


def test_a_good_download_can_be_loaded_by_its_name(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROSIM_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    assert fetch("mnist") == tmp_path / "data" / "mnist"
    assert load_dataset("idx", path="mnist").test.labels.tolist() == list(range(10))


def test_a_folder_may_be_given_and_is_made(server: Server, tmp_path: Path) -> None:
    folder = fetch("mnist", tmp_path / "deep" / "er")
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == server.files


def test_what_is_there_already_is_not_loaded_again(server: Server, tmp_path: Path) -> None:
    fetch("mnist", tmp_path)
    (tmp_path / ONE).unlink()
    server.asked.clear()
    fetch("mnist", tmp_path)
    assert server.asked == [f"/one/{ONE}"]
    server.asked.clear()
    fetch("mnist", tmp_path)
    assert server.asked == []


@pytest.mark.parametrize("behaviour", ["corrupt", "cut", "cut without length"])
def test_a_bad_download_leaves_nothing_and_says_what_to_do(server: Server, tmp_path: Path, behaviour: str) -> None:
    server.behaviour[ONE] = behaviour
    with pytest.raises(DataError) as caught:
        fetch("mnist", tmp_path)
    assert not [file for file in tmp_path.iterdir() if ONE in file.name]
    message = str(caught.value)
    assert f"{server.url}/one/{ONE}" in message
    assert f"put it here: {tmp_path / ONE} (SHA-256 {hashlib.sha256(server.files[ONE]).hexdigest()})" in message


@pytest.mark.parametrize("behaviour", ["corrupt", "cut"])
def test_the_next_call_after_a_bad_download_loads_only_what_is_missing(server: Server, tmp_path: Path, behaviour: str) -> None:
    server.behaviour[ONE] = behaviour
    with pytest.raises(DataError):
        fetch("mnist", tmp_path)
    server.behaviour.clear()
    server.asked.clear()
    fetch("mnist", tmp_path)
    assert server.asked == [f"/one/{ONE}"]
    assert (tmp_path / ONE).read_bytes() == server.files[ONE]


def test_a_damaged_file_is_told_by_both_checksums(server: Server, tmp_path: Path) -> None:
    server.behaviour[ONE] = "corrupt"
    expected = hashlib.sha256(server.files[ONE]).hexdigest()
    with pytest.raises(DataError, match=rf"SHA-256 must be {expected}, is (?!{expected})[0-9a-f]{{64}}"):
        fetch("mnist", tmp_path)


def test_the_second_address_is_tried_when_the_first_fails(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = "http://127.0.0.1:9"  # the discard port: nothing answers
    monkeypatch.setitem(FETCHABLE, "mnist", FETCHABLE["mnist"]._replace(mirrors=(nobody, f"{server.url}/two")))
    fetch("mnist", tmp_path)
    assert [path.startswith("/two/") for path in server.asked] == [True] * 4


def test_an_address_of_ones_own_is_the_only_one_tried(server: Server, tmp_path: Path) -> None:
    fetch("mnist", tmp_path, base_url=f"{server.url}/mine/")
    assert [path.startswith("/mine/") for path in server.asked] == [True] * 4


def test_without_a_server_the_message_names_the_address_and_the_place(server: Server, tmp_path: Path) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(DataError, match=rf"{re.escape(server.url)}/one/.*(\n.*)*put it here: {re.escape(str(tmp_path))}"):
        fetch("mnist", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_on_the_server_is_reported_with_its_status(server: Server, tmp_path: Path) -> None:
    del server.files[ONE]
    with pytest.raises(DataError, match=f"{ONE}: could not be downloaded(\n.*)*404"):
        fetch("mnist", tmp_path)


def test_a_file_put_there_by_hand_is_taken(server: Server, tmp_path: Path) -> None:
    (tmp_path / ONE).write_bytes(server.files[ONE])
    fetch("mnist", tmp_path)
    assert f"/one/{ONE}" not in server.asked


def test_another_file_of_that_name_is_left_alone_and_reported(server: Server, tmp_path: Path) -> None:
    (tmp_path / ONE).write_bytes(b"mine")
    with pytest.raises(DataError, match=rf"{ONE}: SHA-256 must be .*, is {hashlib.sha256(b'mine').hexdigest()}; move or delete this file"):
        fetch("mnist", tmp_path)
    assert (tmp_path / ONE).read_bytes() == b"mine"


def test_a_place_that_is_no_folder_is_refused(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file: must be a folder that can be written to"):
        fetch("mnist", tmp_path / "file")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_a_bar_for_each_file(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    fetch("mnist", tmp_path)
    assert all(f"{name}: 100%" in terminal.getvalue() for name in server.files)


def test_elsewhere_nothing_is_printed(server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fetch("mnist", tmp_path)
    assert capfd.readouterr() == ("", "")


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'fashion_mnist'"):
        fetch("fashionmnist")


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_every_data_set_has_checksums_two_addresses_and_credit(name: str) -> None:
    entry = FETCHABLE[name]
    assert all(re.fullmatch("[0-9a-f]{64}", checksum) for checksum in entry.files.values())
    assert len(set(entry.mirrors)) == 2
    assert entry.mirrors[0].startswith("https://")
    assert entry.credit
    assert entry.data.startswith("{kind: ")

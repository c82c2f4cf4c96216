"""Weights come from a server on this machine or from a file, whole and with the published checksum, or not at all."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lightmeter.cli import main
from lightmeter.errors import SourceError, StorageError, UsageError, WeightsError
from lightmeter.models import MODELS
from lightmeter.models.pretrained import load_start
from lightmeter.nouns.recipe import ModelChoice
from lightmeter.verbs import published
from lightmeter.verbs.published import PUBLISHED, Published
from lightmeter.verbs.start import open_start, read_note
from lightmeter.verbs.weights import fetch, import_weights
from tests.models.published_files import mobilenet_layers, stir, torchvision_state, write_h5

BACKBONE = "mobilenet_v2_1.0_imagenet_backbone"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of weights, empty."""
    monkeypatch.setenv("LIGHTMETER_DATA", str(tmp_path / "data"))
    return tmp_path / "data" / "weights"


@pytest.fixture(scope="module")
def resnet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet-18 as torchvision would publish it, with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = stir(MODELS["resnet18"](1000, channels=3, size=96, width=0.35))
    path = tmp_path_factory.mktemp("owner") / "resnet18-0000.pth"
    torch.save(torchvision_state(model), path)
    return path


@pytest.fixture
def resnet(resnet_file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, made what the owner is known to publish as "resnet18" (the original is too large to be made here)."""
    digits = hashlib.sha256(resnet_file.read_bytes()).hexdigest()[:8]
    model = ModelChoice(name="resnet18", width=0.35, options={"stem": "imagenet"})
    address = f"https://example.org/models/{resnet_file.name}"
    entry = replace(PUBLISHED["resnet18"], model=model, address=address, checksum=f"sha256:{digits}")
    monkeypatch.setitem(published.PUBLISHED, "resnet18", entry)
    return resnet_file


@pytest.fixture
def serve() -> Iterator[Callable[[dict[str, bytes]], str]]:
    """serve({"a.pth": bytes}) -> the address that they lie below."""
    servers = []

    def start(files: dict[str, bytes]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = files.get(self.path.lstrip("/"))
                self.send_response(404 if content is None else 200)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                self.wfile.write(content or b"")

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


class TestTable:
    @pytest.mark.parametrize("name", sorted(PUBLISHED))
    def test_every_entry_says_what_a_user_must_know(self, name: str) -> None:
        entry = PUBLISHED[name]
        kind, _, digits = entry.checksum.partition(":")
        assert (kind, len(digits)) in {("sha256", 8), ("sha256", 64), ("md5", 32)}
        assert set(digits) <= set("0123456789abcdef")
        assert entry.model.name in MODELS
        assert entry.licence and entry.origin and entry.pixels and entry.seen == ("imagenet-1k/train",)
        assert entry.address.startswith("https://") or not entry.address
        if kind == "sha256" and entry.address:
            assert entry.address.endswith(f"-{digits}.pth")
        if not entry.address:
            assert len(digits) == 64
        with torch.device("meta"):  # its options are ones that the architecture takes
            MODELS[entry.model.name](2, channels=3, size=224, **entry.model.options)

    @pytest.mark.data
    def test_the_backbone_in_the_test_data_is_known_by_its_content(
        self, named_set: Callable[[str], Path], tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        original = named_set("weights") / f"{BACKBONE}.safetensors"
        start = open_start(BACKBONE)
        assert (start.path, start.model, start.seen) == (
            original,
            ModelChoice(name="mobilenet_v2"),
            ("imagenet-1k/train",),
        )
        assert start.identity == f"{BACKBONE}@563e7b85b2e4306f"
        monkeypatch.setenv("LIGHTMETER_DATA", str(tmp_path / "data"))
        with pytest.raises(UsageError, match=r"(?s)have no address.*--from FILE"):
            fetch(BACKBONE)
        assert fetch(BACKBONE, source_path=original).read_bytes() == original.read_bytes()
        other = tmp_path / "renamed.safetensors"
        other.write_bytes(original.read_bytes())
        assert open_start(str(other)).seen == ("imagenet-1k/train",)

    @pytest.mark.data
    def test_the_real_backbone_comes_through_every_naming_scheme_unchanged(
        self, named_set: Callable[[str], Path], tmp_path: Path
    ) -> None:
        model = MODELS["mobilenet_v2"](10, channels=3, size=96).eval()
        load_start(model, named_set("weights") / f"{BACKBONE}.safetensors")
        torch.save({"state_dict": {f"module.{k}": v for k, v in torchvision_state(model).items()}}, tmp_path / "t.pth")
        write_h5(tmp_path / "k.h5", mobilenet_layers(model))
        expected = model.state_dict()
        for file in ("t.pth", "k.h5"):
            done = import_weights(tmp_path / file, out=tmp_path / f"{file}.safetensors")
            assert done.start.model is not None and done.start.model.name == "mobilenet_v2"
            found = load_file(done.start.path)
            inside = [name for name in found if "normalise" not in name and "running_var" not in name]
            assert len(inside) >= 208
            assert all(torch.equal(found[name], expected[name]) for name in inside)


class TestFetch:
    def test_what_the_owner_publishes_becomes_a_file_to_start_from(
        self, resnet: Path, serve: Callable[[dict[str, bytes]], str], folder: Path
    ) -> None:
        path = fetch("resnet18", address=serve({resnet.name: resnet.read_bytes()}))
        assert path == folder / "resnet18.safetensors"
        assert names(folder) == ["resnet18.safetensors"]
        start = open_start("resnet18")
        assert start.path == path
        assert start.model == ModelChoice(name="resnet18", width=0.35, options={"stem": "imagenet"})
        assert start.seen == ("imagenet-1k/train",)
        note = read_note(path)
        assert "torchvision" in note.source and note.licence == PUBLISHED["resnet18"].licence
        model = MODELS["resnet18"](5, channels=3, size=96, width=0.35)
        assert "for 1000 classes, not 5" in load_start(model, path).sentence
        fetch("resnet18")  # there already: no connection is opened, which would fail
        with pytest.raises(UsageError, match="is there already"):
            fetch("resnet18", source_path=resnet)

    def test_a_copy_is_read_without_a_connection(self, resnet: Path, folder: Path) -> None:
        fetch("resnet18", source_path=resnet)
        assert names(folder) == ["resnet18.safetensors"]

    def test_another_checksum_is_refused_and_nothing_is_left(
        self, resnet: Path, serve: Callable[[dict[str, bytes]], str], folder: Path, tmp_path: Path
    ) -> None:
        changed = resnet.read_bytes()[:-1] + b"x"
        with pytest.raises(SourceError, match=r"(?s)does not have the published checksum.*sha256:"):
            fetch("resnet18", address=serve({resnet.name: changed}))
        (tmp_path / "copy.pth").write_bytes(changed)
        with pytest.raises(SourceError, match="published checksum"):
            fetch("resnet18", source_path=tmp_path / "copy.pth")
        with pytest.raises(SourceError, match="404"):
            fetch("resnet18", address=serve({}))
        assert names(folder) == []

    def test_an_unknown_name_lists_those_there_are(self) -> None:
        with pytest.raises(UsageError, match=r"(?s)no published weights 'resnet'.*resnet18.*vgg16-keras"):
            fetch("resnet")


class TestImport:
    def test_a_published_file_is_known_by_its_checksum(self, resnet: Path, folder: Path) -> None:
        done = import_weights(resnet)
        assert done.start.path == folder / "resnet18-0000.safetensors"
        assert done.start.seen == ("imagenet-1k/train",)
        assert open_start("resnet18-0000") == done.start  # by its name in the folder
        with pytest.raises(StorageError, match=r"(?s)is there already.*--out"):
            import_weights(resnet)

    def test_an_unknown_file_has_seen_what_the_user_says(self, resnet_file: Path, tmp_path: Path) -> None:
        said: list[str] = []

        class Listening:
            def say(self, text: str) -> None:
                said.append(text)

        unknown = import_weights(resnet_file, out=tmp_path / "a.safetensors", progress=Listening())  # type: ignore[arg-type]
        assert unknown.start.seen == ()
        assert "which pictures these weights have seen" in said[-1]
        known = import_weights(resnet_file, out=tmp_path / "b.safetensors", seen=("my-photos", "imagenet-1k/train"))
        assert known.start.seen == ("my-photos", "imagenet-1k/train")

    @pytest.mark.parametrize(
        ("name", "words"), [("net.onnx", r"(?s)cannot be imported.*\.pth"), ("none.pth", "There is no file")]
    )
    def test_what_cannot_be_read_is_said(self, name: str, words: str, tmp_path: Path) -> None:
        if name != "none.pth":
            (tmp_path / name).write_bytes(b"x")
        with pytest.raises((UsageError, WeightsError), match=words):
            import_weights(tmp_path / name)
        (tmp_path / "net.pth").write_bytes(b"x")
        with pytest.raises(UsageError, match=r"does not end in \.safetensors"):
            import_weights(tmp_path / "net.pth", out=tmp_path / "net.bin")

    def test_a_safetensors_file_gets_its_note(self, tmp_path: Path) -> None:
        model = MODELS["mobilenet_v2"](3, channels=3, size=96, width=0.35)
        save_file(torchvision_state(model), tmp_path / "bare.safetensors")
        assert open_start(str(tmp_path / "bare.safetensors")).model is None
        done = import_weights(tmp_path / "bare.safetensors", seen=("mine",))
        assert done.start.model == ModelChoice(name="mobilenet_v2", width=0.35)


class TestCommands:
    def test_list_shows_what_is_here(self, resnet: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["weights", "fetch", "resnet18", "--from", str(resnet), "--json"]) == 0
        fetched = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert Path(fetched["path"]).is_file()
        assert main(["weights", "list", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert [row["name"] for row in found["weights"] if row["here"]] == ["resnet18"]
        assert {*Published.__dataclass_fields__} <= set(found["weights"][0])
        assert main(["weights", "list"]) == 0
        shown = capsys.readouterr().out
        assert "imagenet-1k/train" in shown and "vgg16-keras" in shown

    def test_import_says_where_and_what(
        self, resnet_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "own.safetensors"
        command = ["weights", "import", str(resnet_file), "--out", str(out), "--seen", "mine", "--json"]
        assert main(command) == 0
        found = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (found["path"], found["model"]["name"], found["seen"]) == (str(out), "resnet18", ["mine"])
        assert main(command) == 2
        assert "is there already" in capsys.readouterr().err

    def test_starting_from_what_was_not_fetched_names_the_command(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["train", "digits", "--start", "vgg16", "--out", str(tmp_path / "run")]) == 2
        assert "lightmeter weights fetch vgg16" in capsys.readouterr().err
        assert not (tmp_path / "run").exists()

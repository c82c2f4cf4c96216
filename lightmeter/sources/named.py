"""The data sets that have a name: where their owners publish them, in which layout, and how a copy is known."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from lightmeter.errors import FormatError
from lightmeter.nouns.dataset import Dataset, Provenance
from lightmeter.nouns.files import read_json, write_json

FORMAT = 1
RECORD = "lightmeter.json"
"""The file beside a fetched data set that says where it came from."""


@dataclass(frozen=True)
class Published:
    """A file as its owner publishes it.

    Attributes:
        address: where from.
        md5: hex; the owners of these sets give no better sum, and the address is https.
    """

    address: str
    md5: str

    @property
    def name(self) -> str:
        """Its file name."""
        return self.address.rsplit("/", 1)[1]


@dataclass(frozen=True)
class NamedSet:
    """A data set with a name.

    Attributes:
        source: its entry in `SOURCES`.
        files: what its owner publishes; archives are unpacked, other files are kept as they are.
        sums: whose checksums these are, for the provenance.
        terms: under which terms, for the one who fetches it.
    """

    source: str
    files: tuple[Published, ...]
    sums: str
    terms: str


_FASHION = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"

NAMED = {
    "fashion-mnist": NamedSet(
        "idx",
        (
            Published(_FASHION + "train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
            Published(_FASHION + "train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
            Published(_FASHION + "t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
            Published(_FASHION + "t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
        ),
        "as in its owner's README",
        "MIT licence, Zalando Research",
    ),
    "cifar10": NamedSet(
        "cifar",
        (
            Published(
                "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                "c32a1d4ab5d03f1284b67883e8d87530",
            ),
        ),
        "as on its owner's page",
        "no licence stated; cite Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
    ),
    "tiny-imagenet": NamedSet(
        "tiny_imagenet",
        (Published("https://cs231n.stanford.edu/tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de"),),
        "as other libraries record it; its owner publishes none",
        "ImageNet's terms: research and teaching only",
    ),
    "imagenette": NamedSet(
        "imagenette",
        (
            Published(
                "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-160.tgz",
                "e793b78cc4c9e9a4ccc0c1155377a412",
            ),
        ),
        "as torchvision records it; its owner publishes none",
        "code under Apache 2.0, pictures under ImageNet's terms: research and teaching only",
    ),
}


def contents(dataset: Dataset) -> str:
    """sha256 over the ids and hashes of a Dataset: what its files hold, whatever we call the classes."""
    return hashlib.sha256("\n".join(map(" ".join, zip(dataset.ids, dataset.hashes, strict=True))).encode()).hexdigest()


def write_record(folder: Path, name: str, dataset: Dataset, *, verified: bool, note: str) -> None:
    """Note beside the files of a named set where they came from and what they held then."""
    official = "verified" if verified else "unverified"
    document = {"format": FORMAT, "name": name, "official": official, "note": note, "contents": contents(dataset)}
    write_json(folder / RECORD, document)


def judged(dataset: Dataset, folder: Path, name: str) -> Dataset:
    """The Dataset with a provenance that says whether its files are known to be its owner's.

    They are where each published file lies there with its published checksum, or where the record that
    `data fetch` left says so and the contents are still the ones it saw.
    """
    named = NAMED[name]
    official, note = False, "the owner's archive is not here to compare checksums with"
    paths = [folder / published.name for published in named.files]
    if all(path.is_file() for path in paths):
        official = all(md5(path) == published.md5 for path, published in zip(paths, named.files, strict=True))
        note = f"md5 of the published files {'is' if official else 'is not'} the known one, {named.sums}"
    elif (folder / RECORD).is_file():
        try:
            record = read_json(folder / RECORD, kind="record of a data set", newest=FORMAT)
            official = record["official"] == "verified"
            note = str(record["note"])
            if record["contents"] != contents(dataset):
                official, note = False, "its files have changed since they were fetched"
        except (FormatError, KeyError):
            official, note = False, f"{RECORD} beside it is not readable"
    found = dataset.provenance
    provenance = Provenance(found.source, "verified" if official else "unverified", (*found.notes, note))
    return replace(dataset, provenance=provenance)


def md5(path: Path) -> str:
    """md5 (hex) of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()

from __future__ import annotations

import csv
import io
import json

from lightmeter.nouns.prediction import Prediction, to_csv

SURE = Prediction("a, b.jpg", 'cat "x"', 0.75, (('cat "x"', 0.75), ("dog", 0.125)), True, False, "")
UNSURE = Prediction("b\nc.jpg", "dog", 0.1 + 0.2, (("dog", 0.1 + 0.2),), True, True, "unsure")
BROKEN = Prediction.unreadable("c.jpg", "the file ends early")


def test_document_is_what_the_contract_says() -> None:
    assert json.loads(json.dumps(SURE.document())) == {
        "file": "a, b.jpg",
        "label": 'cat "x"',
        "probability": 0.75,
        "top": [['cat "x"', 0.75], ["dog", 0.125]],
        "calibrated": True,
        "abstain": False,
        "reason": "",
    }


def test_an_unreadable_file_has_no_label_and_says_why() -> None:
    assert BROKEN.failed
    assert not UNSURE.failed
    document = BROKEN.document()
    assert (document["label"], document["probability"], document["top"]) == (None, None, [])
    assert (document["abstain"], document["reason"]) == (True, "the file ends early")


def test_csv_reads_back_as_it_was() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv([SURE, UNSURE, BROKEN]), newline="")))
    assert [row["file"] for row in rows] == ["a, b.jpg", "b\nc.jpg", "c.jpg"]
    assert [row["label"] for row in rows] == ['cat "x"', "dog", ""]
    assert [row["abstain"] for row in rows] == ["no", "yes", "yes"]
    assert float(rows[1]["probability"]) == 0.1 + 0.2
    assert [row["label_2"] for row in rows] == ["dog", "", ""]
    assert rows[2]["probability"] == ""


def test_csv_of_nothing_is_a_header() -> None:
    assert to_csv([]) == "file,label,probability,abstain,reason,calibrated\n"

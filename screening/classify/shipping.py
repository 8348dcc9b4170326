"""Builds the model that the package brings: `python -m screening.classify.shipping INDEX.tsv FOLDER`.

INDEX.tsv has columns id, label, source; FOLDER holds ID.eml. Only sources whose terms allow it are taken.
"""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from screening.classify.training import example_of, mail_of, train

if TYPE_CHECKING:
    from collections.abc import Iterable

    from screening.classify.model import Model
    from screening.classify.solve import Example

#: SpamAssassin's public corpus, CSDMC 2010, and the public archives of two technical lists
SOURCES = frozenset({"sa", "csdmc", "openbmc", "usrp"})


#: Taken off the log-odds: these corpora are old or technical, and a stranger's mail is like neither.
DOUBT = 1.6


def model_of(examples: Iterable[Example]) -> Model:
    """Return the model of these examples for people whose mail is different: less sure of spam."""
    model = train(examples)
    return replace(model, offset=model.offset - DOUBT)


def main(index: Path, folder: Path) -> None:
    """Write `shipped.model` beside this file from the messages that the index names."""
    with index.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["source"] in SOURCES]
    examples = (
        example_of(mail_of((folder / f"{row['id']}.eml").read_bytes()), spam=row["label"] == "spam")
        for row in rows
    )
    model = model_of({example.key: example for example in examples}.values())
    Path(__file__).with_name("shipped.model").write_bytes(model.to_bytes())
    sys.stdout.write(f"{model.identity}: {model.spam} spam, {model.ham} ham, slope {model.slope:.2f}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

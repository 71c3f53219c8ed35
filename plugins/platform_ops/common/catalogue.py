"""Catalogues: folders of ``include/`` with a YAML file for each entry, which bears the file's name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from platform_ops.common.documents import BadDocument, load_document
from platform_ops.common.settings import include

NAME = r"[a-z][a-z0-9-]{0,38}[a-z0-9]"
"""Pattern of an entry's name."""
Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True)
class Catalogue:
    """One folder of entries.

    :param schema: file name in ``include/schemas``.
    :param noun: what a person calls an entry, and the field that repeats the file's name.
    """

    folder: str
    schema: str
    noun: str

    def path(self, name: str) -> Path:
        """Return where an entry lies."""
        return include() / self.folder / f"{name}.yaml"

    def names(self) -> list[str]:
        """Return the names of the files; none is opened, so DAG files may call it."""
        return sorted(path.stem for path in (include() / self.folder).glob("*.yaml"))

    def load_all(self, load: Callable[[str], Entry]) -> tuple[list[Entry], dict[str, BadDocument]]:
        """Load the entries that are in order; return the error of each other one too, by its file.

        :param load: reads the entry of a name.
        """
        loaded, bad = list[Entry](), dict[str, BadDocument]()
        for name in self.names():
            try:
                loaded.append(load(name))
            except BadDocument as error:
                bad[f"include/{self.folder}/{name}.yaml"] = error
        return loaded, bad

    def missing(self, *names: str) -> str:
        """Return the sentence for entries that are not there."""
        known = ", ".join(self.names()) or "none"
        return f"There is no {self.noun} {', '.join(names)[:200]} in include/{self.folder}; known are {known}."

    def entry(self, name: str) -> Mapping[str, Any]:
        """Read one entry.

        :raises BadDocument: no such entry, or its file is not in order.
        """
        if not re.fullmatch(NAME, name):
            raise BadDocument(
                f"{name[:60]!r} is no name of a {self.noun}: they have lower-case letters, digits and dashes."
            )
        path = self.path(name)
        if not path.is_file():
            raise BadDocument(self.missing(name))
        document = load_document(path, self.schema)
        if document[self.noun] != name:
            raise BadDocument(
                f"{path.name}: {self.noun} is {document[self.noun]!r}; it must be the file's name, {name!r}."
            )
        return document

"""One published work, and its entry in BibTeX."""

from __future__ import annotations

from typing import NamedTuple


class Citation(NamedTuple):
    """One published work and what it is cited for."""

    why: str  #: what of this package rests on it, in a few words
    kind: str  #: BibTeX type: ``article``, ``inproceedings``, …
    key: str  #: BibTeX key
    fields: dict[str, str]  #: BibTeX fields, in the order they are written

    @property
    def bibtex(self) -> str:
        """The entry as BibTeX reads it."""
        lines = [f"  {name} = {{{value}}}," for name, value in self.fields.items()]
        return "\n".join([f"@{self.kind}{{{self.key},", *lines, "}"])


def work(why: str, kind: str, key: str, **fields: str) -> Citation:
    """A citation with its fields as keyword arguments."""
    return Citation(why, kind, key, fields)

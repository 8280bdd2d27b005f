"""Packages: zip files with parts in XML, unpacked piece by piece and within bounds.

No entity is ever expanded: a part that declares a document type is refused.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final, TypeAlias
from xml.parsers import expat

from chat2pay_async._workbooks.grid import WorkbookError

__all__ = ["Attributes", "Package", "xml_parser"]

Attributes: TypeAlias = Mapping[str, str]

_PIECE = 1 << 18
_OVERLAP = 32
_LARGEST_SHEET: Final = 1 << 32
_LARGEST_IN_MEMORY: Final = 1 << 30
_SMALL = 1 << 26
_DENSEST = 400
"""Sheets are packed to a twentieth or so; deflate can pack nothing to less than a 1032nd."""
_TOO_LARGE = (
    "unpacks to far more than a workbook holds, so it may be made to exhaust memory: open it in "
    "Excel or LibreOffice and save it again, or split it"
)
_BROKEN = "is damaged or incomplete: fetch it again, or open it in Excel or LibreOffice and save it"


class Package:
    """An open zip file, whose parts are found by names in any case."""

    def __init__(self, zipped: zipfile.ZipFile) -> None:
        self._zip = zipped
        self._parts = {one.filename.replace("\\", "/").lower(): one for one in zipped.infolist()}

    def __contains__(self, part: str) -> bool:
        return part.lower() in self._parts

    def pieces(self, part: str, most: int = _LARGEST_SHEET) -> Iterator[bytes]:
        """Unpack a part piece by piece.

        Raises:
            WorkbookError: It is missing, damaged, protected or too large.
        """
        info = self._parts.get(part.lower())
        if info is None:
            raise WorkbookError(_BROKEN)
        if info.flag_bits & 1:
            raise WorkbookError("is protected by a password: save it without one")
        large = info.file_size > _SMALL and info.file_size > _DENSEST * info.compress_size
        if large or info.file_size > most:
            raise WorkbookError(_TOO_LARGE)
        try:
            with self._zip.open(info) as file:
                while piece := file.read(_PIECE):
                    yield piece
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError):
            raise WorkbookError(_BROKEN) from None

    def mentions(self, part: str, traces: Collection[bytes]) -> bool:
        """Say whether any of some short bytes may occur in the text of a part."""
        rest = b""
        for piece in self.pieces(part):
            text = rest + piece
            if b"\0" in text or any(trace in text for trace in traces):
                return True  # \0: UTF-16, in which none of them could be found
            rest = piece[-_OVERLAP:]
        return False

    def parse(self, part: str, parser: Any, *, in_memory: bool = False) -> Iterator[None]:
        """Parse a part, and pause after each piece.

        Args:
            part: Its name.
            parser: A parser made by `xml_parser`.
            in_memory: Whether what it holds is kept, so that it must not be very large.

        Raises:
            WorkbookError: It can't be unpacked, or is not XML.
        """
        try:
            for piece in self.pieces(part, _LARGEST_IN_MEMORY if in_memory else _LARGEST_SHEET):
                parser.Parse(piece)
                yield
            parser.Parse(b"", 1)
        except (expat.ExpatError, ArithmeticError, LookupError, ValueError):
            raise WorkbookError(_BROKEN) from None
        yield

    def read(self, part: str, parser: Any) -> None:
        """Parse a part as a whole, as `parse` does."""
        for _ in self.parse(part, parser, in_memory=True):
            pass


def xml_parser(
    start: Callable[[str, Attributes], None],
    end: Callable[[str], None] | None = None,
    *,
    namespaces: bool = True,
) -> Any:
    """Return a parser that refuses document types.

    Args:
        start: Called at each start of an element with its name and its attributes.
        end: Called at each end of an element with its name.
        namespaces: Whether names are given as the namespace, a blank and the local name; else as
            they are written.
    """
    parser = expat.ParserCreate(namespace_separator=" " if namespaces else None)
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.StartDoctypeDeclHandler = _refuse_document_type
    return parser


def _refuse_document_type(*_: Any) -> None:
    raise WorkbookError("declares a document type (DTD), which no workbook needs: save it again")

"""An artifact of a run that is not trusted: one small file, read in memory; nothing is unpacked."""

import io
import zipfile
import zlib

from bonafide.project.errors import InputError

BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OSError)


def only_member(archive: bytes, name: str, limit: int) -> bytes:
    """The content of a ZIP archive that holds `name` and nothing else, of `limit` bytes at most.

    Raise InputError for another or a second member (a path, a link), one that unpacks to more, and a broken archive.
    """
    try:
        names, content = _unzip(archive, limit + 1)
    except BROKEN as error:
        raise InputError(f"artifact: {type(error).__name__}: not a readable ZIP archive") from None
    if names != [name]:
        raise InputError(f"artifact: holds {len(names)} files or another than {name}")
    if len(content) > limit:
        raise InputError(f"artifact: {name} is larger than {limit:,} bytes")
    return content


def _unzip(archive: bytes, limit: int) -> tuple[list[str], bytes]:
    """The names of the members and, of an only one, its first `limit` bytes: a header may lie about the size."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        members = opened.infolist()
        if len(members) != 1:
            return [member.filename for member in members], b""
        with opened.open(members[0]) as file:
            return [members[0].filename], file.read(limit)

"""Which format a file's first bytes are of, whatever its name says: those that are read, and those that are only named.

Magic bytes: RFC 2083 (PNG), GIF89a, ITU T.81 (JPEG), TIFF 6.0 and BigTIFF, Google's WebP container, ISO/IEC 14496-12
(`ftyp` and its brands). Others: the first bytes of their specifications.
"""

READ = {  # by Pillow's names
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "BMP": (b"BM",),
    "TIFF": (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"),
}
KNOWN = {
    "PDF": (b"%PDF",),
    "EPS": (b"%!PS", b"\xc5\xd0\xd3\xc6"),
    "PSD": (b"8BPS",),
    "ICO": (b"\x00\x00\x01\x00", b"\x00\x00\x02\x00"),
    "JPEG XL": (b"\xff\x0a", b"\x00\x00\x00\x0cJXL "),
    "JPEG 2000": (b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51"),
    "PPM": (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6"),
    "QOI": (b"qoif",),
    "DDS": (b"DDS ",),
    "OpenEXR": (b"\x76\x2f\x31\x01",),
    "FITS": (b"SIMPLE  =",),
    "NumPy": (b"\x93NUMPY",),
    "ZIP": (b"PK\x03\x04", b"PK\x05\x06"),
    "gzip": (b"\x1f\x8b",),
    "Git LFS pointer": (b"version https://git-lfs",),
}
BRANDS = {
    "AVIF": (b"avif", b"avis"),
    "HEIC": (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"),
}
MARKUP = {"SVG": (b"<svg",), "HTML": (b"<!doctype html", b"<html", b"<script", b"<body"), "XML": (b"<?xml",)}
LOOKED_AT = 1024  # bytes in which markup names itself


def sniff(data: bytes) -> str | None:
    """The format of the file in `data` by Pillow's name, if it is one that is read."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return next((name for name, starts in READ.items() if data.startswith(starts)), None)


def other(data: bytes) -> str | None:
    """The name of a format that is not read, if its first bytes tell."""
    if data[4:8] == b"ftyp":
        return next((name for name, brands in BRANDS.items() if data[8:12] in brands), "video (ISO media)")
    found = next((name for name, starts in KNOWN.items() if data.startswith(starts)), None)
    start = data[:LOOKED_AT].lower()
    if found is None and start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        found = next((name for name, marks in MARKUP.items() if any(mark in start for mark in marks)), None)
    return found

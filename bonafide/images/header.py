"""What an image's header says, and whether it may be decoded at all.

Nothing is decoded here, so that a file of a hundred bytes that claims ten billion pixels costs a hundred bytes.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from threading import Lock
from typing import NamedTuple

from PIL import ExifTags, Image, ImageFile

from bonafide.images.formats import other, sniff

OTHER_BYTES = 16 * 2**20  # of a file beside its pixels: EXIF, profiles, previews; Pillow needs a second for as many
BYTES_PER_PIXEL = 16  # four channels of 32 bits
PIXELS_PER_BYTE = 512  # of JPEG: a block of 8 x 8 pixels has one bit or more (Huffman codes, ITU T.81, annex F)
LARGEST = 2 * 89_478_485  # pixels; Pillow reads no larger image (Image.MAX_IMAGE_PIXELS), nor does anything here


class BadImageError(ValueError):
    """Bytes that are no image as it has to be; the message is the reason in a few words, with none of the bytes."""

    def __init__(self, reason: str, fault: str = "damaged", header: "Header | None" = None) -> None:
        """`fault` is the kind of reason, one of FAULTS; `header` what was read before."""
        super().__init__(reason)
        self.fault, self.header = fault, header


FAULTS = (
    "unknown_format",
    "unknown_mode",
    "damaged",
    "too_many_bytes",
    "too_many_pixels",
    "too_small",
    "too_large",
    "several_frames",
)


class Limits(NamedTuple):
    """What an image may measure by its header; the defaults are the largest that is ever read."""

    min_side: int = 1
    """Pixels of the shorter side."""
    max_side: int = 65_535
    """Pixels of the longer side."""
    max_pixels: int = LARGEST


ANY = Limits()


@dataclass(frozen=True)
class Header:
    """What a file says of its image before that is decoded."""

    format: str
    """JPEG, PNG, GIF, BMP, TIFF or WEBP."""
    width: int
    """Pixels as they are stored, before they are turned by `orientation`; but TIFF's are turned."""
    height: int
    mode: str
    """Pillow's name of the kind of its pixels: L, RGB, CMYK, I;16 and so on."""
    several_frames: bool
    """Whether it is an animation or has several pages; how many is not counted."""
    orientation: int
    """EXIF's: 1 as stored, 2 to 8 mirrored or turned."""


def read_header(data: bytes, limits: Limits = ANY) -> Header:
    """Read the header of an image file; raise BadImageError where it is none, or none within the limits."""
    with opened(data, limits) as (_, header):
        return header


@contextmanager
def opened(data: bytes, limits: Limits) -> Iterator[tuple[ImageFile.ImageFile, Header]]:
    """An image whose header was read and is within the limits, not decoded yet.

    Whatever Pillow raises in the `with` block, be it while decoding, becomes a BadImageError.
    """
    name = _known_format(data)
    most = OTHER_BYTES + BYTES_PER_PIXEL * limits.max_pixels
    if len(data) > most:
        raise BadImageError(f"{len(data):,} bytes, of at most {most:,} for the pixels it may have", "too_many_bytes")
    with _bad_images(name), _quiet, Image.open(BytesIO(data), formats=[name]) as image:
        header = _describe(image, name)
        _check(header, limits)
        if name == "JPEG" and len(data) * PIXELS_PER_BYTE < header.width * header.height:  # decoded it would be grey
            raise BadImageError("JPEG that does not decode: its bytes are too few for its pixels")
        yield image, header


def _known_format(data: bytes) -> str:
    """The format's name; raise BadImageError that names another where the bytes tell which."""
    name = sniff(data)
    if name is not None:
        return name
    if not data:
        raise BadImageError("no bytes at all", "damaged")
    found = other(data)
    if found is None:
        raise BadImageError("no image format that is read (JPEG, PNG, WebP, BMP, GIF, TIFF)", "unknown_format")
    raise BadImageError(f"{found}: save it as JPEG or PNG", "unknown_format")


@contextmanager
def _bad_images(name: str) -> Iterator[None]:
    """Whatever Pillow raises on hostile bytes, as a BadImageError; its words may repeat them, and are left out."""
    try:
        yield
    except BadImageError:
        raise
    except Image.DecompressionBombError as error:
        raise BadImageError(f"more than {LARGEST:,} pixels by its header", "too_many_pixels") from error
    except MemoryError as error:
        raise BadImageError(f"{name} that needs more memory than there is", "too_many_pixels") from error
    except Exception as error:  # Pillow raises nearly anything: OSError, SyntaxError, struct.error, IndexError, ...
        raise BadImageError(f"{name} that does not decode: {_say(error)}") from error


def _say(error: Exception) -> str:
    """What went wrong in our words."""
    words = str(error).lower()
    if "truncated" in words or "not processed" in words or isinstance(error, EOFError):
        return "the file ends too early"
    if "decompressed data too large" in words or ("text" in words and "memory" in words):
        return "a text or a colour profile in it unpacks to far too much"
    if "cannot identify" in words:
        return "its header is broken"
    return "its data are broken"


class _Quiet:
    """Silence for Pillow's warnings, of corrupt EXIF and the like, in all threads while any thread is in the block.

    `warnings.catch_warnings` alone restores the wrong filters where the blocks of two threads overlap.
    """

    def __init__(self) -> None:
        self.lock, self.inside = Lock(), 0
        self.caught = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self.lock:
            if not self.inside:
                self.caught = warnings.catch_warnings()
                self.caught.__enter__()
                warnings.simplefilter("ignore")
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self.caught.__exit__(None, None, None)


_quiet = _Quiet()


def _describe(image: ImageFile.ImageFile, name: str) -> Header:
    several = bool(getattr(image, "is_animated", False)) and image.format != "MPO"  # a JPEG with views beside the main
    return Header(name, *image.size, image.mode, several, orientation_of(image))


def orientation_of(image: ImageFile.ImageFile) -> int:
    """EXIF's orientation, 1 to 8, as far as the file was read; 1 where EXIF is missing or corrupt."""
    try:
        found = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)  # PNG's own getexif would decode
    except Exception:  # noqa: BLE001, as many kinds as there are ways to break it; the pixels do not suffer
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _check(header: Header, limits: Limits) -> None:
    """Raise BadImageError for what is larger or smaller than it may be, or has several frames."""
    short, long = sorted((header.width, header.height))
    size, most = f"{header.width:,} x {header.height:,} pixels by its header", min(limits.max_pixels, LARGEST)
    several = f"{header.format} of several frames or pages: save the one that is meant"
    for fault, wrong, reason in (
        ("too_many_pixels", short * long > most, f"{size}, of at most {most:,} in all"),
        ("too_large", long > limits.max_side, f"{size}, of at most {limits.max_side:,} a side"),
        ("too_small", short < limits.min_side, f"{size}, of at least {limits.min_side:,} a side"),
        ("several_frames", header.several_frames, several),
    ):
        if wrong:
            raise BadImageError(reason, fault, header)

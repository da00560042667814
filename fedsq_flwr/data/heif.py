"""HEIC photographs: Pillow reads them with the optional package pillow-heif only."""

#: What the first bytes of such a file name as its kind, after ``ftyp``.
_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"heif", b"mif1", b"msf1")

#: Pillow's name of the format, once `register` was called.
FORMAT = "HEIF"


def is_heif(beginning: bytes) -> bool:
    """Tell from its first 12 bytes whether a file is a HEIC photograph."""
    return beginning[4:8] == b"ftyp" and beginning[8:12] in _BRANDS


def register() -> None:
    """Let Pillow read HEIC photographs.

    Raises
    ------
    ValueError
        If pillow-heif is not installed; the message says how to install it.
    """
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise ValueError("it is a HEIC photograph, which needs: pip install 'fedsq-flwr[heic]'") from error
    register_heif_opener()

"""Text files in UTF-8, UTF-16 or a national encoding, plain or compressed, as UTF-8."""

import re
from pathlib import Path
from typing import Final

import numpy as np

from kilter.data.packed import unpacked

_UTF_8_MARK: Final = b"\xef\xbb\xbf"
_UTF_16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
_SAMPLE: Final = 1 << 18
_SIDE_BY_SIDE: Final = 0.5
# The first level of GB 2312: two accented Latin letters side by side are rarely one of these characters.
_FREQUENT_CHINESE: Final = "".join(
    bytes([first, second]).decode("gb18030") for first in range(0xB0, 0xD8) for second in range(0xA1, 0xFA)
)
# Encodings, letters that are frequent in their texts, and the least share of these among what is not ASCII.
_ALPHABETS: Final = (
    ("cp1251", re.compile("[а-яё]"), 0.7),
    ("shift_jis", re.compile("[\u3041-\u30fc]"), 0.2),
    ("euc_jp", re.compile("[\u3041-\u30fc]"), 0.2),
    ("euc_kr", re.compile("[\uac00-\ud7a3]"), 0.9),
    ("gb18030", re.compile(f"[{_FREQUENT_CHINESE}]"), 0.8),
)
_LOOKED_AT: Final = 200  # bytes, for the zeros of UTF-16 without a mark


def utf8(path: Path) -> tuple[Path | bytes, tuple[str, ...]]:
    """The file, or its text as UTF-8 if its first bytes say that it is encoded otherwise; and a note."""
    with path.open("rb") as file:
        first = file.read(_LOOKED_AT)
    content = unpacked(path, first)
    encoding = _by_first_bytes(first if content is None else content[:_LOOKED_AT])
    if encoding is None:
        return (path if content is None else content), ()
    whole = path.read_bytes() if content is None else content
    if encoding == "utf-8-sig":
        return whole.removeprefix(_UTF_8_MARK), ()
    return whole.decode(encoding).encode(), (f"the file is read as {encoding.upper()}",)


def national(content: Path | bytes) -> tuple[bytes, tuple[str, ...]]:
    """Text that is not UTF-8, read as its letters tell, and a note; ValueError if it is UTF-8."""
    whole = content if isinstance(content, bytes) else content.read_bytes()
    try:
        whole.decode()
    except UnicodeDecodeError:
        pass
    else:
        raise ValueError("the text is UTF-8")
    found = _by_letters(whole)
    if found is not None:
        return whole.decode(found).encode(), (
            f"the file is not UTF-8 and is read as {found}; if letters are wrong, save it as UTF-8",
        )
    try:
        text, name = whole.decode("cp1252"), "Windows-1252"
    except UnicodeDecodeError:
        text, name = whole.decode("latin-1"), "Latin-1"
    note = f"the file is not UTF-8 and is read as {name} (Western European)"
    return text.encode(), (f"{note}; if letters are wrong, save it as UTF-8",)


def _by_letters(whole: bytes) -> str | None:
    """The encoding of a text in another alphabet than the Latin one; None for other text.

    Its letters stand side by side, while accented Latin letters are single ones.
    """
    high = np.frombuffer(whole[:_SAMPLE], np.uint8) >= 128
    if not high.any() or np.mean(high[1:][high[:-1]]) < _SIDE_BY_SIDE:
        return None
    for encoding, letters, least in _ALPHABETS:
        try:
            others = [one for one in whole.decode(encoding)[:_SAMPLE] if one > "\x7f"]
        except UnicodeDecodeError:
            continue
        if sum(letters.match(one) is not None for one in others) >= least * len(others):
            return encoding
    return None


def _by_first_bytes(first: bytes) -> str | None:
    if first.startswith(_UTF_8_MARK):
        return "utf-8-sig"
    if first.startswith(_UTF_16_MARKS):
        return "utf-16"
    # Latin letters in UTF-16 have a zero byte each.
    for start, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        zeros, others = first[start::2], first[1 - start :: 2]
        if len(zeros) > 1 and 2 * zeros.count(0) > len(zeros) and not others.count(0):
            return encoding
    return None

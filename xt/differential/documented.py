"""What a body should become, by the documentation of the server: written a second time, for clarity.

A body becomes a list of parts (name, file name or None, content), all of them bytes, or None if it
is to be refused."""

import re

PADDING = re.compile(rb"[ \t]{0,256}\r\n")
VALUE = re.compile(rb'"((?:[^"\\]|\\["\\]|\\(?!["\\]))*)"|([^; \t\n\r\x0c]*)', re.DOTALL)


def text(data: bytes) -> bytes:
    """As it is if it is UTF-8, else read as cp1251."""
    if is_utf_8(data):
        return data
    return data.decode("cp1251", errors="replace").encode()


def is_utf_8(data: bytes) -> bool:
    """As perl has it, which takes surrogates and numbers beyond Unicode too."""
    return not data or PERL_UTF_8.fullmatch(data) is not None


PERL_UTF_8 = re.compile(
    rb"(?:[\x00-\x7f]|[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]"
    rb"|[\xe1-\xef][\x80-\xbf]{2}|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf7][\x80-\xbf]{3})*"
)


def cleaned(name: bytes) -> bytes:
    """A name of a file."""
    clean = re.sub(rb'[\t\n\x0b\r*/:<>?\\|]', b"_", text(name)).replace(b"\0", b"")
    return b"_" if clean in (b"", b".", b"..") else clean


def multipart(body: bytes, boundary: bytes):
    """The parts of a body of multipart/form-data."""
    parts = []
    _, rest, closed = until_delimiter(b"\r\n" + body, boundary)
    while rest is not None:
        head, found, content = rest.partition(b"\r\n\r\n")
        if not found:
            return None
        value, rest, closed = until_delimiter(content, boundary)
        if rest is None and not closed:
            return None
        names = names_in(head)
        if names is None:
            return None
        name, file_name = names
        if file_name:
            parts.append((name, cleaned(file_name), value))
        else:
            parts.append((name, None, text(value)))
    return parts


def until_delimiter(data: bytes, boundary: bytes):
    """What is before the next delimiter, what is behind it if a part is, and whether it closes."""
    delimiter = b"\r\n--" + boundary
    at = data.find(delimiter)
    while at >= 0:
        behind = data[at + len(delimiter) :]
        if behind.startswith(b"--"):
            return data[:at], None, True
        if PADDING.match(behind):
            return data[:at], behind, False
        at = data.find(delimiter, at + 1)
    return data, None, False


def names_in(head: bytes):
    """Name and file name in the head of a part; None if a quote is open."""
    found = {b"filename": b"", b" name": b""}
    at = head.find(b"=")
    while at >= 0:
        key = next((key for key in found if head[:at].endswith(key)), None)
        at += 1
        if key:
            value = VALUE.match(head, at)
            if head[at : at + 1] == b'"' and value.group(1) is None:
                return None
            plain = value.group(2) if value.group(1) is None else unquoted(value.group(1))
            found[key] = found[key] or plain
            at = value.end()
        at = head.find(b"=", at)
    return found[b" name"], found[b"filename"]


def unquoted(value: bytes) -> bytes:
    return re.sub(rb'\\(["\\])', lambda pair: b'"' if pair[1] == b'"' else b"\\\\", value)


def urlencoded(body: bytes):
    """The fields of a body of application/x-www-form-urlencoded."""
    if body in (b"", b"0"):
        return []
    fields = re.split(rb"[&;]", body, maxsplit=1023)
    return [field(data.replace(b"+", b" ")) for data in fields]


def field(data: bytes):
    name, equals, value = data.partition(b"=")
    name, value = decoded(name), decoded(value)
    if not is_utf_8(name) or not is_utf_8(value):
        name, value = (half.decode("cp1251", errors="replace").encode() for half in (name, value))
    return name, None, value if equals else None


def decoded(data: bytes) -> bytes:
    escape = re.compile(rb"%([0-9A-Fa-f]{2})")
    return escape.sub(lambda digits: bytes([int(digits[1], 16)]), data)

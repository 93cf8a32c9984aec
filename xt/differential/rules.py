"""Where the server may differ from others, and why: each rule is about one peculiarity of a body, and
tells which of the others take it in another way, and how far."""

import re
from dataclasses import dataclass

from documented import PADDING, is_utf_8, text, until_delimiter

MULTIPART, WERKZEUG = "multipart", "werkzeug"
BOTH = (MULTIPART, WERKZEUG)


@dataclass(frozen=True)
class Rule:
    peculiarity: str
    peers: tuple
    #: "refused": they refuse what the server takes; "names": the contents are the same, or they
    #: refuse; "parts": they see other parts, or refuse, or take what the server refuses.
    extent: str
    reason: str

    def explains(self, peer: str, ours, theirs) -> bool:
        if peer not in self.peers:
            return False
        if theirs is None or self.extent == "parts":
            return theirs is not None or ours is not None
        if self.extent == "names" and ours is not None:
            return contents(ours) == contents(theirs)
        return self.extent == "names"


def contents(parts) -> list:
    return [text(content) for _, _, content in parts]


RULES = [
    Rule("no boundary at all", BOTH, "refused", "the server finds no parts, which is no error"),
    Rule("padding behind a boundary", (MULTIPART,), "refused", "RFC 2046 allows it"),
    Rule("a boundary that goes on", (MULTIPART,), "refused", "it is data: RFC 2046 wants a line end"),
    Rule("a boundary that goes on", (WERKZEUG,), "parts", "white space of other kinds is padding"),
    Rule("a bare CR or LF beside a boundary", BOTH, "parts", "the server has lines end in CRLF"),
    Rule("a boundary within a line", BOTH, "parts", "a delimiter begins with a line end"),
    Rule("a boundary right behind a head", (WERKZEUG,), "parts", "the empty line is not its line end"),
    Rule("a part without a head", (WERKZEUG,), "parts", "the empty line in front is the end of it"),
    Rule("a bare CR or LF in a head", BOTH, "parts", "the server has a head end in CRLF CRLF"),
    Rule("a head that is not plain", BOTH, "names", "the server looks for names alone, anywhere"),
]

PLAIN = rb'[^"\\%\x00-\x1f\x7f]*'
PLAIN_DISPOSITION = re.compile(
    rb'Content-Disposition: form-data; name="' + PLAIN + rb'"(; filename="' + PLAIN + rb'")?'
)
PLAIN_TYPE = re.compile(rb"Content-Type: [a-z/-]*")


def peculiarities(body: bytes, boundary: bytes) -> set:
    found = set()
    delimiters = list(re.finditer(re.escape(b"--" + boundary), body))
    for delimiter in delimiters:
        found |= peculiarities_beside(body[: delimiter.start()], body[delimiter.end() :])
    _, rest, closed = until_delimiter(b"\r\n" + body, boundary)
    if rest is None and not closed:
        found.add("no boundary at all")
    while rest is not None:
        if re.match(rb"[ \t]*\r\n\r\n", rest):
            found.add("a part without a head")
        head, _, content = rest.partition(b"\r\n\r\n")
        found |= peculiarities_of_head(head.partition(b"\r\n")[2])
        if content.startswith(b"--" + boundary):
            found.add("a boundary right behind a head")
        _, rest, _ = until_delimiter(content, boundary)
    return found


def peculiarities_beside(before: bytes, behind: bytes) -> set:
    found = set()
    if before and not before.endswith(b"\r\n"):
        is_line = before.endswith((b"\r", b"\n"))
        found.add("a bare CR or LF beside a boundary" if is_line else "a boundary within a line")
    if behind.startswith((b"--", b"\r\n")):
        return found
    if PADDING.match(behind):
        return found | {"padding behind a boundary"}
    if re.match(rb"[ \t]*[\r\n]", behind):
        found.add("a bare CR or LF beside a boundary")
    return found | {"a boundary that goes on"}


def peculiarities_of_head(head: bytes) -> set:
    lines = head.split(b"\r\n")
    if any(byte in line for line in lines for byte in b"\r\n"):
        return {"a bare CR or LF in a head", "a head that is not plain"}
    dispositions = [line for line in lines if PLAIN_DISPOSITION.fullmatch(line)]
    types = [line for line in lines if PLAIN_TYPE.fullmatch(line)]
    is_plain = len(dispositions) == 1 and len(dispositions) + len(types) == len(lines)
    return set() if is_plain and is_utf_8(head) else {"a head that is not plain"}


#: Of forms: what differs, whether it does here, and why.
FORM_RULES = [
    ("a semicolon", lambda body: b";" in body, "it separates fields, as & does"),
    ("not UTF-8", lambda body: re.search(rb"%[89a-f]|[\x80-\xff]", body, re.I), "cp1251 is read"),
    ("an empty field", lambda body: b"" in body.split(b"&"), "the server keeps it"),
    ("a field without a name", lambda body: re.search(rb"(^|&)=", body), "the server keeps it"),
    ("the body 0", lambda body: body == b"0", "it has no fields"),
]

"""Bodies to send: what clients write, and the same spoilt."""

import random

BOUNDARY_CHARACTERS = "abcXYZ012'()+_,-./:=?"
CHARACTERS = "abz019 .;=-_'()йñ漢"
TOKENS = [
    b"\r\n", b"\r", b"\n", b"--", b"-", b'"', b"\\", b";", b"=", b" ", b"\t", b"\0", b"\xff",
    b"\r\n\r\n", b"name=", b' filename="x"', b' name="y"', b"Content-Disposition: form-data; ",
    b"Content-Type: text/plain", b"filename*=UTF-8''z",
]


class Multipart:
    """A body of multipart/form-data."""

    def __init__(self, choose: random.Random):
        self.choose = choose
        length = choose.choice([1, 8, 30, 70])
        self.boundary = "".join(choose.choices(BOUNDARY_CHARACTERS, k=length)) + "x"
        self.delimiter = b"--" + self.boundary.encode()
        self.body = self.well_formed()

    content_type = property(lambda self: f'multipart/form-data; boundary="{self.boundary}"')

    def well_formed(self) -> bytes:
        body = b"".join(self.part() for _ in range(self.choose.choice([0, *[1, 1, 2, 3, 6] * 3])))
        return body + self.delimiter + b"--\r\n"

    def part(self) -> bytes:
        choose = self.choose
        disposition = f'form-data; name="{self.text(8)}"'
        lines = []
        if choose.random() < 0.5:
            disposition += f'; filename="{self.text(12)}"'
            lines = ["Content-Type: application/octet-stream"]
        lines.insert(choose.randint(0, len(lines)), f"Content-Disposition: {disposition}")
        head = "".join(f"{line}\r\n" for line in lines).encode()
        return self.delimiter + b"\r\n" + head + b"\r\n" + self.content() + b"\r\n"

    def text(self, most: int) -> str:
        return "".join(self.choose.choices(CHARACTERS, k=self.choose.randint(0, most)))

    def content(self) -> bytes:
        """Of all sorts, and often like what ends it."""
        choose = self.choose
        kind = choose.random()
        if kind < 0.3:
            return self.text(40).encode()
        if kind < 0.5:
            return choose.randbytes(choose.choice([1, 100, 5000, 70_000]))
        pieces = [b"\r\n", b"\n", b"\r", b"--", self.delimiter[:-1], b"\r\n" + self.delimiter[:-1]]
        content = b"".join(choose.choices([*pieces, b"x", b"\0\xff"], k=choose.randint(0, 30)))
        return content.replace(self.delimiter, b"")

    def spoil(self) -> None:
        for _ in range(self.choose.choice([1, 1, 2, 4])):
            self.body = spoilt(self.choose, self.body, [*TOKENS, self.delimiter])


class Urlencoded:
    """A body of application/x-www-form-urlencoded."""

    content_type = "application/x-www-form-urlencoded"

    def __init__(self, choose: random.Random):
        self.choose = choose
        fields = [self.text() + b"=" + self.text() for _ in range(choose.choice([1, 2, 5]))]
        self.body = b"&".join(fields)

    def text(self) -> bytes:
        pieces = [b"a", b"Z9", b"+", b"%20", b"%26", b"%3D", b"%D0%B6", b"%3b", b"-_.", "ж".encode()]
        return b"".join(self.choose.choices(pieces, k=self.choose.randint(1, 6)))

    def spoil(self) -> None:
        tokens = [b"&", b";", b"=", b"%", b"%4", b"%zz", b"+", b"%FF", b"\xff", b"%00", b"\0"]
        for _ in range(self.choose.choice([1, 2, 4])):
            self.body = spoilt(self.choose, self.body, tokens)


def spoilt(choose: random.Random, body: bytes, tokens: list) -> bytes:
    """The body with a token put in, a byte changed, or a piece cut out, doubled or cut off."""
    start, end = sorted(choose.randint(0, len(body)) for _ in range(2))
    near = min(end, start + choose.randint(0, 4))
    way = choose.randint(0, 6)
    if way == 0:
        return body[:start] + choose.choice(tokens) + body[near:]
    if way == 1:
        return body[:start] + choose.choice(tokens) + body[start:]
    if way == 2:
        return body[:start] + choose.randbytes(1) + body[start + 1 :]
    if way == 3:
        return body[:start] + body[near:]
    if way == 4:
        return body[:end] + body[start:end][:500] + body[end:]
    if way == 5:
        return spoilt_at(choose, body, choose.choice(tokens), tokens)
    return body[:end] if choose.random() < 0.3 else body[:start] + body[near:]


def spoilt_at(choose: random.Random, body: bytes, landmark: bytes, tokens: list) -> bytes:
    """Right beside something that means something."""
    places = [at for at in range(len(body)) if body.startswith(landmark, at)][:200]
    if not places:
        return body
    at = choose.choice(places) + choose.choice([0, len(landmark)])
    return body[:at] + choose.choice(tokens) + body[at + choose.randint(0, 1) :]

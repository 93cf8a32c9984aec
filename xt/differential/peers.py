"""The same bodies, parsed by others. Parts are as in documented.py; None: refused."""

import io

import multipart
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData


def pieces(body: bytes, choose) -> list:
    """The body as it may arrive."""
    size = choose.choice([len(body) or 1, 1000, 17])
    return [body[at : at + size] for at in range(0, len(body), size)]


def encoded(text) -> bytes:
    return (text or "").encode("utf-8", errors="surrogatepass")


def by_multipart(body: bytes, boundary: str, choose):
    parts = []
    options = {"max_header_size": 1 << 20, "max_header_count": 10_000}
    try:
        with multipart.PushMultipartParser(boundary, **options) as parser:
            for piece in pieces(body, choose):
                if parser.closed:
                    break
                for event in parser.parse(piece):
                    if isinstance(event, multipart.MultipartSegment):
                        file_name = None if event.filename is None else encoded(event.filename)
                        parts.append([encoded(event.name), file_name, b""])
                    elif event:
                        parts[-1][2] += event
    except multipart.MultipartError:
        return None
    return [tuple(part) for part in parts]


def by_werkzeug(body: bytes, boundary: str, _choose):
    """In one piece: where a line end is cut in two, it may leave a CR in what is before it."""
    parts = []
    decoder = MultipartDecoder(boundary.encode())
    try:
        for piece in (body, None):
            decoder.receive_data(piece)
            while not isinstance(event := decoder.next_event(), (NeedData, Epilogue)):
                if isinstance(event, Field):
                    parts.append([encoded(event.name), None, b""])
                elif isinstance(event, File):
                    parts.append([encoded(event.name), encoded(event.filename), b""])
                elif isinstance(event, Data):
                    parts[-1][2] += event.data
    except (ValueError, RequestEntityTooLarge):
        return None
    return [tuple(part) for part in parts]


def form_by_multipart(body: bytes):
    environment = {
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": "application/x-www-form-urlencoded",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
    }
    try:
        fields, _ = multipart.parse_form_data(environment, strict=True)
    except (ValueError, multipart.MultipartError):
        return None
    return [(encoded(name), None, encoded(value)) for name, value in fields.iterallitems()]


def form_by_werkzeug(body: bytes):
    parser = FormDataParser(max_form_memory_size=None, silent=False)
    mimetype = "application/x-www-form-urlencoded"
    try:
        _, fields, _ = parser.parse(io.BytesIO(body), mimetype, len(body), {})
    except (ValueError, RequestEntityTooLarge):
        return None
    return [(encoded(name), None, encoded(value)) for name, value in fields.items(multi=True)]

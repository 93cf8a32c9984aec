//! What a server should make of what a client has sent: held against what the application was told.

use engine::ListenerOptions;
use engine::http::body::Framing;

use super::application::{Known, Received, Stage};
use crate::chunked;
use crate::multipart::{Part, read_parts_naively};
use crate::request_head::{NaiveHead, read_naively};

/// The requests the application knows of are those that were sent, in their order and from the
/// first one on; each has the parts that were sent, up to where it has failed or was left. Returns
/// what is behind the last of them, if that was sent as a whole.
pub(super) fn check<'a>(
    sent: &'a [u8],
    options: &ListenerOptions,
    requests: &[&Known],
) -> Option<&'a [u8]> {
    let mut rest = sent;
    let mut is_whole = true;
    for known in requests {
        let head = read_naively(rest, &options.limits).expect("a head that was not sent");
        assert_eq!(known.method, head.method);
        assert_eq!(known.target, head.target);
        assert_eq!(known.version, head.version);
        let behind = &rest[head.consumed..];
        let framing = head
            .framing(&options.limits)
            .expect("a framing that was not sent");
        let body = body(framing, behind, options);
        check_body(known, &head, &body.0, options);
        let Some(end) = body.1 else {
            assert!(known.stage != Stage::Complete || !is_read(&head, options));
            rest = &[];
            is_whole = false;
            continue;
        };
        rest = &behind[end..];
    }
    is_whole.then_some(rest)
}

/// Behind the last request there is no other one that the application should have been told of.
pub(super) fn check_waiting(rest: &[u8], options: &ListenerOptions) {
    let Some(head) = read_naively(rest, &options.limits) else {
        return;
    };
    let framing = head.framing(&options.limits);
    let framing = framing.expect("a framing that is refused");
    let (_, end) = body(framing, &rest[head.consumed..], options);
    assert!(end.is_none(), "nobody was told of {head:?}");
}

/// What was refused as malformed has no right head, or a body that may be malformed.
pub(super) fn check_refused(rest: &[u8], options: &ListenerOptions) {
    let Some(head) = read_naively(rest, &options.limits) else {
        return;
    };
    let is_upload = is_read(&head, options) && !head.values("content-type").is_empty();
    let framing = head.framing(&options.limits);
    let is_right = matches!(framing, Some(Framing::None | Framing::Length(_)));
    assert!(is_upload || !is_right, "{head:?} was refused");
}

/// What there is of a body, and where it ends, if it does.
fn body(framing: Framing, behind: &[u8], options: &ListenerOptions) -> (Vec<u8>, Option<usize>) {
    match framing {
        Framing::None => (Vec::new(), Some(0)),
        Framing::Length(length) => {
            let length = length as usize;
            let body = &behind[..length.min(behind.len())];
            (body.to_vec(), (body.len() == length).then_some(length))
        }
        Framing::Chunked => match chunked::read_naively(behind, &options.limits) {
            Some((body, taken)) => (body, Some(taken)),
            None => (chunked::begun_naively(behind), None),
        },
    }
}

fn is_read(head: &NaiveHead, options: &ListenerOptions) -> bool {
    options
        .body_methods
        .iter()
        .any(|method| method == head.method)
}

fn check_body(known: &Known, head: &NaiveHead, body: &[u8], options: &ListenerOptions) {
    if known.is_multipart {
        return check_parts(known, head, body, options);
    }
    assert_eq!(known.stage, Stage::Complete);
    let read = is_read(head, options).then_some(body);
    assert_eq!(known.body.as_deref(), read);
}

fn check_parts(known: &Known, head: &NaiveHead, body: &[u8], options: &ListenerOptions) {
    let content_type = head.values("content-type");
    let content_type = String::from_utf8_lossy(content_type.last().unwrap());
    // Of the other boundaries a fuzzer comes up with, the target of multipart bodies takes care.
    let Some((_, boundary)) = content_type.split_once("; boundary=b0") else {
        return;
    };
    if !boundary.is_empty() {
        return;
    }
    let (parts, outcome) = read_parts_naively("b0", body, &options.limits);
    assert!(
        known.parts.len() <= parts.len(),
        "more parts than were sent"
    );
    for (received, sent) in known.parts.iter().zip(&parts) {
        check_part(received, sent);
    }
    if known.stage == Stage::Complete {
        assert_eq!(outcome, Ok(()), "a body that should have failed");
        assert_eq!(known.parts.len(), parts.len());
    }
}

fn check_part(received: &Received, sent: &Part) {
    match (received, sent) {
        (Received::Field(name, value), Part::Field(sent_name, sent_value)) => {
            assert_eq!(name, sent_name);
            assert_eq!(value, sent_value);
        }
        (Received::File(name, file_name, content), Part::File(sent_name, sent_file_name, data)) => {
            assert_eq!(name, sent_name);
            assert_eq!(file_name, sent_file_name);
            assert!(
                content.as_ref().is_none_or(|content| content == data),
                "{received:?}"
            );
        }
        _ => panic!("{received:?} where {sent:?} was sent"),
    }
}

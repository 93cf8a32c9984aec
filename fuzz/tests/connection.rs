//! What the fuzzers have gathered passes the checks of whole connections. These count the
//! descriptors of the process, so it runs no other test.

#[test]
fn connection() {
    fuzz::replay("connection", engine_checks::connection::check);
}

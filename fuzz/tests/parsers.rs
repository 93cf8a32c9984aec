//! What the fuzzers have gathered passes the checks of the parsers.

macro_rules! replays {
    ($($target:ident)*) => {$(
        #[test]
        fn $target() {
            fuzz::replay(stringify!($target), engine_checks::$target::check);
        }
    )*};
}

replays! { request_head chunked multipart urlencoded cookies }

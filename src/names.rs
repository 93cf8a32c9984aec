//! What every request asks Perl for by its name, looked up once.

use perl_xs::{Class, Code, Perl, SharedKey, Variable};

/// Keys, variables, classes and subs of one interpreter.
pub struct Names {
    pub keys: Keys,
    /// Read anew each time: an application may assign them, or have them `local`.
    pub variables: Variables,
    pub request_class: Class,
    pub buffer_class: Class,
    /// Have the label that `$cgi->next` jumps to.
    pub run_callback: Option<Code>,
    pub run_callback_in_thread: Option<Code>,
    pub param_of_lists: Option<Code>,
}

pub struct Variables {
    pub backend: Variable,
    pub autoflush: Variable,
    pub max_urlencoded_fields: Variable,
    pub temporary_directory: Variable,
}

impl Names {
    pub fn new(perl: Perl) -> Names {
        Names {
            keys: Keys::new(perl),
            variables: Variables {
                backend: perl.variable("HTTP::Server::EV::backend"),
                autoflush: perl.variable("HTTP::Server::EV::Buffer::autoflush"),
                max_urlencoded_fields: perl
                    .variable("HTTP::Server::EV::CGI::MAX_URLENCODED_FIELDS"),
                temporary_directory: perl.variable("HTTP::Server::EV::tmp_path"),
            },
            request_class: perl.class("HTTP::Server::EV::CGI"),
            buffer_class: perl.class("HTTP::Server::EV::Buffer"),
            param_of_lists: perl.code("HTTP::Server::EV::CGI::_param"),
            run_callback: perl.code("HTTP::Server::EV::PortListener::_run_callback"),
            run_callback_in_thread: perl
                .code("HTTP::Server::EV::PortListener::_run_callback_in_thread"),
        }
    }
}

/// The keys of the request object, of the Buffer and of the listener; fields that
/// are not named like their key say which it is.
macro_rules! keys {
    ($($field:ident = $key:literal,)*) => {
        pub struct Keys {
            $(pub $field: SharedKey,)*
        }

        impl Keys {
            fn new(perl: Perl) -> Keys {
                Keys {
                    $($field: SharedKey::new(perl, $key),)*
                }
            }
        }
    };
}

keys! {
    all_fields = "post_a",
    all_files = "file_a",
    all_parameters = "get_a",
    body = "REQUEST_BODY",
    buffer = "buffer",
    callback = "cb",
    content_type = "Content-Type",
    cookie_lines = "cookiesbuffer",
    cookies = "cookies",
    descriptor = "fd",
    fields = "post",
    files = "file",
    flush = "flush",
    headers = "headers",
    listener = "parent_listener",
    number = "stack_pos",
    parameters = "get",
    received = "received",
    server = "Server",
    attached = "stdout_guard",
    status = "status",
    status_line = "STATUS",
    threading = "threading",
    timer = "timer",
}

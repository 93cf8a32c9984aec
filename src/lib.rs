//! The Perl packages of HTTP::Server::EV: what Perl sees of the engine.
//!
//! | file | what it is |
//! |---|---|
//! | `server/` | this thread's engine, the tables, and its part in EV's loop |
//! | `dispatch.rs` | the engine's events become calls of Perl code |
//! | `listener.rs`, `options.rs` | `listen`, and `HTTP::Server::EV::PortListener` |
//! | `request.rs`, `source.rs` | makes the request object, of what, and uses it again |
//! | `environment.rs`, `fields.rs` | its elements that are made when they are asked for |
//! | `cgi.rs`, `header.rs` | `HTTP::Server::EV::CGI` |
//! | `functions.rs` | the functions below the objects, for old programs |
//! | `buffer.rs` | `HTTP::Server::EV::Buffer` |
//! | `multipart_file.rs` | `HTTP::Server::EV::MultipartFile` |
//! | `names.rs` | what every request asks Perl for by its name |
//! | `text.rs` | decoded text as Perl strings |
//! | `value.rs` | arguments and options that may be missing |
//!
//! The rule that keeps it sound: no borrow of the engine or of a table is held
//! while Perl code can run, and Perl values are dropped outside of them too, as
//! the last reference to a value may run a destructor.

#![forbid(unsafe_code)]

mod buffer;
mod cgi;
mod dispatch;
mod environment;
mod fields;
mod functions;
mod header;
mod listener;
mod multipart_file;
mod names;
mod options;
mod request;
mod server;
mod source;
mod text;
mod value;

use perl_xs::{Arguments, Perl, Result, Returned};

perl_xs::boot!(http_server_ev_boot, boot);

fn boot(perl: Perl) -> Result<()> {
    let package = perl.package("HTTP::Server::EV");
    package.define("listen", listener::listen)?;
    package.define("url_decode", url_decode)?;
    package.define("_defer", server::defer)?;
    package.define("_listeners", listener::listeners)?;
    package.define("_set_writer", server::set_writer)?;
    package.define("_prepare_directory", server::prepare_directory)?;
    package.define("_unknown_limits", options::unknown_limits)?;
    package.define("_wrong_default", options::wrong_default)?;

    functions::define(perl.package("HTTP::Server::EV"))?;
    listener::define(perl.package("HTTP::Server::EV::PortListener"))?;
    cgi::define(perl.package("HTTP::Server::EV::CGI"))?;
    buffer::define(perl.package("HTTP::Server::EV::Buffer"))?;
    multipart_file::define(perl.package("HTTP::Server::EV::MultipartFile"))
}

/// `url_decode($text)`: the decoded bytes, and whether they are valid UTF-8.
fn url_decode(arguments: &Arguments<'_>) -> Result<Returned> {
    let perl = arguments.perl();
    let text = arguments.required(0, "text")?;
    if !text.is_defined()? || text.bytes()?.is_empty() {
        return Ok(text::pair(perl, None, true));
    }
    let (bytes, is_utf8) = engine::form::urlencoded::decode(&text.bytes()?);
    Ok(text::pair(perl, Some(&bytes), is_utf8))
}

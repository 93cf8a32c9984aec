//! The event loop, HTTP parser and multipart-to-file writer of HTTP::Server::EV; knows no Perl.

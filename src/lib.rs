//! The Perl packages of HTTP::Server::EV.

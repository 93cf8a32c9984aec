//! The options of `listen`, and their defaults in `new`, read into what the engine takes.

use std::time::Duration;

use engine::{Limits, ListenerOptions};
use perl_xs::{Arguments, Error, Hash, Result, Returned, Scalar};

use crate::value::defined;

/// In seconds: what is longer is no limit.
const LONGEST_TIMEOUT: f64 = 1e9;

/// 2^63: from here on an integer of Perl's saturates.
const LARGEST_NUMBER: f64 = 9_223_372_036_854_775_808.0;

const CALLBACKS: [&str; 7] = [
    "fork_hook",
    "on_drained",
    "on_error",
    "on_file_open",
    "on_file_received",
    "on_file_write",
    "on_multipart",
];

const LIMITS: [&[u8]; 16] = [
    b"max_body_size",
    b"max_chunk_line",
    b"max_connections",
    b"max_cookies",
    b"max_field_name",
    b"max_field_value",
    b"max_file_name",
    b"max_file_size",
    b"max_files",
    b"max_header_line",
    b"max_header_size",
    b"max_headers",
    b"max_parts",
    b"max_uri",
    b"max_urlencoded_body",
    b"max_urlencoded_fields",
];

/// Where options are looked up: the listener's own, then the server's, which are
/// the defaults for all listeners. Callbacks are the listener's alone.
pub struct Options<'a> {
    pub listener: &'a Hash,
    pub server: Option<&'a Hash>,
}

/// How the forms and cookies that come to a listener are taken apart.
pub struct FormOptions {
    /// Whether `+` is a space.
    pub plus_as_space: bool,
    /// Into how many fields, 0 for any number; `None`: as the global variable says
    /// when the request comes.
    pub max_fields: Option<u64>,
    /// Into how many cookies, 0 for any number.
    pub max_cookies: u64,
}

/// `_wrong_default(\%options)`: what `listen` would die of, or nothing.
pub fn wrong_default(arguments: &Arguments<'_>) -> Result<Returned> {
    let (none, given) = (Hash::new(arguments.perl()), given(arguments)?);
    let options = Options {
        listener: &none,
        server: Some(&given),
    };
    match options.read_forms().and_then(|_| options.read()) {
        Err(Error::Croak(wrong)) => Ok(Scalar::from_text(arguments.perl(), &wrong).into()),
        read => read.map(|_| Returned::Nothing),
    }
}

/// `_unknown_limits(\%options)`: the names of options that are meant to be limits.
pub fn unknown_limits(arguments: &Arguments<'_>) -> Result<Returned> {
    let names = unknown_limits_of(&given(arguments)?)?;
    let names = names
        .iter()
        .map(|name| Scalar::from_bytes(arguments.perl(), name));
    Ok(Returned::List(names.collect()))
}

fn given(arguments: &Arguments<'_>) -> Result<Hash> {
    let options = arguments.required(0, "options")?.as_hash();
    options.ok_or_else(|| Error::croak("not a hash reference"))
}

impl Options<'_> {
    /// Reads all that the engine wants to know.
    ///
    /// # Errors
    ///
    /// A Perl exception that names the option and what it takes.
    pub fn read(&self) -> Result<ListenerOptions> {
        self.check_callbacks()?;
        self.warn_of_unknown_limits()?;
        let default = ListenerOptions::default();
        Ok(ListenerOptions {
            limits: self.limits()?,
            timeout: self.idle_timeout(default.timeout)?,
            header_timeout: self.seconds("header_timeout", default.header_timeout)?,
            keepalive: self.seconds("keepalive", default.keepalive)?,
            write_timeout: self.seconds("write_timeout", default.write_timeout)?,
            body_methods: self.methods(default.body_methods)?,
            error_responses: self.flag("error_responses")?,
            report_file_data: defined(self.listener.get("on_file_write")?)?.is_some(),
            max_connections: self.number("max_connections", default.max_connections)?,
        })
    }

    /// Reads how forms are taken apart, which is done here and not by the engine.
    pub fn read_forms(&self) -> Result<FormOptions> {
        let default = Limits::default();
        Ok(FormOptions {
            plus_as_space: self.flag("plus_as_space")?,
            max_fields: match self.get("max_urlencoded_fields")? {
                Some(_) => Some(self.number("max_urlencoded_fields", 0)?),
                None => None,
            },
            max_cookies: self.number("max_cookies", default.cookies)?,
        })
    }

    fn limits(&self) -> Result<Limits> {
        let default = Limits::default();
        Ok(Limits {
            uri: self.positive("max_uri", default.uri)?,
            header_line: self.positive("max_header_line", default.header_line)?,
            header_size: self.positive("max_header_size", default.header_size)?,
            headers: self.positive("max_headers", default.headers)?,
            field_name: self.number("max_field_name", default.field_name)?,
            file_name: self.number("max_file_name", default.file_name)?,
            field_value: self.number("max_field_value", default.field_value)?,
            parts: self.number("max_parts", default.parts)?,
            urlencoded_body: self.number("max_urlencoded_body", default.urlencoded_body)?,
            urlencoded_fields: default.urlencoded_fields,
            cookies: default.cookies,
            file_size: self.number("max_file_size", default.file_size)?,
            files: self.number("max_files", default.files)?,
            body_size: self.number("max_body_size", default.body_size)?,
            chunk_line: self.number("max_chunk_line", default.chunk_line)?,
        })
    }

    fn check_callbacks(&self) -> Result<()> {
        for name in CALLBACKS {
            match defined(self.listener.get(name)?)? {
                Some(value) if value.as_code().is_none() => {
                    return Err(takes(name, "a code reference"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Those of the server are its constructor's to warn of.
    fn warn_of_unknown_limits(&self) -> Result<()> {
        for name in unknown_limits_of(self.listener)? {
            let warning = [b"HTTP::Server::EV: there is no limit ", name.as_slice()].concat();
            self.listener.perl().warn(&warning)?;
        }
        Ok(())
    }

    /// `timeout` has rules of its own: what is no number means none.
    fn idle_timeout(&self, default: Option<Duration>) -> Result<Option<Duration>> {
        match self.get("timeout")? {
            Some(value) if value.looks_like_number()? => Ok(duration(value.number()?)),
            Some(_) => Ok(None),
            None => Ok(default),
        }
    }

    fn seconds(&self, name: &str, default: Option<Duration>) -> Result<Option<Duration>> {
        let Some(value) = self.get(name)? else {
            return Ok(default);
        };
        let wrong = || takes(name, "a number of seconds, or 0 for none");
        if !value.looks_like_number()? {
            return Err(wrong());
        }
        match value.number()? {
            seconds if (0.0..LONGEST_TIMEOUT).contains(&seconds) => Ok(duration(seconds)),
            _ => Err(wrong()),
        }
    }

    fn number(&self, name: &str, default: u64) -> Result<u64> {
        self.whole(name, 0.0, "a whole number, 0 or more", default)
    }

    /// Of what no request can do without.
    fn positive(&self, name: &str, default: u64) -> Result<u64> {
        self.whole(name, 1.0, "a whole number above 0", default)
    }

    fn whole(&self, name: &str, least: f64, what: &str, default: u64) -> Result<u64> {
        let Some(value) = self.get(name)? else {
            return Ok(default);
        };
        let wrong = || takes(name, what);
        if !value.looks_like_number()? {
            return Err(wrong());
        }
        let number = value.number()?;
        if number.fract() != 0.0 || !(least..LARGEST_NUMBER).contains(&number) {
            return Err(wrong());
        }
        u64::try_from(value.integer()?).map_err(|_| wrong())
    }

    fn flag(&self, name: &str) -> Result<bool> {
        self.get(name)?.map_or(Ok(false), |value| value.is_true())
    }

    fn methods(&self, default: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>> {
        let Some(value) = self.get("body_methods")? else {
            return Ok(default);
        };
        let wrong = || takes("body_methods", "an array reference of method names");
        let names = value.as_array().ok_or_else(wrong)?.values()?;
        names
            .iter()
            .map(|name| match name.is_reference() || !name.is_true()? {
                true => Err(wrong()),
                false => name.bytes(),
            })
            .collect()
    }

    /// The value that counts, unless it is undefined in both places.
    fn get(&self, name: &str) -> Result<Option<Scalar>> {
        let own = defined(self.listener.get(name)?)?;
        match (own, self.server) {
            (None, Some(server)) => defined(server.get(name)?),
            (own, _) => Ok(own),
        }
    }
}

/// Whoever means to set a limit, and does not, is to be told. Other options that are none are the
/// application's.
fn unknown_limits_of(options: &Hash) -> Result<Vec<Vec<u8>>> {
    let names = options.pairs()?.into_iter().map(|(key, _)| key.bytes);
    let is_unknown =
        |name: &Vec<u8>| name.starts_with(b"max_") && !LIMITS.contains(&name.as_slice());
    Ok(names.filter(is_unknown).collect())
}

/// Nothing, for a number that is not positive, or is decades.
fn duration(seconds: f64) -> Option<Duration> {
    let is_limit = seconds > 0.0 && seconds < LONGEST_TIMEOUT;
    is_limit.then(|| Duration::from_secs_f64(seconds))
}

fn takes(name: &str, what: &str) -> Error {
    Error::croak(format!("HTTP::Server::EV: {name} takes {what}"))
}

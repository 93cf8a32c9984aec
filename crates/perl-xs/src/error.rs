//! What a call into Perl can end with.

use std::fmt;

use crate::Scalar;

/// Why Perl code did not return, or why a function of ours does not.
#[derive(Clone)]
pub enum Error {
    /// A Perl exception: `$@` as the code that died left it, an object perhaps.
    Die(Scalar),
    /// An exception of Rust's. Perl sees a string; without a newline at its end, Perl adds the file and line of the
    /// caller, as `croak` does.
    Croak(String),
    /// `exit` was called. It goes on when Rust is left, whether this value is returned or not.
    Exit,
}

/// What whatever may run Perl code returns.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An exception with a message.
    ///
    /// ```
    /// # use perl_xs::Error;
    /// assert_eq!(Error::croak("No callback!").message(), "No callback!");
    /// ```
    pub fn croak(message: impl Into<String>) -> Self {
        Self::Croak(message.into())
    }

    /// The message as text; invalid UTF-8 is replaced. An exception object is asked for its string.
    pub fn message(&self) -> String {
        match self {
            Self::Die(exception) => exception
                .text()
                .unwrap_or_else(|_| "an exception without a message".to_owned()),
            Self::Croak(message) => message.clone(),
            Self::Exit => "exit".to_owned(),
        }
    }

    /// The message as Perl's internal bytes.
    pub fn message_bytes(&self) -> Vec<u8> {
        match self {
            Self::Die(exception) => exception.bytes().unwrap_or_default(),
            Self::Croak(_) | Self::Exit => self.message().into_bytes(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message())
    }
}

impl fmt::Debug for Error {
    /// Runs no Perl code.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Die(exception) => formatter.debug_tuple("Die").field(exception).finish(),
            Self::Croak(message) => formatter.debug_tuple("Croak").field(message).finish(),
            Self::Exit => formatter.write_str("Exit"),
        }
    }
}

impl std::error::Error for Error {}

impl From<String> for Error {
    fn from(message: String) -> Self {
        Self::Croak(message)
    }
}

impl From<&str> for Error {
    fn from(message: &str) -> Self {
        Self::Croak(message.to_owned())
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Croak(error.to_string())
    }
}

//! What an application may pass: nothing, something undefined, something false.

use perl_xs::{Result, Scalar};

/// The value, if it is defined.
pub fn defined(value: Option<Scalar>) -> Result<Option<Scalar>> {
    match value {
        Some(value) if value.is_defined()? => Ok(Some(value)),
        _ => Ok(None),
    }
}

/// The value, if it is true.
pub fn truth(value: Option<Scalar>) -> Result<Option<Scalar>> {
    match value {
        Some(value) if value.is_true()? => Ok(Some(value)),
        _ => Ok(None),
    }
}

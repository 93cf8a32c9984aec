//! `HTTP::Server::EV::MultipartFile`: one received file.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::rc::Rc;

use engine::TemporaryFile;
use engine::form::charset::Text;
use perl_xs::handle::{self, Mode};
use perl_xs::{Arguments, Error, Hash, Lazy, Package, Perl, Result, Returned, Scalar};

use crate::server::{Server, reason};
use crate::text;

const PACKAGE: &str = "HTTP::Server::EV::MultipartFile";

pub fn define(package: Package) -> Result<()> {
    package.define("_open", open)?;
    package.define("_persist", persist)?;
    package.define("_persist_later", persist_later)
}

/// Makes the object. The temporary file goes when the object does, unless it
/// was saved.
pub fn create(perl: Perl, request: &Hash, name: &Text, file: TemporaryFile) -> Result<Hash> {
    let part = Hash::new(perl);
    part.insert("name", text::scalar(perl, name))?;
    part.insert("size", Scalar::from_integer(perl, 0))?;
    let path = file.path();
    part.insert(
        "path",
        Scalar::from_bytes(perl, path.as_os_str().as_bytes()),
    )?;
    let parent = request.reference();
    parent.weaken()?;
    part.insert("parent_req", parent)?;
    part.attach(Rc::new(file));
    insert_handle(&part)?;
    part.bless(PACKAGE)?;
    Ok(part)
}

/// Gives the file a handle at the start of its data, opened when it is asked for.
pub fn insert_handle(part: &Hash) -> Result<()> {
    match part.attached::<TemporaryFile>() {
        Some(file) => part.insert_lazy("fh", Rc::new(Unopened(file))),
        None => Ok(()),
    }
}

/// What `$file->{fh}` is made of.
struct Unopened(Rc<TemporaryFile>);

impl Lazy for Unopened {
    fn make(&self, perl: Perl) -> Result<Scalar> {
        let mut options = File::options();
        options.read(true).write(true);
        match self.0.with_path(|path| options.open(path)) {
            Ok(file) => handle::open(perl, file.into(), Mode::ReadWrite, None),
            Err(_) => Ok(Scalar::undef(perl)),
        }
    }
}

pub fn set_size(perl: Perl, part: &Hash, size: u64) -> Result<()> {
    part.insert("size", Scalar::from_unsigned(perl, size))
}

/// What a backend is told of file work: true, or false and the reason.
pub fn outcome(perl: Perl, result: io::Result<()>) -> Vec<Scalar> {
    match result {
        Ok(()) => vec![Scalar::from_integer(perl, 1)],
        Err(error) => vec![
            Scalar::from_integer(perl, 0),
            Scalar::from_text(perl, &reason(&error)),
        ],
    }
}

/// `$file->_open`: a handle at the start of the data, or undef.
fn open(arguments: &Arguments<'_>) -> Result<Returned> {
    let perl = arguments.perl();
    let file = this(arguments)?;
    let handle = match file.with_path(|path| File::open(path)) {
        Ok(file) => handle::open(perl, file.into(), Mode::Read, None)?,
        Err(_) => Scalar::undef(perl),
    };
    Ok(handle.into())
}

/// `$file->_persist($destination)`: the outcome.
fn persist(arguments: &Arguments<'_>) -> Result<Returned> {
    let file = this(arguments)?;
    let destination = destination(arguments)?;
    let result = file.persist(&destination);
    Ok(Returned::List(outcome(arguments.perl(), result)))
}

/// `$file->_persist_later($destination, $callback)`: on a thread, then calls
/// back with the outcome.
fn persist_later(arguments: &Arguments<'_>) -> Result<Returned> {
    let file = this(arguments)?;
    let destination = destination(arguments)?;
    let callback = arguments
        .required(2, "callback")?
        .as_code()
        .ok_or_else(|| Error::croak("save takes a code reference as its callback"))?;
    Server::start(arguments.perl())?.persist_later(&file, destination, callback);
    Ok(Returned::Nothing)
}

fn this(arguments: &Arguments<'_>) -> Result<Rc<TemporaryFile>> {
    arguments
        .get(0)
        .and_then(|part| part.as_hash())
        .and_then(|part| part.attached::<TemporaryFile>())
        .ok_or_else(|| Error::croak("not an HTTP::Server::EV::MultipartFile"))
}

fn destination(arguments: &Arguments<'_>) -> Result<PathBuf> {
    let path = arguments.required(1, "destination")?.bytes()?;
    if path.is_empty() {
        return Err(Error::croak("save takes the path of the file to be made"));
    }
    Ok(PathBuf::from(OsStr::from_bytes(&path)))
}

//! An example extension: functions, an object holding Rust data, callbacks, closures, handles.
#![forbid(unsafe_code)]

mod probe;

use std::cell::Cell;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use perl_xs::handle::{self, Mode};
use perl_xs::{Arguments, Code, Context, Error, Hash, Perl, Result, Returned, Scalar};

perl_xs::boot!(example_boot, boot);

fn boot(perl: Perl) -> Result<()> {
    let example = perl.package("Example");
    example.define("hello", hello)?;
    example.define("apply", apply)?;
    example.define("attempt", attempt)?;
    example.define("adder", adder)?;
    example.define("handle", handle)?;

    let counter = perl.package("Example::Counter");
    counter.define("new", new_counter)?;
    counter.define("increment", increment)?;
    counter.define("value", value)?;

    probe::define_all(perl)
}

/// `Example::hello($name)`: text in, text out.
fn hello(arguments: &Arguments<'_>) -> Result<Returned> {
    let name = arguments.required(0, "name")?.text()?;
    Ok(Scalar::from_text(arguments.perl(), &format!("Hello, {name}!")).into())
}

/// `Example::apply($code, @arguments)`: a callback in the caller's context. An exception in it ends this function too.
fn apply(arguments: &Arguments<'_>) -> Result<Returned> {
    let code = required_code(arguments)?;
    let rest = arguments.as_slice().get(1..).unwrap_or_default();
    match arguments.context() {
        Context::Void => code.call(rest).map(Returned::from),
        Context::Scalar => code.call_scalar(rest).map(Returned::from),
        Context::List => code.call_list(rest).map(Returned::from),
    }
}

/// `Example::attempt($code)`: a callback whose exception becomes a result, and whose `exit` stays one.
fn attempt(arguments: &Arguments<'_>) -> Result<Returned> {
    match required_code(arguments)?.call_scalar(&[]) {
        Ok(result) => Ok(result.into()),
        Err(Error::Exit) => Err(Error::Exit),
        Err(error) => Ok(Scalar::from_text(arguments.perl(), &format!("caught: {error}")).into()),
    }
}

/// `Example::adder($number)`: an anonymous sub that holds a number.
fn adder(arguments: &Arguments<'_>) -> Result<Returned> {
    let number = arguments.required(0, "number")?.integer()?;
    let add = move |arguments: &Arguments<'_>| {
        let other = arguments.required(0, "other number")?.integer()?;
        let sum = number
            .checked_add(other)
            .ok_or_else(|| Error::croak("The sum is too large"))?;
        Ok(Scalar::from_integer(arguments.perl(), sum).into())
    };
    Ok(Code::from_function(arguments.perl(), Box::new(add))?
        .reference()
        .into())
}

/// `Example::handle($bytes)`: an IO::Handle that reads these bytes.
fn handle(arguments: &Arguments<'_>) -> Result<Returned> {
    let bytes = arguments.required(0, "bytes")?.bytes()?;
    let (reader, mut writer) = UnixStream::pair()?;
    writer.write_all(&bytes)?;
    Ok(handle::open(
        arguments.perl(),
        reader.into(),
        Mode::Read,
        Some("IO::Handle"),
    )?
    .into())
}

/// What hangs on an Example::Counter.
struct Counter(Cell<i64>);

/// `Example::Counter->new($start)`
fn new_counter(arguments: &Arguments<'_>) -> Result<Returned> {
    let class = arguments.required(0, "class")?.text()?;
    let start = arguments.get(1).map_or(Ok(0), |start| start.integer())?;
    let object = Hash::new(arguments.perl());
    object.attach(Rc::new(Counter(Cell::new(start))));
    object.bless(&class)?;
    Ok(object.reference().into())
}

/// `$counter->increment`
fn increment(arguments: &Arguments<'_>) -> Result<Returned> {
    let counter = invocant(arguments)?;
    counter.0.set(counter.0.get().wrapping_add(1));
    Ok(().into())
}

/// `$counter->value`
fn value(arguments: &Arguments<'_>) -> Result<Returned> {
    let counter = invocant(arguments)?;
    Ok(Scalar::from_integer(arguments.perl(), counter.0.get()).into())
}

fn invocant(arguments: &Arguments<'_>) -> Result<Rc<Counter>> {
    arguments
        .required(0, "counter")?
        .as_hash()
        .and_then(|object| object.attached::<Counter>())
        .ok_or_else(|| {
            Error::croak(format!(
                "{}: not an Example::Counter",
                arguments.function_name()
            ))
        })
}

fn required_code(arguments: &Arguments<'_>) -> Result<Code> {
    arguments
        .required(0, "code")?
        .as_code()
        .ok_or_else(|| Error::croak("Not a CODE reference"))
}

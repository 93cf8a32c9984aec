//! For the tests of perl-xs: every operation as a function of the package Example::Probe, and code that misbehaves.

use std::cell::{Cell, RefCell};
use std::process::Command;
use std::rc::Rc;
use std::thread::{self, ThreadId};

use perl_xs::handle::{self, Mode};
use perl_xs::{
    Arguments, Array, Code, Context, Element, Error, Function, Hash, Lazy, Perl, Refill, Result,
    Returned, Scalar, Shape, SharedKey, Value,
};

pub fn define_all(perl: Perl) -> Result<()> {
    let probe = perl.package("Example::Probe");
    FUNCTIONS
        .iter()
        .try_for_each(|&(name, function)| probe.define(name, function))
}

const FUNCTIONS: &[(&str, Function)] = &[
    // Scalars.
    ("is_defined", |a| truth(a, first(a)?.is_defined()?)),
    ("is_true", |a| truth(a, first(a)?.is_true()?)),
    ("looks_like_number", |a| {
        truth(a, first(a)?.looks_like_number()?)
    }),
    ("is_utf8", |a| truth(a, first(a)?.is_utf8())),
    ("is_reference", |a| truth(a, first(a)?.is_reference())),
    ("is_object", |a| truth(a, first(a)?.is_object())),
    ("is_hash", |a| truth(a, first(a)?.as_hash().is_some())),
    ("is_array", |a| truth(a, first(a)?.as_array().is_some())),
    ("is_code", |a| truth(a, first(a)?.as_code().is_some())),
    ("class", |a| {
        Ok(first(a)?
            .blessed_package()
            .map(|name| text(a, &name))
            .into())
    }),
    ("derived_from", |a| {
        truth(a, first(a)?.derived_from(&string(a, 1)?)?)
    }),
    ("same", |a| {
        truth(a, first(a)?.same_as(&a.required(1, "other")?))
    }),
    ("bytes", |a| {
        Ok(Scalar::from_bytes(a.perl(), &first(a)?.bytes()?).into())
    }),
    ("text", |a| Ok(text(a, &first(a)?.text()?).into())),
    ("joined", joined),
    ("integer", |a| {
        Ok(Scalar::from_integer(a.perl(), first(a)?.integer()?).into())
    }),
    ("number", |a| {
        Ok(Scalar::from_number(a.perl(), first(a)?.number()?).into())
    }),
    ("copy", |a| Ok(first(a)?.copy()?.into())),
    ("same_value", |a| Ok(first(a)?.into())),
    ("assign", |a| {
        first(a)?
            .assign(&a.required(1, "value")?)
            .map(Returned::from)
    }),
    ("weaken", |a| first(a)?.weaken().map(Returned::from)),
    ("descriptor", |a| {
        let descriptor = first(a)?.descriptor();
        Ok(descriptor
            .map(|number| Scalar::from_integer(a.perl(), number.into()))
            .into())
    }),
    ("perl_utf8", |a| {
        Ok(Scalar::from_perl_utf8(a.perl(), &first(a)?.bytes()?).into())
    }),
    ("numbers", numbers),
    ("referent", |a| Ok(first(a)?.referent().into())),
    ("referent_text", |a| {
        Ok(first(a)?
            .referent()
            .map(|value| value.text())
            .transpose()?
            .map(|t| text(a, &t))
            .into())
    }),
    ("assign_referent", |a| {
        first(a)?
            .referent()
            .map_or(Ok(()), |value| value.assign(&first(a)?))
            .map(Returned::from)
    }),
    ("insert_referent", |a| {
        let value = first(a)?.referent().unwrap_or(first(a)?);
        Hash::new(a.perl()).insert("key", value.clone())?;
        Ok(().into())
    }),
    ("push_referent", |a| {
        Array::new(a.perl()).push(first(a)?.referent().unwrap_or(first(a)?))?;
        Ok(().into())
    }),
    ("die_referent", |a| {
        Err(first(a)?
            .referent()
            .map_or(Error::croak("none"), Error::Die))
    }),
    ("call_with_referent", |a| {
        let code = a
            .required(1, "code")?
            .as_code()
            .ok_or_else(|| Error::croak("Not a CODE reference"))?;
        code.call(&[first(a)?.referent().unwrap_or(first(a)?)])?;
        Ok(().into())
    }),
    ("context", context),
    ("list", |a| Ok(a.iter().cloned().collect::<Vec<_>>().into())),
    ("no_arguments", |a| truth(a, a.is_empty())),
    ("reversed", |a| {
        let mut values: Vec<_> = a.into_iter().cloned().collect();
        values.reverse();
        Ok(values.into())
    }),
    // Hashes and arrays.
    ("hash_get", |a| Ok(hash(a)?.get(bytes(a, 1)?)?.into())),
    ("hash_get_text", |a| {
        Ok(hash(a)?.get_text(&string(a, 1)?)?.into())
    }),
    ("hash_shared", hash_shared),
    ("hash_insert", |a| {
        hash(a)?
            .insert(bytes(a, 1)?, a.required(2, "value")?)
            .map(Returned::from)
    }),
    ("hash_insert_text", |a| {
        hash(a)?
            .insert_text_key(&string(a, 1)?, a.required(2, "value")?)
            .map(Returned::from)
    }),
    ("hash_remove", |a| Ok(hash(a)?.remove(bytes(a, 1)?)?.into())),
    ("hash_contains", |a| {
        truth(a, hash(a)?.contains_key(bytes(a, 1)?)?)
    }),
    ("hash_is_empty", |a| truth(a, hash(a)?.is_empty()?)),
    ("hash_attach", |a| {
        hash(a)?
            .as_scalar()
            .attach(Rc::new(string(a, 1)?))
            .map(Returned::from)
    }),
    ("hash_attached", |a| {
        let data: Option<Rc<String>> = hash(a)?.as_scalar().attached();
        Ok(data.map(|data| text(a, &data)).into())
    }),
    ("hash_len", |a| Ok(count(a, hash(a)?.len()?).into())),
    ("hash_clear", |a| hash(a)?.clear().map(Returned::from)),
    ("hash_pairs", hash_pairs),
    ("hash_of_copies", hash_of_copies),
    ("array_get", |a| Ok(array(a)?.get(index(a)?)?.into())),
    ("array_set", |a| {
        array(a)?
            .set(index(a)?, a.required(2, "value")?)
            .map(Returned::from)
    }),
    ("array_push", |a| {
        array(a)?.push(a.required(1, "value")?).map(Returned::from)
    }),
    ("array_is_empty", |a| truth(a, array(a)?.is_empty()?)),
    ("array_attach", |a| {
        array(a)?.attach(Rc::new(string(a, 1)?));
        Ok(().into())
    }),
    ("array_attached", |a| {
        let data: Option<Rc<String>> = array(a)?.attached();
        let same: Option<Rc<String>> = array(a)?.as_scalar().attached();
        assert_eq!(data, same);
        Ok(data.map(|data| text(a, &data)).into())
    }),
    ("array_len", |a| Ok(count(a, array(a)?.len()?).into())),
    ("array_clear", |a| array(a)?.clear().map(Returned::from)),
    ("array_values", |a| Ok(array(a)?.values()?.into())),
    // The interpreter.
    ("variable", |a| {
        Ok(a.perl().scalar_variable(&string(a, 0)?).into())
    }),
    ("array_variable", |a| {
        Ok(a.perl().array_variable(&string(a, 0)?).reference().into())
    }),
    ("hash_variable", |a| {
        Ok(a.perl().hash_variable(&string(a, 0)?).reference().into())
    }),
    ("code", |a| {
        Ok(a.perl()
            .code(&string(a, 0)?)
            .map(|code| code.reference())
            .into())
    }),
    ("require", |a| {
        a.perl().require(&string(a, 0)?).map(Returned::from)
    }),
    ("warn", |a| a.perl().warn(&bytes(a, 0)?).map(Returned::from)),
    ("define", |a| {
        let package = a.perl().package(&string(a, 0)?);
        package.define(&string(a, 1)?, |a| Ok(text(a, a.function_name()).into()))?;
        Ok(().into())
    }),
    ("new_of_class", |a| {
        let object = Hash::new(a.perl());
        object.bless(&string(a, 0)?)?;
        Ok(object.reference().into())
    }),
    ("bless_into", |a| {
        let class = a.perl().class(&string(a, 1)?);
        hash(a)?.bless_into(&class).map(Returned::from)
    }),
    ("examined", examined),
    ("refilled", refilled),
    ("kept_variable", kept_variable),
    ("call_method", call_method),
    ("set_isa", |a| {
        a.perl()
            .package(&string(a, 0)?)
            .set_isa(&[&string(a, 1)?])
            .map(Returned::from)
    }),
    ("at_exit", at_exit),
    ("keep_for_good", keep_for_good),
    ("use_when_gone", use_when_gone),
    // Handles.
    ("open_duplicate", open_duplicate),
    ("open_onto", open_onto),
    ("unread", |a| {
        handle::unread(&first(a)?, &bytes(a, 1)?).map(Returned::from)
    }),
    // Border cases.
    ("croak", |a| Err(Error::croak(string(a, 0)?))),
    ("croak_string", |a| Err(string(a, 0)?.into())),
    ("croak_literal", |_| Err("literal\n".into())),
    ("croak_system", |_| {
        Err(std::io::Error::from_raw_os_error(2).into())
    }),
    ("error_texts", error_texts),
    ("die", |a| Err(Error::Die(first(a)?))),
    ("panic", |a| panic!("{}", string(a, 0)?)),
    ("panicking_closure", panicking_closure),
    ("swallow", |a| {
        let _ = code(a)?.call(&[]);
        Ok(text(a, "swallowed").into())
    }),
    ("swallow_then", swallow_then),
    ("with_guard", with_guard),
    ("attach_guard", attach_guard),
    ("insert_lazy", insert_lazy),
    ("is_unmade", |a| {
        truth(a, hash(a)?.unmade::<LazyProbe>(string(a, 1)?)?.is_some())
    }),
    ("read_element", |a| {
        Ok(hash(a)?
            .get(string(a, 1)?)?
            .map(|value| value.copy())
            .transpose()?
            .into())
    }),
    ("attach_thread", |a| {
        let referent = first(a)?.referent();
        let referent = referent.ok_or_else(|| Error::croak("Not a reference"))?;
        referent.attach(Rc::new(BelongsToThread(thread::current().id())))?;
        Ok(().into())
    }),
    ("attached_thread", |a| {
        let data = first(a)?.referent().and_then(|value| value.attached());
        let name = match data.map(|data: Rc<BelongsToThread>| data.is_here()) {
            Some(true) => "here",
            Some(false) => "elsewhere",
            None => "none",
        };
        Ok(text(a, name).into())
    }),
    ("attach_panic", |a| {
        first(a)?
            .attach(Rc::new(PanicsWhenDropped))
            .map(Returned::from)
    }),
    ("hold", hold),
    ("push_held", |a| {
        let Some(held) = HELD.take() else {
            return Err(Error::croak("Nothing is held"));
        };
        let shared = held.clone();
        HELD.set(Some(held));
        array(a)?.push(shared).map(Returned::from)
    }),
    ("return_held", |_| Ok(HELD.take().into())),
    ("drop_held", |_| {
        drop(HELD.take());
        Ok(().into())
    }),
    ("self_freeing_closure", self_freeing_closure),
    // Signals.
    ("run", run),
    ("finished", |a| {
        Ok(Scalar::from_integer(a.perl(), FINISHED.get()).into())
    }),
];

/// Calls Perl code when it is dropped: it shows that, and when, Rust's destructors run.
struct Guard(Code);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.call(&[]);
    }
}

/// Makes what its sub returns.
struct LazyProbe {
    make: Code,
    _guard: Guard,
}

impl Lazy for LazyProbe {
    fn make(&self, _perl: Perl) -> Result<Scalar> {
        self.make.call_scalar(&[])
    }
}

/// Tells when it is dropped by another thread than made it.
struct BelongsToThread(ThreadId);

impl BelongsToThread {
    fn is_here(&self) -> bool {
        self.0 == thread::current().id()
    }
}

impl Drop for BelongsToThread {
    fn drop(&mut self) {
        let place = if self.is_here() { "here" } else { "elsewhere" };
        println!("dropped {place}");
    }
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

/// Does all that can be done with values when it is dropped, and prints what that came to.
struct UsesWhenDropped {
    scalar: Scalar,
    hash: Hash,
    array: Array,
    code: Code,
}

impl Drop for UsesWhenDropped {
    fn drop(&mut self) {
        let perl = self.scalar.perl();
        for scalar in [
            self.scalar.clone(),
            Scalar::undef(perl),
            Scalar::from_text(perl, "text"),
            Scalar::from_perl_utf8(perl, b"text"),
            Scalar::from_integer(perl, 1),
            Scalar::from_unsigned(perl, 1),
            Scalar::from_number(perl, 0.5),
            Scalar::from_boolean(perl, true),
            self.scalar.reference(),
            perl.scalar_variable("main::variable"),
        ] {
            report("scalar", scalar_is_refused(&scalar));
        }
        for hash in [self.hash.clone(), Hash::new(perl)] {
            report("hash", hash_is_refused(&hash));
        }
        for array in [self.array.clone(), Array::new(perl)] {
            report("array", array_is_refused(&array));
        }
        report(
            "code",
            is_refused(self.code.call(std::slice::from_ref(&self.scalar))),
        );
        report("interpreter", perl.has_ended() && perl.is_destructing());
        report("functions", perl.code("Example::hello").is_none());
        report("separator", perl.output_record_separator().is_none());
    }
}

fn report(what: &str, is_refused: bool) {
    let refused = if is_refused { "refused" } else { "NOT refused" };
    println!("{what} {refused}");
}

fn is_refused<T>(result: Result<T>) -> bool {
    matches!(result, Err(Error::Exit))
}

fn scalar_is_refused(scalar: &Scalar) -> bool {
    is_refused(scalar.bytes())
        && is_refused(scalar.text())
        && is_refused(scalar.integer())
        && is_refused(scalar.number())
        && is_refused(scalar.is_true())
        && is_refused(scalar.is_defined())
        && is_refused(scalar.looks_like_number())
        && is_refused(scalar.copy())
        && is_refused(scalar.assign(scalar))
        && is_refused(scalar.attach(Rc::new(())))
        && scalar.attached::<()>().is_none()
        && scalar.referent().is_none()
        && scalar.blessed_package().is_none()
        && !scalar.is_utf8()
        && scalar.reference_count() == 0
}

fn hash_is_refused(hash: &Hash) -> bool {
    hash.reserve(9);
    is_refused(hash.get("key"))
        && is_refused(hash.insert("key", Scalar::undef(hash.perl())))
        && is_refused(hash.remove("key"))
        && is_refused(hash.contains_key("key"))
        && is_refused(hash.len())
        && is_refused(hash.pairs())
}

fn array_is_refused(array: &Array) -> bool {
    is_refused(array.get(0))
        && is_refused(array.push(Scalar::undef(array.perl())))
        && is_refused(array.set(0, Scalar::undef(array.perl())))
        && is_refused(array.len())
        && is_refused(array.values())
}

thread_local! {
    static USERS: RefCell<Vec<UsesWhenDropped>> = const { RefCell::new(Vec::new()) };
    static HELD: Cell<Option<Scalar>> = const { Cell::new(None) };
    static FOR_GOOD: RefCell<Vec<Scalar>> = const { RefCell::new(Vec::new()) };
}

/// `joined(@values)`: the way of `print`.
fn joined(arguments: &Arguments<'_>) -> Result<Returned> {
    let mut buffer = Vec::new();
    arguments
        .iter()
        .try_for_each(|value| value.append_bytes_to(&mut buffer))?;
    Ok(Scalar::from_bytes(arguments.perl(), &buffer).into())
}

/// The ends of every range, both truths, and undef.
fn numbers(arguments: &Arguments<'_>) -> Result<Returned> {
    let perl = arguments.perl();
    Ok(vec![
        Scalar::from_integer(perl, i64::MIN),
        Scalar::from_integer(perl, i64::MAX),
        Scalar::from_unsigned(perl, u64::MAX),
        Scalar::from_number(perl, 0.5),
        Scalar::from_boolean(perl, true),
        Scalar::from_boolean(perl, false),
        Scalar::undef(perl),
    ]
    .into())
}

/// `error_texts($code)`: how the error the code ends with is shown to people and to programmers, and its bytes.
fn error_texts(arguments: &Arguments<'_>) -> Result<Returned> {
    let perl = arguments.perl();
    let Err(error) = code(arguments)?.call(&[]) else {
        return Ok(().into());
    };
    let texts = [format!("{error}"), format!("{error:?}")].map(|t| text(arguments, &t));
    let bytes = Scalar::from_bytes(perl, &error.message_bytes());
    Ok([texts.to_vec(), vec![bytes]].concat().into())
}

fn context(arguments: &Arguments<'_>) -> Result<Returned> {
    let name = match arguments.context() {
        Context::Void => "void",
        Context::Scalar => "scalar",
        Context::List => "list",
    };
    arguments
        .perl()
        .scalar_variable("main::context")
        .assign(&text(arguments, name))?;
    Ok(().into())
}

/// `hash_pairs($hash)`: keys, whether they are UTF-8, and values.
fn hash_pairs(arguments: &Arguments<'_>) -> Result<Returned> {
    let perl = arguments.perl();
    let mut flat = Vec::new();
    for (key, value) in hash(arguments)?.pairs()? {
        flat.push(Scalar::from_bytes(perl, &key.bytes));
        flat.push(Scalar::from_boolean(perl, key.is_utf8));
        flat.push(value);
    }
    Ok(flat.into())
}

/// `hash_of_copies($hash)`: a new hash with the same keys.
fn hash_of_copies(arguments: &Arguments<'_>) -> Result<Returned> {
    let copies = Hash::new(arguments.perl());
    let pairs = hash(arguments)?.pairs()?;
    copies.reserve(pairs.len());
    for (key, value) in pairs {
        copies.insert_key(&key, value.copy()?)?;
    }
    Ok(copies.reference().into())
}

fn call_method(arguments: &Arguments<'_>) -> Result<Returned> {
    let rest = arguments.as_slice().get(2..).unwrap_or_default();
    Ok(arguments
        .perl()
        .call_method(&first(arguments)?, &string(arguments, 1)?, rest)?
        .into())
}

fn at_exit(arguments: &Arguments<'_>) -> Result<Returned> {
    let code = code(arguments)?;
    arguments.perl().at_exit(move |_| drop(code.call(&[])));
    Ok(().into())
}

/// Keeps a value until the thread's destructors run, when the interpreter is gone.
fn keep_for_good(arguments: &Arguments<'_>) -> Result<Returned> {
    FOR_GOOD.with_borrow_mut(|kept| kept.extend(arguments.iter().cloned()));
    Ok(().into())
}

/// `use_when_gone($scalar, \%hash, \@array, \&code)`: uses them when the thread's destructors run.
fn use_when_gone(arguments: &Arguments<'_>) -> Result<Returned> {
    let user = UsesWhenDropped {
        scalar: first(arguments)?,
        hash: required_as(arguments, 1, Scalar::as_hash)?,
        array: required_as(arguments, 2, Scalar::as_array)?,
        code: required_as(arguments, 3, Scalar::as_code)?,
    };
    USERS.with_borrow_mut(|users| users.push(user));
    Ok(().into())
}

fn required_as<T>(
    arguments: &Arguments<'_>,
    index: usize,
    kind: fn(&Scalar) -> Option<T>,
) -> Result<T> {
    kind(&arguments.required(index, "reference")?).ok_or_else(|| Error::croak("Not that reference"))
}

fn open_duplicate(arguments: &Arguments<'_>) -> Result<Returned> {
    let descriptor = first(arguments)?
        .descriptor()
        .ok_or_else(|| Error::croak("Not a handle"))?;
    Ok(handle::open(
        arguments.perl(),
        handle::duplicate(descriptor)?,
        mode(arguments)?,
        arguments
            .get(2)
            .map(|class| class.text())
            .transpose()?
            .as_deref(),
    )?
    .into())
}

/// `open_onto($glob, $mode, $descriptor)`
fn open_onto(arguments: &Arguments<'_>) -> Result<Returned> {
    let number = arguments.required(2, "descriptor")?.integer()?;
    let number = i32::try_from(number).map_err(|_| Error::croak("Not a descriptor"))?;
    handle::open_onto(
        &first(arguments)?,
        handle::move_descriptor(number)?,
        mode(arguments)?,
    )?;
    Ok(().into())
}

fn mode(arguments: &Arguments<'_>) -> Result<Mode> {
    match string(arguments, 1)?.as_str() {
        "<" => Ok(Mode::Read),
        ">" => Ok(Mode::Write),
        _ => Ok(Mode::ReadWrite),
    }
}

fn panicking_closure(arguments: &Arguments<'_>) -> Result<Returned> {
    let nothing: Vec<usize> = Vec::new();
    let panics = Code::from_function(
        arguments.perl(),
        Box::new(move |arguments| Ok(count(arguments, nothing[arguments.len()]).into())),
    )?;
    Ok(panics.reference().into())
}

/// `swallow_then($code, $then)`: calls both, come what may, and tells whether the second was refused.
fn swallow_then(arguments: &Arguments<'_>) -> Result<Returned> {
    let _ = code(arguments)?.call(&[]);
    let then = arguments
        .required(1, "then")?
        .as_code()
        .ok_or_else(|| Error::croak("Not a CODE reference"))?;
    truth(arguments, matches!(then.call(&[]), Err(Error::Exit)))
}

/// `with_guard($when_dropped, $code)`
fn with_guard(arguments: &Arguments<'_>) -> Result<Returned> {
    let _guard = Guard(code(arguments)?);
    let code = arguments
        .required(1, "code")?
        .as_code()
        .ok_or_else(|| Error::croak("Not a CODE reference"))?;
    Ok(code.call_scalar(&[])?.into())
}

/// `attach_guard($reference, $when_dropped)`: on what the reference refers to.
fn attach_guard(arguments: &Arguments<'_>) -> Result<Returned> {
    let referent = first(arguments)?
        .referent()
        .ok_or_else(|| Error::croak("Not a reference"))?;
    let code = arguments
        .required(1, "code")?
        .as_code()
        .ok_or_else(|| Error::croak("Not a CODE reference"))?;
    referent.attach(Rc::new(Guard(code)))?;
    Ok(().into())
}

/// `insert_lazy(\%hash, $key, $make, $drop)`: what `$make` returns when the element is read; `$drop` is called when that is no
/// longer wanted.
fn insert_lazy(arguments: &Arguments<'_>) -> Result<Returned> {
    let code = |index, name| {
        arguments
            .required(index, name)?
            .as_code()
            .ok_or_else(|| Error::croak("Not a CODE reference"))
    };
    let data = LazyProbe {
        make: code(2, "make")?,
        _guard: Guard(code(3, "drop")?),
    };
    hash(arguments)?.insert_lazy(string(arguments, 1)?, Rc::new(data))?;
    Ok(().into())
}

/// `hold($value)`: takes a reference to the value itself.
fn hold(arguments: &Arguments<'_>) -> Result<Returned> {
    let value = first(arguments)?;
    HELD.set(Some(value.referent().unwrap_or(value)));
    Ok(().into())
}

/// A closure that frees the variable `$main::closure`, which holds it, and goes on to use what it holds.
fn self_freeing_closure(arguments: &Arguments<'_>) -> Result<Returned> {
    let held = "still here".to_owned();
    let closure = Code::from_function(
        arguments.perl(),
        Box::new(move |arguments| {
            let perl = arguments.perl();
            perl.scalar_variable("main::closure")
                .assign(&Scalar::undef(perl))?;
            Ok(text(arguments, &held).into())
        }),
    )?;
    Ok(closure.reference().into())
}

/// `hash_shared($hash, $key, $value)`: what each function gives for one shared key.
fn hash_shared(a: &Arguments<'_>) -> Result<Returned> {
    let (hash, key) = (hash(a)?, SharedKey::new(a.perl(), bytes(a, 1)?));
    let before = hash.contains_key(&key)?;
    hash.insert(&key, a.required(2, "value")?)?;
    let found = hash.get(&key)?;
    let removed = hash.remove(&key)?;
    let after = hash.contains_key(&key)?;
    let missing = || Scalar::undef(a.perl());
    Ok(vec![
        Scalar::from_boolean(a.perl(), before),
        found.unwrap_or_else(missing),
        removed.unwrap_or_else(missing),
        Scalar::from_boolean(a.perl(), after),
    ]
    .into())
}

/// A lazy element for `examined`.
struct Late;

impl Lazy for Late {
    fn make(&self, perl: Perl) -> Result<Scalar> {
        Ok(Hash::new(perl).reference())
    }
}

/// `examined(\&use, $class)`: calls with a new object, whose elements are `scalar`, `hash`, `array`, `weak` and `lazy`; then
/// the names of those that are as they were made, or nothing if the object cannot be used again.
fn examined(a: &Arguments<'_>) -> Result<Returned> {
    let perl = a.perl();
    let use_it = first(a)?
        .as_code()
        .ok_or_else(|| Error::croak("Not a CODE reference"))?;
    let class = perl.class(&string(a, 1)?);
    let names = ["scalar", "hash", "array", "weak", "lazy"];
    let keys = names.map(|name| SharedKey::new(perl, name));
    let kept = Hash::new(perl);
    let weak = kept.reference();
    weak.weaken()?;
    let elements = [
        Element::Scalar,
        Element::EmptyHash,
        Element::EmptyArray,
        Element::Weak(kept.as_scalar().clone()),
        Element::Lazy,
    ];
    let shape = Shape::new(&class, keys.iter().zip(elements));

    let object = Hash::new(perl);
    object.insert(&keys[0], Scalar::from_integer(perl, 1))?;
    object.insert(&keys[1], Hash::new(perl).reference())?;
    object.insert(&keys[2], Array::new(perl).reference())?;
    object.insert(&keys[3], weak)?;
    object.insert_lazy(&keys[4], Rc::new(Late))?;
    object.bless_into(&class)?;
    use_it.call(&[object.reference()])?;
    let Some((intact, [scalar])) = shape.examine_for(&object, [0]) else {
        return Ok(Returned::Nothing);
    };
    // What it gives out is the element, and ours until we have dropped it.
    let is_scalar = scalar.is_some_and(|scalar| scalar.reference_count() == 2);
    if is_scalar != intact.contains(0) {
        return Err(Error::croak("It is not the element"));
    }
    let found = names.iter().enumerate();
    let found = found.filter(|(index, _)| intact.contains(*index));
    let found: Vec<_> = found.map(|(_, name)| *name).collect();
    Ok(text(a, &found.join(" ")).into())
}

/// `refilled(\&use, $one)`: calls with a reference to a hash of `$one`, and `two` and `three`, which are one variable; then
/// with the same hash filled again, or returns false.
fn refilled(a: &Arguments<'_>) -> Result<Returned> {
    let perl = a.perl();
    let use_it = first(a)?
        .as_code()
        .ok_or_else(|| Error::croak("Not a CODE reference"))?;
    let hash = Hash::new(perl);
    let values = [
        Scalar::from_integer(perl, 1),
        Scalar::from_bytes(perl, b"2"),
    ];
    hash.insert(string(a, 1)?, values[0].clone())?;
    hash.insert("two", values[1].clone())?;
    hash.insert("three", values[1].clone())?;
    let refill = Refill::of(&hash)?;
    let places = values.each_ref().map(|value| refill.place(value));
    drop(values);
    use_it.call(&[hash.reference()])?;
    let (Some(mut refillable), [Some(one), Some(two)]) = (refill.reclaim(hash), places) else {
        return truth(a, false);
    };
    let are_set = [
        refillable.set(one, Value::Undef),
        refillable.set(one, Value::Integer(10)),
        refillable.set(two, Value::Bytes(b"\xe9")),
    ];
    if are_set != [true; 3] {
        return Err(Error::croak("It is not set"));
    }
    let (hash, _) = refillable.release();
    use_it.call(&[hash.reference()])?;
    truth(a, true)
}

/// `kept_variable($name)`: a sub that reads it, which was looked up once.
fn kept_variable(a: &Arguments<'_>) -> Result<Returned> {
    let variable = a.perl().variable(&string(a, 0)?);
    let read = move |_: &Arguments<'_>| Ok(variable.get().copy()?.into());
    Ok(Code::from_function(a.perl(), Box::new(read))?
        .reference()
        .into())
}

fn first(arguments: &Arguments<'_>) -> Result<Scalar> {
    arguments.required(0, "value")
}

fn bytes(arguments: &Arguments<'_>, index: usize) -> Result<Vec<u8>> {
    arguments.required(index, "bytes")?.bytes()
}

fn string(arguments: &Arguments<'_>, index: usize) -> Result<String> {
    arguments.required(index, "text")?.text()
}

fn hash(arguments: &Arguments<'_>) -> Result<Hash> {
    first(arguments)?
        .as_hash()
        .ok_or_else(|| Error::croak("Not a HASH reference"))
}

fn array(arguments: &Arguments<'_>) -> Result<Array> {
    first(arguments)?
        .as_array()
        .ok_or_else(|| Error::croak("Not an ARRAY reference"))
}

fn code(arguments: &Arguments<'_>) -> Result<Code> {
    first(arguments)?
        .as_code()
        .ok_or_else(|| Error::croak("Not a CODE reference"))
}

fn index(arguments: &Arguments<'_>) -> Result<usize> {
    let index = arguments.required(1, "index")?.integer()?;
    usize::try_from(index).map_err(|_| Error::croak("A negative index"))
}

fn text(arguments: &Arguments<'_>, text: &str) -> Scalar {
    Scalar::from_text(arguments.perl(), text)
}

fn count(arguments: &Arguments<'_>, count: usize) -> Scalar {
    Scalar::from_unsigned(arguments.perl(), count as u64)
}

fn truth(arguments: &Arguments<'_>, value: bool) -> Result<Returned> {
    Ok(Returned::boolean(arguments.perl(), value))
}

thread_local! {
    /// How many calls of `run` have come to their end.
    static FINISHED: Cell<i64> = const { Cell::new(0) };
}

/// Waits for a command of the shell.
fn run(arguments: &Arguments<'_>) -> Result<Returned> {
    let command = string(arguments, 0)?;
    Command::new("sh").args(["-c", &command]).status()?;
    FINISHED.set(FINISHED.get() + 1);
    Ok(().into())
}

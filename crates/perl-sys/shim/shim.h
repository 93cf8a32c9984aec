/* What the files of the shim share: the Perl API on every perl, and the structures that Rust has too.
 *
 * Three kinds of function, mirrored in ../src/lib.rs:
 *
 *   plain       (values.c, reuse.c) touch only what cannot run Perl code or die, and say NULL/0 when the value
 *               at hand is not of that kind;
 *   guarded     (guard.c, operations.c) everything else: perl_shim_operate and perl_shim_call. They
 *               return a status, and longjmp never leaves them;
 *   trampolines (trampolines.c, lazy.c) the ways from Perl into Rust: XSUBs, boot, free magic, get magic, exit
 *               hooks.
 *               They croak or exit when Rust has returned and all of its values are dropped.
 *
 * Handlers of signals are kept out of Rust by signals.c.
 *
 * "Owned" means that the caller has to release the reference. */

#ifndef SHIM_H
#define SHIM_H

#define PERL_NO_GET_CONTEXT
#include <EXTERN.h>
#include <perl.h>
#include <XSUB.h>
#include <stdint.h>
#include "perl_shim.h"

/* ---- One source for threaded and unthreaded perls, 5.14 and later ---- */

#ifdef MULTIPLICITY
#  define SHIM_PERL ((void *)aTHX)
#else
#  define SHIM_PERL NULL
#endif
#define dSHIM dTHXa(perl); PERL_UNUSED_VAR(perl)

#ifdef USE_ITHREADS
#  define SHIM_THREAD_LOCAL __thread
#else
#  define SHIM_THREAD_LOCAL
#endif

/* For what a handler of a signal looks at: a thread may get one before it has used any of ours, and memory must
 * not be allocated for them then. Where that is not done at the start anyway, it is asked for (glibc). */
#if defined(USE_ITHREADS) && defined(__GLIBC__)
#  define SHIM_SIGNAL_LOCAL SHIM_THREAD_LOCAL __attribute__((tls_model("initial-exec")))
#else
#  define SHIM_SIGNAL_LOCAL SHIM_THREAD_LOCAL
#endif

#ifndef SvREFCNT_dec_NN
#  define SvREFCNT_dec_NN(sv) SvREFCNT_dec(sv)
#endif
#ifndef SvTRUE_nomg
#  define SvTRUE_nomg(sv) sv_2bool(sv)
#endif
#ifndef HvNAMELEN_get
#  define HvNAMELEN_get(stash) strlen(HvNAME_get(stash))
#endif
#ifndef HvNAMEUTF8
#  define HvNAMEUTF8(stash) 0
#endif
/* Before 5.16 the names of subs and classes are bytes. */
#if PERL_REVISION == 5 && PERL_VERSION < 16
#  undef newXS_flags
#  define newXS_flags(name, sub, file, prototype, flags) newXS(name, sub, file)
#  define sv_derived_from_sv(sv, class, flags) sv_derived_from(sv, SvPV_nolen(class))
#endif
#ifndef G_LIST
#  define G_LIST G_ARRAY
#endif
#ifndef isGV_with_GP
#  define isGV_with_GP(sv) (SvTYPE(sv) == SVt_PVGV)
#endif

/* ---- Structures and numbers shared with src/lib.rs ---- */

enum { STATUS_OK, STATUS_DIED, STATUS_EXITED };
enum { CONTEXT_VOID, CONTEXT_SCALAR, CONTEXT_LIST };
enum { REFERENT_ANY, REFERENT_HASH, REFERENT_ARRAY, REFERENT_CODE, REFERENT_GLOB, REFERENT_STASH };

enum { ELEMENT_SCALAR, ELEMENT_EMPTY_HASH, ELEMENT_EMPTY_ARRAY, ELEMENT_WEAK, ELEMENT_LAZY };

/* Bits of perl_shim_state. */
enum {
    STATE_MAGICAL = 1,     /* reading it runs get magic */
    STATE_DEFINED = 2,
    STATE_STRING = 4,
    STATE_INTEGER = 8,
    STATE_NUMBER = 16,
    STATE_REFERENCE = 32,
    STATE_OVERLOADED = 64, /* a reference to an object whose class overloads something */
    STATE_UTF8 = 128
};

/* Order of the table `operations` below. */
enum {
    OPERATION_RELEASE, OPERATION_FETCH, OPERATION_STRING, OPERATION_NUMBER, OPERATION_INTEGER,
    OPERATION_TRUE, OPERATION_LOOKS_LIKE_NUMBER, OPERATION_ASSIGN, OPERATION_WEAKEN,
    OPERATION_DERIVED_FROM, OPERATION_BLESS, OPERATION_HASH_FETCH, OPERATION_HASH_STORE,
    OPERATION_HASH_DELETE, OPERATION_HASH_EXISTS, OPERATION_HASH_CLEAR, OPERATION_HASH_PAIRS,
    OPERATION_HASH_COUNT, OPERATION_ARRAY_FETCH, OPERATION_ARRAY_STORE, OPERATION_ARRAY_PUSH,
    OPERATION_ARRAY_COUNT, OPERATION_ARRAY_CLEAR, OPERATION_ARRAY_VALUES, OPERATION_VARIABLE,
    OPERATION_CODE, OPERATION_DEFINE, OPERATION_WARN, OPERATION_REQUIRE, OPERATION_DESCRIPTOR,
    OPERATION_OPEN, OPERATION_UNREAD, OPERATION_END_BLOCK, OPERATION_COUNT
};

/* The arguments and results of a guarded operation; each operation says what it uses. */
struct perl_shim_work {
    SV *sv;
    SV *other;
    const char *bytes;
    size_t length;
    int64_t integer;
    double number;
    void *pointer;
    int flag;
    SV *result; /* owned */
    SV *error;  /* owned; set with STATUS_DIED */
};

/* A key of a hash. */
struct perl_shim_key {
    const char *bytes;
    int32_t length;
    int32_t utf8;
    SV *shared; /* the same as perl_shim_new_shared_key made it, or NULL */
};

/* An element of an object that is to be used again: what it is as it was made. */
struct perl_shim_element {
    SV *key; /* made by perl_shim_new_shared_key */
    SV *referent; /* of ELEMENT_WEAK */
    int kind;
    int bit; /* which one tells of it, 0 to 63 */
    SV *value; /* what was found, if it is there; not owned */
};

/* An element of a hash that is to be used again. */
struct perl_shim_place {
    const void *key; /* NULL without a keeper, which is that of no element */
    SV *keeper;      /* what keeps the key where it is, or NULL if nothing can */
    SV *value;
    uint32_t keys; /* how many keys have this value */
};

/* A guarded call of a sub or method. */
struct perl_shim_call {
    SV *callable; /* a sub, or the name of a method */
    int method;
    int context;
    SV *const *arguments;
    size_t count;
    SV *result; /* owned: CONTEXT_SCALAR a value, CONTEXT_LIST an AV */
    SV *error;  /* owned; set with STATUS_DIED */
};

/* What an XSUB hands back: `value` or `list` (an AV), or an error; all owned. */
struct perl_shim_outcome {
    int status;
    SV *value;
    SV *list;
    SV *error;
};

/* Stands behind every XSUB of ours; Rust's structure begins with it. */
struct perl_shim_function {
    void (*entry)(void *perl, const struct perl_shim_function *self, SV *cv, SV **arguments,
                  size_t count, int context, struct perl_shim_outcome *outcome);
};

/* Stands behind every attachment and exit hook; Rust's structure begins with it. */
struct perl_shim_attachment {
    void (*finish)(void *perl, struct perl_shim_attachment *self);
};

/* Stands behind every element that is made when it is first asked for; Rust's structure begins with it. Each of the
 * two functions takes it over. */
struct perl_shim_lazy {
    void (*make)(void *perl, struct perl_shim_lazy *self, struct perl_shim_outcome *outcome);
    void (*finish)(void *perl, struct perl_shim_lazy *self);
};

/* ---- What may stand where Perl has a scalar ---- */

#define NOT_A_SCALAR "A hash, array or sub where a scalar is wanted: take a reference to it"

static inline bool is_scalar(SV *sv)
{
    return SvTYPE(sv) <= SVt_PVLV;
}

static inline void check_scalar(SV *sv)
{
    if (!is_scalar(sv))
        Perl_croak_nocontext("%s", NOT_A_SCALAR);
}

/* ---- Integers ---- */

static inline int64_t saturated(NV number)
{
    if (number != number)
        return 0;
    if (number >= 9223372036854775807.0)
        return INT64_MAX;
    if (number <= -9223372036854775808.0)
        return INT64_MIN;
    return (int64_t)number;
}

/* The integer of a value that SvIV or SvNV has looked at. */
static inline int64_t integer_value(pTHX_ SV *sv)
{
    if (SvIOK(sv) && SvIsUV(sv))
        return (uint64_t)SvUVX(sv) > (uint64_t)INT64_MAX ? INT64_MAX : (int64_t)SvUVX(sv);
    if (SvIOK(sv))
        return (int64_t)SvIVX(sv);
    return saturated(SvNOKp(sv) ? SvNVX(sv) : SvNV(sv));
}

/* ---- From one file of the shim to another ---- */

/* guard.c: makes a call of which nothing leaves but a status. */
int perl_shim_guarded(pTHX_ struct perl_shim_call *call);

/* guard.c: goes on with what was held back, see perl_shim_leave. */
void perl_shim_go_on(pTHX);

/* signals.c: from here on Rust runs, until it returns; what is to be given back then. */
void *perl_shim_enter(void *perl);
void perl_shim_return(void *outer);

/* signals.c: what to give back where Rust goes on after a call. */
void *perl_shim_entry(void);

/* signals.c: runs the handlers that have waited for the end of Rust. They may throw. */
void perl_shim_run_deferred(pTHX);

/* signals.c: has perl's handlers wait for the end of Rust. */
void perl_shim_guard_signals(pTHX);

/* guard.c: whether an exit is held back. */
int perl_shim_exit_is_pending(void *perl);

/* trampolines.c: stands behind every sub made in Rust. */
XS(perl_shim_xsub);

/* trampolines.c: for the tables of magic behind which Rust has data. The data does not follow a value into a
 * new thread; nor, uncounted, onto the new value that `local` puts in its place. */
#ifdef USE_ITHREADS
int perl_shim_leave_in_thread(pTHX_ MAGIC *magic, CLONE_PARAMS *parameters);
#  define SHIM_LEAVE_IN_THREAD perl_shim_leave_in_thread
#else
#  define SHIM_LEAVE_IN_THREAD NULL
#endif
int perl_shim_leave_out(pTHX_ SV *sv, MAGIC *magic);

/* trampolines.c: goes on in Perl with what Rust returned: an exception, an exit that was held back, or
 * nothing of the kind. */
void perl_shim_croak_or_leave(pTHX_ int status, SV *error);

/* lazy.c: whether this is the magic of a hash with lazy elements. */
bool perl_shim_tells_of_keys(const MAGIC *magic);

/* lazy.c: whether this is a lazy element, nothing else, that nobody has asked for. */
bool perl_shim_is_unread(pTHX_ SV *sv);

#endif

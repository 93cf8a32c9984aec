/* The only C over perl.h: what the macros of the Perl API do, as functions that Rust can call.
 *
 * Three kinds of function, mirrored one to one in src/lib.rs:
 *
 *   plain       touch only what cannot run Perl code or die, and say NULL/0 when the value at hand is
 *               not of that kind;
 *   guarded     everything else: perl_shim_operate and perl_shim_call. They return a status, and
 *               longjmp never leaves them;
 *   trampolines the ways from Perl into Rust: XSUBs, boot, free magic, exit hooks. They croak or exit
 *               when Rust has returned and all of its values are dropped.
 *
 * "Owned" means that the caller has to release the reference. */

#define PERL_NO_GET_CONTEXT
#include <EXTERN.h>
#include <perl.h>
#include <XSUB.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
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
enum { REFERENT_ANY, REFERENT_HASH, REFERENT_ARRAY, REFERENT_CODE };

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

/* ---- Unwinding held back ---- */

/* `exit` (and an exception that found its `eval` outside of ours) has already unwound Perl's stacks
 * when a guard catches it, so it must go on once no Rust frame is left above the guard's caller. */
struct pending {
    int jump; /* what JMPENV_JUMP gets; 0: nothing is pending */
    I32 exit_status;
    OP *restart_op;
    JMPENV *restart_environment;
};

static SHIM_THREAD_LOCAL struct pending pending;

static void hold_back(pTHX_ int jump)
{
    pending.jump = jump;
    pending.exit_status = PL_statusvalue;
    pending.restart_op = PL_restartop;
    pending.restart_environment = PL_restartjmpenv;
}

void perl_shim_leave(void *perl)
{
    struct pending held = pending;
    dSHIM;

    if (!held.jump)
        return;
    pending.jump = 0;
    if (held.jump == 2)
        my_exit((U32)held.exit_status);
    PL_restartop = held.restart_op;
    PL_restartjmpenv = held.restart_environment;
    JMPENV_JUMP(held.jump);
}

int perl_shim_exit_is_pending(void *perl)
{
    PERL_UNUSED_VAR(perl);
    return pending.jump != 0;
}

/* ---- What may stand where Perl has a scalar ---- */

static const char not_a_scalar[] = "A hash, array or sub where a scalar is wanted: take a reference to it";

static bool is_scalar(SV *sv)
{
    return SvTYPE(sv) <= SVt_PVLV;
}

static void check_scalar(SV *sv)
{
    if (!is_scalar(sv))
        Perl_croak_nocontext("%s", not_a_scalar);
}

/* ---- The guard ---- */

/* False exceptions are exceptions too, and an object's `bool` must not be asked. */
static bool is_exception(SV *error)
{
    return SvROK(error) || isGV_with_GP(error) || (SvPOK(error) && SvCUR(error) > 0)
           || (SvOK(error) && !SvPOK(error));
}

static SV *take_results(pTHX_ I32 context, I32 count)
{
    SV *result = NULL;

    if (context == G_SCALAR)
        result = SvREFCNT_inc(*PL_stack_sp);
    if (context == G_LIST) {
        AV *const list = newAV();
        SV **const first = PL_stack_sp - count + 1;
        I32 i;

        av_extend(list, count);
        for (i = 0; i < count; i++)
            av_push(list, SvREFCNT_inc(first[i]));
        result = (SV *)list;
    }
    PL_stack_sp -= count;
    return result;
}

/* The call inside the guard. A stack of its own keeps `last`, `next` and `return` in; `$@` is the
 * caller's, so it is local; G_EVAL holds exceptions. */
static int call_on_own_stack(pTHX_ struct perl_shim_call *call)
{
    static const I32 contexts[] = { G_VOID, G_SCALAR, G_LIST };
    const I32 context = contexts[call->context];
    SV *result;
    SV *error = NULL;
    I32 count;
    size_t i;
    dSP;

    PUSHSTACKi(PERLSI_REQUIRE);
    ENTER;
    SAVETMPS;
    save_scalar(PL_errgv);

    PUSHMARK(SP);
    EXTEND(SP, (SSize_t)call->count);
    for (i = 0; i < call->count; i++)
        PUSHs(call->arguments[i]);
    PUTBACK;
    count = call_sv(call->callable, context | G_EVAL | (call->method ? G_METHOD : 0));

    if (is_exception(ERRSV))
        error = SvREFCNT_inc(ERRSV);
    result = take_results(aTHX_ context, count);
    if (error)
        SvREFCNT_dec(result);
    call->result = error ? NULL : result;
    call->error = error;
    FREETMPS;
    LEAVE;
    POPSTACK;
    return error ? STATUS_DIED : STATUS_OK;
}

/* A copy of the statement that calls, while the call lasts. */
struct statement {
    COP cop;
    struct statement *next;
};

/* Copies not in use. They are never freed: a Perl thread made in the call keeps the address. */
static SHIM_THREAD_LOCAL struct statement *spare_statements;

/* `goto LABEL` looks among the siblings of the calling statement even from a stack of its own: the
 * callee's caller is therefore a copy of that statement that has none. */
static struct statement *copy_statement(const COP *statement)
{
    struct statement *copy = spare_statements;

    if (copy)
        spare_statements = copy->next;
    else
        copy = malloc(sizeof *copy);
    if (!copy)
        abort();
    copy->cop = *statement;
#ifdef OpLASTSIB_set
    OpLASTSIB_set((OP *)&copy->cop, NULL);
#else
    copy->cop.op_sibling = NULL;
#endif
    /* A handle opened here is raw, whatever `use open` the caller has. */
    copy->cop.cop_hints &= ~(HINT_LEXICAL_IO_IN | HINT_LEXICAL_IO_OUT);
    return copy;
}

static void put_back(struct statement *copy)
{
    copy->next = spare_statements;
    spare_statements = copy;
}

static int guarded(pTHX_ struct perl_shim_call *call)
{
    struct pending before = pending;
    COP *const statement = PL_curcop;
    OP *const op = PL_op;
    struct statement *const copy = copy_statement(statement);
    /* Set and read on both sides of longjmp. */
    volatile int status = STATUS_EXITED;
    int jump;
    dJMPENV;

    call->result = call->error = NULL;
    /* An XSUB of ours that runs inside must not go on with an exit from outside. */
    pending.jump = 0;
    JMPENV_PUSH(jump);
    if (jump == 0) {
        PL_curcop = &copy->cop;
        status = call_on_own_stack(aTHX_ call);
        PL_curcop = statement;
    }
    JMPENV_POP;
    put_back(copy);

    if (jump != 0) {
        hold_back(aTHX_ jump);
        if (PL_curcop == &copy->cop)
            PL_curcop = &PL_compiling;
        PL_op = op;
        return STATUS_EXITED;
    }
    if (before.jump)
        pending = before;
    return status;
}

int perl_shim_call(void *perl, struct perl_shim_call *call)
{
    dSHIM;
    size_t i;

    for (i = 0; i < call->count; i++) {
        if (!is_scalar(call->arguments[i])) {
            call->error = newSVpv(not_a_scalar, 0);
            return STATUS_DIED;
        }
    }
    return guarded(aTHX_ call);
}

/* ---- Guarded operations ---- */

static bool is_magical(SV *container)
{
    return SvMAGICAL(container) && (mg_find(container, PERL_MAGIC_tied) || SvSMAGICAL(container)
                                    || mg_find(container, PERL_MAGIC_env)
                                    || mg_find(container, PERL_MAGIC_sig));
}

/* An element of a tied container is a proxy that dies with the scope: the caller gets its value. */
static SV *element(pTHX_ SV *container, SV **slot)
{
    if (!slot || !*slot)
        return NULL;
    if (is_magical(container))
        return newSVsv(*slot);
    return SvREFCNT_inc(*slot);
}

/* A length as hv_fetch and hv_store want it: negative for a key in UTF-8. */
static I32 key_length(const struct perl_shim_work *work)
{
    if (work->length > I32_MAX)
        Perl_croak_nocontext("A hash key of more than 2 GiB");
    return work->flag ? -(I32)work->length : (I32)work->length;
}

/* sv: given up */
static void release(pTHX_ struct perl_shim_work *work)
{
    SvREFCNT_dec(work->sv);
}

/* sv -> result: a plain copy */
static void fetch(pTHX_ struct perl_shim_work *work)
{
    work->result = newSVsv(work->sv);
}

/* sv -> result: a plain string */
static void string(pTHX_ struct perl_shim_work *work)
{
    STRLEN length;
    const char *const bytes = SvPV(work->sv, length);

    work->result = newSVpvn(bytes, length);
    if (SvUTF8(work->sv))
        SvUTF8_on(work->result);
}

/* sv -> number */
static void number(pTHX_ struct perl_shim_work *work)
{
    work->number = (double)SvNV(work->sv);
}

static int64_t saturated(NV number)
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
static int64_t integer_value(pTHX_ SV *sv)
{
    if (SvIOK(sv) && SvIsUV(sv))
        return (uint64_t)SvUVX(sv) > (uint64_t)INT64_MAX ? INT64_MAX : (int64_t)SvUVX(sv);
    if (SvIOK(sv))
        return (int64_t)SvIVX(sv);
    return saturated(SvNOKp(sv) ? SvNVX(sv) : SvNV(sv));
}

/* sv -> integer */
static void integer(pTHX_ struct perl_shim_work *work)
{
    SV *const copy = sv_2mortal(newSVsv(work->sv));

    work->integer = SvROK(copy) ? saturated(SvNV(copy)) : (SvIV(copy), integer_value(aTHX_ copy));
}

/* sv -> flag */
static void is_true(pTHX_ struct perl_shim_work *work)
{
    work->flag = SvTRUE(work->sv) ? 1 : 0;
}

/* sv -> flag */
static void is_number(pTHX_ struct perl_shim_work *work)
{
    SvGETMAGIC(work->sv);
    work->flag = looks_like_number(work->sv) ? 1 : 0;
}

/* sv = other */
static void assign(pTHX_ struct perl_shim_work *work)
{
    if (SvREADONLY(work->sv))
        Perl_croak_nocontext("%s", PL_no_modify);
    sv_setsv(work->sv, work->other);
    SvSETMAGIC(work->sv);
}

/* sv: a reference */
static void weaken(pTHX_ struct perl_shim_work *work)
{
    if (SvROK(work->sv) && SvWEAKREF(work->sv))
        return;
    sv_rvweaken(work->sv);
}

/* sv; other: a class -> flag */
static void derived_from(pTHX_ struct perl_shim_work *work)
{
    SvGETMAGIC(work->sv);
    work->flag = sv_derived_from_sv(work->sv, work->other, 0) ? 1 : 0;
}

/* sv: the referent; other: a class */
static void bless(pTHX_ struct perl_shim_work *work)
{
    sv_bless(sv_2mortal(newRV_inc(work->sv)), gv_stashsv(work->other, GV_ADD));
}

/* sv: a hash; bytes, flag: a key -> result or NULL */
static void hash_fetch(pTHX_ struct perl_shim_work *work)
{
    HV *const hash = (HV *)work->sv;

    if (is_magical(work->sv) && !hv_exists(hash, work->bytes, key_length(work)))
        return;
    work->result = element(aTHX_ work->sv, hv_fetch(hash, work->bytes, key_length(work), 0));
}

/* sv: a hash; bytes, flag: a key; other: the value */
static void hash_store(pTHX_ struct perl_shim_work *work)
{
    const bool magical = is_magical(work->sv);
    /* Magic containers leave magic of theirs on what is stored. */
    SV *const value = magical ? newSVsv(work->other) : SvREFCNT_inc(work->other);

    if (!hv_store((HV *)work->sv, work->bytes, key_length(work), value, 0))
        sv_2mortal(value);
    if (magical)
        SvSETMAGIC(value);
}

/* sv: a hash; bytes, flag: a key -> result or NULL */
static void hash_delete(pTHX_ struct perl_shim_work *work)
{
    SV *const value = hv_delete((HV *)work->sv, work->bytes, key_length(work), 0);

    if (value)
        work->result = is_magical(work->sv) ? newSVsv(value) : SvREFCNT_inc(value);
}

/* sv: a hash; bytes, flag: a key -> flag */
static void hash_exists(pTHX_ struct perl_shim_work *work)
{
    work->flag = hv_exists((HV *)work->sv, work->bytes, key_length(work)) ? 1 : 0;
}

/* sv: a hash */
static void hash_clear(pTHX_ struct perl_shim_work *work)
{
    hv_clear((HV *)work->sv);
}

/* sv: a hash -> result: an AV of keys and values in turn */
static void hash_pairs(pTHX_ struct perl_shim_work *work)
{
    HV *const hash = (HV *)work->sv;
    const bool magical = is_magical(work->sv);
    AV *const pairs = (AV *)sv_2mortal((SV *)newAV());
    HE *entry;

    hv_iterinit(hash);
    while ((entry = hv_iternext(hash))) {
        SV *const value = hv_iterval(hash, entry);

        av_push(pairs, newSVsv(hv_iterkeysv(entry)));
        av_push(pairs, magical ? newSVsv(value) : SvREFCNT_inc(value));
    }
    work->result = SvREFCNT_inc((SV *)pairs);
}

/* sv: a hash -> integer. A tied one is counted. */
static void hash_count(pTHX_ struct perl_shim_work *work)
{
    HV *const hash = (HV *)work->sv;

    work->integer = 0;
    if (!is_magical(work->sv)) {
        work->integer = (int64_t)HvUSEDKEYS(hash);
        return;
    }
    hv_iterinit(hash);
    while (hv_iternext(hash))
        work->integer++;
}

/* sv: an array; integer: an index -> result or NULL */
static void array_fetch(pTHX_ struct perl_shim_work *work)
{
    work->result = element(aTHX_ work->sv, av_fetch((AV *)work->sv, (SSize_t)work->integer, 0));
}

/* sv: an array; integer: an index; other: the value */
static void array_store(pTHX_ struct perl_shim_work *work)
{
    const bool magical = is_magical(work->sv);
    SV *const value = magical ? newSVsv(work->other) : SvREFCNT_inc(work->other);

    if (SvREADONLY(work->sv)) {
        sv_2mortal(value);
        Perl_croak_nocontext("%s", PL_no_modify);
    }
    if (!av_store((AV *)work->sv, (SSize_t)work->integer, value))
        sv_2mortal(value);
    if (magical)
        SvSETMAGIC(value);
}

/* sv: an array; other: the value */
static void array_push(pTHX_ struct perl_shim_work *work)
{
    work->integer = (int64_t)av_len((AV *)work->sv) + 1;
    array_store(aTHX_ work);
}

/* sv: an array -> integer */
static void array_count(pTHX_ struct perl_shim_work *work)
{
    work->integer = (int64_t)av_len((AV *)work->sv) + 1;
}

/* sv: an array */
static void array_clear(pTHX_ struct perl_shim_work *work)
{
    av_clear((AV *)work->sv);
}

/* sv: an array -> result: a plain AV of its values; holes are undef */
static void array_values(pTHX_ struct perl_shim_work *work)
{
    AV *const values = (AV *)sv_2mortal((SV *)newAV());
    SSize_t count = av_len((AV *)work->sv) + 1;
    SSize_t i;

    for (i = 0; i < count; i++) {
        SV *const value = element(aTHX_ work->sv, av_fetch((AV *)work->sv, i, 0));

        av_push(values, value ? value : newSV(0));
    }
    work->result = SvREFCNT_inc((SV *)values);
}

/* other: a name; flag: a referent kind -> result: the variable, made if need be */
static void variable(pTHX_ struct perl_shim_work *work)
{
    const char *const name = SvPV_nolen(work->other);
    const I32 create = GV_ADD | (SvUTF8(work->other) ? SVf_UTF8 : 0);
    SV *found;

    if (work->flag == REFERENT_HASH)
        found = (SV *)get_hv(name, create);
    else if (work->flag == REFERENT_ARRAY)
        found = (SV *)get_av(name, create);
    else
        found = get_sv(name, create);
    work->result = SvREFCNT_inc(found);
}

/* other: a name -> result: the sub, or NULL */
static void code(pTHX_ struct perl_shim_work *work)
{
    CV *const cv = get_cv(SvPV_nolen(work->other), SvUTF8(work->other) ? SVf_UTF8 : 0);

    if (cv && (CvROOT(cv) || CvXSUB(cv)))
        work->result = SvREFCNT_inc((SV *)cv);
}

XS(perl_shim_xsub);

/* other: a full name, or NULL for an anonymous sub; pointer: a perl_shim_function -> result */
static void define(pTHX_ struct perl_shim_work *work)
{
    const char *const name = work->other ? SvPV_nolen(work->other) : NULL;
    const U32 flags = work->other && SvUTF8(work->other) ? SVf_UTF8 : 0;
    CV *const cv = newXS_flags(name, perl_shim_xsub, "Rust", NULL, flags);

    CvXSUBANY(cv).any_ptr = work->pointer;
    /* The glob owns a named sub. */
    work->result = work->other ? SvREFCNT_inc((SV *)cv) : (SV *)cv;
}

/* other: the text */
static void warning(pTHX_ struct perl_shim_work *work)
{
    warn_sv(work->other);
}

/* other: a module's name */
static void require(pTHX_ struct perl_shim_work *work)
{
    load_module(PERL_LOADMOD_NOIMPORT, newSVsv(work->other), NULL);
}

/* The IO of a glob, a reference to one, or the IO itself. */
static IO *io_of(pTHX_ SV *sv)
{
    SvGETMAGIC(sv);
    if (SvROK(sv))
        sv = SvRV(sv);
    if (SvTYPE(sv) == SVt_PVIO)
        return (IO *)sv;
    return isGV_with_GP(sv) ? GvIO((GV *)sv) : NULL;
}

/* sv: a handle -> integer: its descriptor, or -1 */
static void descriptor(pTHX_ struct perl_shim_work *work)
{
    IO *const io = io_of(aTHX_ work->sv);
    PerlIO *handle;

    work->integer = -1;
    if (!io || (SvRMAGICAL((SV *)io) && mg_find((SV *)io, PERL_MAGIC_tiedscalar)))
        return;
    handle = IoIFP(io) ? IoIFP(io) : IoOFP(io);
    if (handle)
        work->integer = PerlIO_fileno(handle);
}

static GV *glob_of(pTHX_ SV *sv)
{
    SvGETMAGIC(sv);
    if (SvROK(sv))
        sv = SvRV(sv);
    if (!isGV_with_GP(sv))
        Perl_croak_nocontext("Not a GLOB reference");
    return (GV *)sv;
}

static GV *anonymous_glob(pTHX)
{
    GV *const glob = (GV *)newSV(0);

    gv_init(glob, gv_stashpvs("main", GV_ADD), "__ANONIO__", 10, 0);
    return glob;
}

/* sv: a glob or NULL for a new one; bytes: a mode of open; integer: a descriptor; other: a class or
 * NULL -> result: a reference to a new glob; flag: the handle owns the descriptor; errno in number */
static void open_handle(pTHX_ struct perl_shim_work *work)
{
    GV *const glob = work->sv ? glob_of(aTHX_ work->sv) : anonymous_glob(aTHX);
    SV *const reference = sv_2mortal(work->sv ? newRV_inc((SV *)glob) : newRV_noinc((SV *)glob));
    SV *name = sv_2mortal(newSViv((IV)work->integer));

    /* It may die, which it must not do when the handle has the descriptor already. */
    if (work->other)
        sv_bless(reference, gv_stashsv(work->other, GV_ADD));
    work->flag = 0;
    work->number = 0;
    if (!do_openn(glob, work->bytes, (I32)work->length, FALSE, 0, 0, NULL, &name, 1)) {
        work->number = errno ? errno : EBADF;
        return;
    }
    /* STDIN, STDOUT and STDERR keep their number: perl has then made a duplicate. */
    work->flag = PerlIO_fileno(IoIFP(GvIOp(glob))) == (int)work->integer;
    work->result = SvREFCNT_inc(reference);
}

/* sv: a handle; bytes */
static void unread(pTHX_ struct perl_shim_work *work)
{
    IO *const io = io_of(aTHX_ work->sv);

    if (!io || !IoIFP(io))
        Perl_croak_nocontext("Not a handle open for reading");
    if (PerlIO_unread(IoIFP(io), work->bytes, work->length) != (SSize_t)work->length)
        Perl_croak_nocontext("Cannot push bytes back into the handle");
}

/* sv: a sub, to be called after the END blocks */
static void end_block(pTHX_ struct perl_shim_work *work)
{
    if (!PL_endav)
        PL_endav = newAV();
    av_push(PL_endav, SvREFCNT_inc(work->sv));
}

static void (*const operations[])(pTHX_ struct perl_shim_work *) = {
    release, fetch, string, number, integer, is_true, is_number, assign, weaken, derived_from, bless,
    hash_fetch, hash_store, hash_delete, hash_exists, hash_clear, hash_pairs, hash_count,
    array_fetch, array_store, array_push, array_count, array_clear, array_values, variable, code,
    define, warning, require, descriptor, open_handle, unread, end_block
};

typedef char every_operation_is_in_the_table
    [sizeof(operations) / sizeof(operations[0]) == OPERATION_COUNT ? 1 : -1];

/* What an operation is for perl: a sub without a name, called with the work's address. */
struct operation {
    int number;
    struct perl_shim_work *work;
};

XS(perl_shim_operation);
XS(perl_shim_operation)
{
    dXSARGS;
    struct operation *const operation = INT2PTR(struct operation *, SvIVX(ST(0)));
    struct perl_shim_work *const work = operation->work;

    PERL_UNUSED_VAR(cv);
    PERL_UNUSED_VAR(items);
    if (work->other)
        check_scalar(work->other);
    if (operation->number >= OPERATION_FETCH && operation->number <= OPERATION_DERIVED_FROM)
        check_scalar(work->sv);
    operations[operation->number](aTHX_ work);
    XSRETURN_EMPTY;
}

/* The sub of the interpreter that this thread used last. */
static SHIM_THREAD_LOCAL struct {
    int filled;
    void *perl;
    CV *sub;
} operation_cache;

static void forget_operation_sub(pTHX_ void *unused)
{
    PERL_UNUSED_VAR(unused);
    if (operation_cache.perl == SHIM_PERL)
        operation_cache.filled = 0;
}

/* Owned. Not kept once the interpreter is on its way out: nothing would tell that it has gone. */
static CV *operation_sub(pTHX)
{
    if (operation_cache.filled && operation_cache.perl == SHIM_PERL)
        return (CV *)SvREFCNT_inc((SV *)operation_cache.sub);

    CV *const sub = newXS(NULL, perl_shim_operation, __FILE__);
    /* No business of the debugger's. */
    CvNODEBUG_on(sub);
    if (PL_dirty)
        return sub;
    operation_cache.filled = 1;
    operation_cache.perl = SHIM_PERL;
    operation_cache.sub = sub;
    call_atexit(forget_operation_sub, NULL);
    return (CV *)SvREFCNT_inc((SV *)sub);
}

int perl_shim_operate(void *perl, int number, struct perl_shim_work *work)
{
    dSHIM;
    struct operation operation = { number, work };
    SV *const argument = newSViv(PTR2IV(&operation));
    CV *const sub = operation_sub(aTHX);
    struct perl_shim_call call = { (SV *)sub, 0, CONTEXT_VOID, &argument, 1, NULL, NULL };
    int status;

    work->result = work->error = NULL;
    status = guarded(aTHX_ &call);
    work->error = call.error;
    /* Plain values: freeing them runs nothing. */
    SvREFCNT_dec(argument);
    SvREFCNT_dec((SV *)sub);
    return status;
}

/* ---- Plain: making values. All results are owned. ---- */

SV *perl_shim_new_undef(void *perl)
{
    dSHIM;
    return newSV(0);
}

SV *perl_shim_new_string(void *perl, const char *bytes, size_t length, int utf8)
{
    dSHIM;
    SV *const sv = newSVpvn(length ? bytes : "", length);

    if (utf8)
        SvUTF8_on(sv);
    return sv;
}

SV *perl_shim_new_integer(void *perl, int64_t value)
{
    dSHIM;
    if (value < (int64_t)IV_MIN || value > (int64_t)IV_MAX)
        return newSVnv((NV)value);
    return newSViv((IV)value);
}

SV *perl_shim_new_unsigned(void *perl, uint64_t value)
{
    dSHIM;
    if (value > (uint64_t)UV_MAX)
        return newSVnv((NV)value);
    return newSVuv((UV)value);
}

SV *perl_shim_new_number(void *perl, double value)
{
    dSHIM;
    return newSVnv((NV)value);
}

SV *perl_shim_new_boolean(void *perl, int value)
{
    dSHIM;
    return newSVsv(value ? &PL_sv_yes : &PL_sv_no);
}

SV *perl_shim_new_hash(void *perl)
{
    dSHIM;
    return (SV *)newHV();
}

SV *perl_shim_new_array(void *perl)
{
    dSHIM;
    return (SV *)newAV();
}

SV *perl_shim_new_reference(void *perl, SV *sv)
{
    dSHIM;
    return newRV_inc(sv);
}

int perl_shim_is_perl_utf8(void *perl, const char *bytes, size_t length)
{
    dSHIM;
    return length == 0 || is_utf8_string((const U8 *)bytes, length);
}

/* ---- Plain: reference counts ---- */

SV *perl_shim_retain(void *perl, SV *sv)
{
    dSHIM;
    return SvREFCNT_inc(sv);
}

uint32_t perl_shim_reference_count(SV *sv)
{
    return (uint32_t)SvREFCNT(sv);
}

/* Freeing it can run no code: no magic, no object, and no last reference to anything. */
static bool is_simple(SV *sv)
{
    if (SvTYPE(sv) > SVt_PVMG || SvMAGICAL(sv) || SvOBJECT(sv))
        return FALSE;
    if (SvTYPE(sv) == SVt_PVMG && SvMAGIC(sv))
        return FALSE;
    return !SvROK(sv) || SvWEAKREF(sv) || SvREFCNT(SvRV(sv)) > 1;
}

/* Gives the reference up unless that may run code: then says 0, and OPERATION_RELEASE has to do it.
 * While perl frees every value at its end, a reference count means nothing any more. */
int perl_shim_release_plain(void *perl, SV *sv)
{
    dSHIM;
    if (PL_in_clean_all)
        return 1;
    if (SvREFCNT(sv) <= 1 && !is_simple(sv))
        return 0;
    SvREFCNT_dec_NN(sv);
    return 1;
}

/* ---- Plain: looking at values ---- */

uint32_t perl_shim_state(SV *sv)
{
    uint32_t state = 0;

    /* Other kinds of value use these flags for other things. */
    if (!is_scalar(sv))
        return 0;
    if (SvGMAGICAL(sv))
        state |= STATE_MAGICAL;
    if (SvOK(sv) || isGV_with_GP(sv))
        state |= STATE_DEFINED;
    if (SvPOK(sv))
        state |= STATE_STRING;
    if (SvIOK(sv))
        state |= STATE_INTEGER;
    if (SvNOK(sv))
        state |= STATE_NUMBER;
    if (SvROK(sv))
        state |= STATE_REFERENCE;
    if (SvROK(sv) && SvAMAGIC(sv))
        state |= STATE_OVERLOADED;
    if (SvUTF8(sv))
        state |= STATE_UTF8;
    return state;
}

/* For STATE_STRING. Valid until the value changes. */
const char *perl_shim_string(SV *sv, size_t *length)
{
    *length = SvCUR(sv);
    return SvPVX_const(sv);
}

/* For STATE_INTEGER or STATE_NUMBER. */
int64_t perl_shim_integer(void *perl, SV *sv)
{
    dSHIM;
    return integer_value(aTHX_ sv);
}

/* For STATE_INTEGER or STATE_NUMBER. */
double perl_shim_number(SV *sv)
{
    if (SvNOK(sv))
        return (double)SvNVX(sv);
    return SvIsUV(sv) ? (double)SvUVX(sv) : (double)SvIVX(sv);
}

/* For a value without magic and overloading. */
int perl_shim_is_true(void *perl, SV *sv)
{
    dSHIM;
    return is_scalar(sv) && SvTRUE_nomg(sv) ? 1 : 0;
}

/* For a value without magic and overloading. */
int perl_shim_looks_like_number(void *perl, SV *sv)
{
    dSHIM;
    return is_scalar(sv) && looks_like_number(sv) ? 1 : 0;
}

/* What a reference refers to, if it is of that kind; not owned. */
SV *perl_shim_referent(SV *sv, int kind)
{
    static const svtype types[] = { SVt_NULL, SVt_PVHV, SVt_PVAV, SVt_PVCV };

    if (!SvROK(sv))
        return NULL;
    if (kind != REFERENT_ANY && SvTYPE(SvRV(sv)) != types[kind])
        return NULL;
    return SvRV(sv);
}

/* The name of the class of what a reference refers to, or NULL. */
const char *perl_shim_class(void *perl, SV *sv, size_t *length, int *utf8)
{
    dSHIM;
    HV *stash;

    if (!SvROK(sv) || !SvOBJECT(SvRV(sv)))
        return NULL;
    stash = SvSTASH(SvRV(sv));
    if (!HvNAME_get(stash))
        return NULL;
    *length = (size_t)HvNAMELEN_get(stash);
    *utf8 = HvNAMEUTF8(stash) ? 1 : 0;
    return HvNAME_get(stash);
}

/* ---- Plain: hashes and arrays without magic or restrictions ---- */

/* Magic that only hangs there has no part in what is done to the container. */
static bool is_plain(SV *container)
{
    const MAGIC *magic;

    if (SvREADONLY(container) || SvGMAGICAL(container) || SvSMAGICAL(container))
        return FALSE;
    if (!SvRMAGICAL(container))
        return TRUE;
    for (magic = SvMAGIC(container); magic; magic = magic->mg_moremagic) {
        if (magic->mg_type != PERL_MAGIC_ext && magic->mg_type != PERL_MAGIC_backref)
            return FALSE;
    }
    return TRUE;
}

/* The functions of this section say 0, and do nothing, when the container is not plain, or what is to be
 * stored no scalar. The length of a key is negative for one in UTF-8. */

/* *value: not owned, or NULL */
int perl_shim_hash_fetch(void *perl, SV *hash, const char *key, int32_t length, SV **value)
{
    dSHIM;
    SV **slot;

    if (!is_plain(hash))
        return 0;
    slot = hv_fetch((HV *)hash, key, length, 0);
    *value = slot ? *slot : NULL;
    return 1;
}

/* Takes the reference to `value`; *replaced: what was there, owned, or NULL. hv_store would free that,
 * and so perhaps run code. */
int perl_shim_hash_store(void *perl, SV *hash, const char *key, int32_t length, SV *value,
                         SV **replaced)
{
    dSHIM;
    SV **slot;

    if (!is_plain(hash) || !is_scalar(value))
        return 0;
    *replaced = NULL;
#ifdef HV_FETCH_EMPTY_HE
    /* One look at the hash for both: the entry, with NULL in it if it is new. */
    if (!SvMAGICAL(hash)) {
        HE *const entry = (HE *)hv_common((HV *)hash, NULL, key, (STRLEN)(length < 0 ? -length : length),
                                          length < 0 ? HVhek_UTF8 : 0,
                                          HV_FETCH_LVALUE | HV_FETCH_EMPTY_HE, NULL, 0);

        *replaced = HeVAL(entry);
        HeVAL(entry) = value;
        return 1;
    }
#endif
    slot = hv_fetch((HV *)hash, key, length, 0);
    if (slot) {
        *replaced = *slot;
        *slot = value;
        return 1;
    }
    (void)hv_store((HV *)hash, key, length, value, 0);
    return 1;
}

/* *value: owned, or NULL */
int perl_shim_hash_delete(void *perl, SV *hash, const char *key, int32_t length, SV **value)
{
    dSHIM;
    SV **slot;

    if (!is_plain(hash))
        return 0;
    slot = hv_fetch((HV *)hash, key, length, 0);
    *value = slot ? SvREFCNT_inc(*slot) : NULL;
    if (slot)
        (void)hv_delete((HV *)hash, key, length, G_DISCARD);
    return 1;
}

int perl_shim_hash_exists(void *perl, SV *hash, const char *key, int32_t length, int *exists)
{
    dSHIM;
    if (!is_plain(hash))
        return 0;
    *exists = hv_exists((HV *)hash, key, length) ? 1 : 0;
    return 1;
}

int perl_shim_hash_count(void *perl, SV *hash, size_t *count)
{
    dSHIM;
    if (!is_plain(hash))
        return 0;
    *count = (size_t)HvUSEDKEYS((HV *)hash);
    return 1;
}

void perl_shim_hash_reserve(void *perl, SV *hash, size_t keys)
{
    dSHIM;
    /* A hint: more than this is not worth a failing allocation. */
    if (is_plain(hash))
        hv_ksplit((HV *)hash, keys > 0xFFFF ? 0xFFFF : (IV)keys);
}

/* *value: not owned, or NULL */
int perl_shim_array_fetch(void *perl, SV *array, size_t index, SV **value)
{
    dSHIM;
    SV **slot;

    if (!is_plain(array))
        return 0;
    slot = av_fetch((AV *)array, (SSize_t)index, 0);
    *value = slot ? *slot : NULL;
    return 1;
}

/* Takes the reference to `value`. */
int perl_shim_array_push(void *perl, SV *array, SV *value)
{
    dSHIM;
    if (!is_plain(array) || !is_scalar(value))
        return 0;
    av_push((AV *)array, value);
    return 1;
}

int perl_shim_array_count(void *perl, SV *array, size_t *count)
{
    dSHIM;
    if (!is_plain(array))
        return 0;
    *count = (size_t)(av_len((AV *)array) + 1);
    return 1;
}

/* ---- Trampolines ---- */

static void croak_or_leave(pTHX_ int status, SV *error)
{
    if (status == STATUS_DIED)
        sv_2mortal(error);
    perl_shim_leave(SHIM_PERL);
    if (status != STATUS_DIED)
        return;
    check_scalar(error);
    croak_sv(error);
}

XS(perl_shim_xsub)
{
    dXSARGS;
    const struct perl_shim_function *const function = CvXSUBANY(cv).any_ptr;
    const int context = GIMME_V == G_LIST ? CONTEXT_LIST
                        : GIMME_V == G_SCALAR ? CONTEXT_SCALAR : CONTEXT_VOID;
    struct perl_shim_outcome outcome = { STATUS_OK, NULL, NULL, NULL };
    SSize_t count = 0;
    SSize_t i;

    function->entry(SHIM_PERL, function, (SV *)cv, &ST(0), (size_t)items, context, &outcome);
    sv_2mortal(outcome.value);
    sv_2mortal(outcome.list);
    croak_or_leave(aTHX_ outcome.status, outcome.error);

    SPAGAIN;
    SP = PL_stack_base + ax - 1;
    if (outcome.value) {
        check_scalar(outcome.value);
        EXTEND(SP, 1);
        ST(0) = outcome.value;
        XSRETURN(1);
    }
    if (outcome.list) {
        count = av_len((AV *)outcome.list) + 1;
        EXTEND(SP, count);
        for (i = 0; i < count; i++)
            PL_stack_base[ax + i] = AvARRAY((AV *)outcome.list)[i];
    }
    XSRETURN(count);
}

void perl_shim_boot(void *perl, const char *module, perl_shim_boot_function boot)
{
    dSHIM;
    void *error = NULL;
    const int status = boot(SHIM_PERL, module, &error);

    croak_or_leave(aTHX_ status, (SV *)error);
}

/* Rust data on a value: freed with it, not carried over to a new thread. */
static int free_attachment(pTHX_ SV *sv, MAGIC *magic)
{
    struct perl_shim_attachment *const attachment = (struct perl_shim_attachment *)magic->mg_ptr;

    PERL_UNUSED_VAR(sv);
    magic->mg_ptr = NULL;
    /* Perl is freeing every value there is, in no order: what the data refers to may be gone. */
    if (!attachment || PL_in_clean_all)
        return 0;
    attachment->finish(SHIM_PERL, attachment);
    perl_shim_leave(SHIM_PERL);
    return 0;
}

#ifdef USE_ITHREADS
static int duplicate_attachment(pTHX_ MAGIC *magic, CLONE_PARAMS *parameters)
{
    PERL_UNUSED_CONTEXT;
    PERL_UNUSED_VAR(parameters);
    magic->mg_ptr = NULL;
    return 0;
}
#endif

/* `local` copies extension magic onto the new value without counting it. */
static int localize_attachment(pTHX_ SV *sv, MAGIC *magic)
{
    PERL_UNUSED_CONTEXT;
    PERL_UNUSED_VAR(sv);
    PERL_UNUSED_VAR(magic);
    return 0;
}

static MGVTBL attachment_table = {
    NULL, NULL, NULL, NULL, free_attachment, NULL,
#ifdef USE_ITHREADS
    duplicate_attachment,
#else
    NULL,
#endif
    localize_attachment
};

/* Not for a value that perl shares or protects: says 0. A value that nobody else holds, such as a new
 * object, does not look magical afterwards, so that perl stays fast on it. One that a `my` may hold has
 * to: at the end of its scope such a variable is cleared, not freed, and loses only magic that shows. */
int perl_shim_attach(void *perl, SV *sv, struct perl_shim_attachment *attachment)
{
    dSHIM;
    U32 magical;
    MAGIC *magic;

    if (SvREADONLY(sv) && SvTYPE(sv) < SVt_PVMG)
        return 0;
    magical = SvMAGICAL(sv);
    magic = sv_magicext(sv, NULL, PERL_MAGIC_ext, &attachment_table, (const char *)attachment, 0);
#ifdef USE_ITHREADS
    magic->mg_flags |= MGf_DUP;
#endif
    magic->mg_flags |= MGf_LOCAL;
    if (!magical && SvREFCNT(sv) == 1)
        SvMAGICAL_off(sv);
    return 1;
}

struct perl_shim_attachment *perl_shim_attachment(void *perl, SV *sv)
{
    dSHIM;
    MAGIC *magic;

    if (SvTYPE(sv) < SVt_PVMG)
        return NULL;
    magic = mg_findext(sv, PERL_MAGIC_ext, &attachment_table);
    return magic ? (struct perl_shim_attachment *)magic->mg_ptr : NULL;
}

/* perl runs these after it has destroyed all objects. */
static void run_exit_hook(pTHX_ void *data)
{
    struct perl_shim_attachment *const hook = (struct perl_shim_attachment *)data;

    hook->finish(SHIM_PERL, hook);
}

/* Has `hook` run at the end of the interpreter, once; says 0 where that is over. The hook stays alive for
 * good: a thread made from this one inherits it. */
int perl_shim_await_end(void *perl, struct perl_shim_attachment *hook)
{
    dSHIM;
    I32 i;

    for (i = 0; i < PL_exitlistlen; i++) {
        if (PL_exitlist[i].fn == run_exit_hook && PL_exitlist[i].ptr == hook)
            return 1;
    }
    if (PL_dirty)
        return 0;
    call_atexit(run_exit_hook, hook);
    return 1;
}

/* ---- Variables of print ---- */

/* `$,`; owned, or NULL where it is undef. */
SV *perl_shim_output_field_separator(void *perl)
{
    dSHIM;
    SV *const separator = PL_ofsgv ? GvSV(PL_ofsgv) : NULL;

    return separator && SvOK(separator) ? SvREFCNT_inc(separator) : NULL;
}

/* `$\`, also as `say` sets it; owned, or NULL where it is undef. */
SV *perl_shim_output_record_separator(void *perl)
{
    dSHIM;
    return PL_ors_sv ? SvREFCNT_inc(PL_ors_sv) : NULL;
}

/* ---- The process ---- */

int perl_shim_is_destructing(void *perl)
{
    dSHIM;
    return PL_dirty ? 1 : 0;
}

int perl_shim_descriptor_is_open(int descriptor)
{
    return fcntl(descriptor, F_GETFD) != -1;
}

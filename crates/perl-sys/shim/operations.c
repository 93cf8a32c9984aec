/* The guarded operations: all that may run Perl code or die, but for calls. */

#include "shim.h"

/* ---- Helpers of several ---- */

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

/* other: a name; flag: a referent kind -> result: the variable, glob or package, made if need be */
static void variable(pTHX_ struct perl_shim_work *work)
{
    const char *const name = SvPV_nolen(work->other);
    const I32 create = GV_ADD | (SvUTF8(work->other) ? SVf_UTF8 : 0);
    SV *found;

    if (work->flag == REFERENT_GLOB)
        found = (SV *)gv_fetchsv(work->other, GV_ADD, SVt_PV);
    else if (work->flag == REFERENT_STASH)
        found = (SV *)gv_stashsv(work->other, GV_ADD);
    else if (work->flag == REFERENT_HASH)
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
    /* Nor may a warning become an exception then. The statement is the guard's own copy. */
    ((COP *)PL_curcop)->cop_warnings = pWARN_NONE;
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
    status = perl_shim_guarded(aTHX_ &call);
    work->error = call.error;
    /* Plain values: freeing them runs nothing. */
    SvREFCNT_dec(argument);
    SvREFCNT_dec((SV *)sub);
    return status;
}

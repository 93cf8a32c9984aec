/* Elements of hashes that Rust makes when they are first asked for.
 *
 * Two kinds of magic see to that. One on the hash is told of every key that is looked up, so that whoever
 * asks for the element finds the plain value, C code that knows nothing of magic included. One on the element
 * makes the value when it is read in another way, as `values` does, and then removes itself. */

#include "shim.h"

/* ---- The magic of the element ---- */

/* Until it is made, such a value is a reference to this empty hash, so that what looks at it without
 * reading it, as `weaken` does, sees a reference. One for the interpreter that this thread used last. */
static SHIM_THREAD_LOCAL struct {
    int filled;
    void *perl;
    SV *hash;
} placeholder_cache;

static void forget_placeholder(pTHX_ void *unused)
{
    PERL_UNUSED_VAR(unused);
    if (placeholder_cache.perl == SHIM_PERL)
        placeholder_cache.filled = 0;
}

/* Owned. Not kept once the interpreter is on its way out: nothing would tell that it has gone. */
static SV *placeholder(pTHX)
{
    SV *hash;

    if (placeholder_cache.filled && placeholder_cache.perl == SHIM_PERL)
        return SvREFCNT_inc(placeholder_cache.hash);

    hash = (SV *)newHV();
    SvREADONLY_on(hash);
    if (PL_dirty)
        return hash;
    placeholder_cache.filled = 1;
    placeholder_cache.perl = SHIM_PERL;
    placeholder_cache.hash = hash;
    call_atexit(forget_placeholder, NULL);
    return SvREFCNT_inc(hash);
}

static struct perl_shim_lazy *take(MAGIC *magic)
{
    struct perl_shim_lazy *const lazy = (struct perl_shim_lazy *)magic->mg_ptr;

    magic->mg_ptr = NULL;
    return lazy;
}

static void drop(pTHX_ struct perl_shim_lazy *lazy)
{
    if (!lazy || PL_in_clean_all)
        return;
    lazy->finish(SHIM_PERL, lazy);
    perl_shim_go_on(aTHX);
}

static MGVTBL lazy_table;
static MGVTBL spent_table;

/* Perl's loop over the magic of a value goes on with this entry, so it cannot be freed where there are
 * more: without functions it does nothing, and MGf_GSKIP has mg_get compute the flags anew. */
static void disarm(pTHX_ SV *sv)
{
    MAGIC *const magic = mg_findext(sv, PERL_MAGIC_ext, &lazy_table);

    if (!magic)
        return;
    if (SvMAGIC(sv) == magic && !magic->mg_moremagic) {
        sv_unmagicext(sv, PERL_MAGIC_ext, &lazy_table);
        return;
    }
    magic->mg_virtual = &spent_table;
    magic->mg_flags |= MGf_GSKIP;
}

/* What was made becomes the value. */
static void assign_made(pTHX_ SV *sv, struct perl_shim_outcome *outcome)
{
    if (!outcome->value)
        return;
    if (is_scalar(outcome->value)) {
        sv_setsv(sv, outcome->value);
        return;
    }
    outcome->status = STATUS_DIED;
    outcome->error = newSVsv(Perl_mess(aTHX_ "%s", NOT_A_SCALAR));
}

/* The value is read. Whoever weakened it unread let go of the only reference there was. To assign may add
 * magic, that of a tainted value, say: so this one is taken off at the end, where perl sees that it has gone.
 * `exit` has let go of the value itself. */
static int make_value(pTHX_ SV *sv, MAGIC *magic)
{
    struct perl_shim_lazy *const lazy = take(magic);
    const bool was_weakened = SvROK(sv) && SvWEAKREF(sv);
    struct perl_shim_outcome outcome = { STATUS_OK, NULL, NULL, NULL };

    sv_setsv(sv, &PL_sv_undef);
    if (was_weakened)
        drop(aTHX_ lazy);
    else if (lazy)
        lazy->make(SHIM_PERL, lazy, &outcome);
    sv_2mortal(outcome.value);
    if (!perl_shim_exit_is_pending(SHIM_PERL)) {
        assign_made(aTHX_ sv, &outcome);
        disarm(aTHX_ sv);
    }
    perl_shim_croak_or_leave(aTHX_ outcome.status, outcome.error);
    return 0;
}

/* Something was assigned to it. */
static int forget_value(pTHX_ SV *sv, MAGIC *magic)
{
    struct perl_shim_lazy *const lazy = take(magic);

    disarm(aTHX_ sv);
    drop(aTHX_ lazy);
    return 0;
}

static int free_value(pTHX_ SV *sv, MAGIC *magic)
{
    PERL_UNUSED_VAR(sv);
    drop(aTHX_ take(magic));
    return 0;
}

static MGVTBL lazy_table = {
    make_value, forget_value, NULL, NULL, free_value, NULL, SHIM_LEAVE_IN_THREAD, perl_shim_leave_out
};

static MGVTBL spent_table = {
    NULL, NULL, NULL, NULL, NULL, NULL, SHIM_LEAVE_IN_THREAD, perl_shim_leave_out
};

/* ---- The magic of the hash ---- */

static MAGIC *unmade_magic(pTHX_ SV *sv)
{
    MAGIC *magic;

    if (!is_scalar(sv) || SvTYPE(sv) < SVt_PVMG)
        return NULL;
    magic = mg_findext(sv, PERL_MAGIC_ext, &lazy_table);
    return magic && magic->mg_ptr ? magic : NULL;
}

bool perl_shim_is_unread(pTHX_ SV *sv)
{
    const MAGIC *const magic = unmade_magic(aTHX_ sv);

    return magic && SvMAGIC(sv) == magic && !magic->mg_moremagic && SvGMAGICAL(sv) && SvROK(sv)
           && !SvWEAKREF(sv) && !SvREADONLY(sv) && !SvOBJECT(sv);
}

static SV *element(pTHX_ HV *hash, SV *key)
{
    HE *const entry = (HE *)hv_common(hash, key, NULL, 0, 0, HV_DISABLE_UVAR_XKEY, NULL, 0);

    return entry ? HeVAL(entry) : NULL;
}

/* Called with each key that is looked up (perlguts has it from Hash::Util::FieldHash). Asking whether it
 * exists, storing and throwing away want no value. */
static I32 key_is_wanted(pTHX_ IV action, SV *hash)
{
    MAGIC *magic = mg_find(hash, PERL_MAGIC_uvar);
    SV *const key = magic ? magic->mg_obj : NULL;
    SV *value;

    if (!key || (action & (action & HV_DELETE ? G_DISCARD : HV_FETCH_ISEXISTS | HV_FETCH_ISSTORE)))
        return 0;
    value = element(aTHX_ (HV *)hash, key);
    if (!value || !unmade_magic(aTHX_ value))
        return 0;

    /* Perl keeps the key there for the time of this call only, which may end in an exception. */
    magic->mg_obj = NULL;
    /* Nor need any of these live as long by themselves: perl goes on with the hash and the key. */
    sv_2mortal(SvREFCNT_inc(hash));
    sv_2mortal(SvREFCNT_inc(key));
    sv_2mortal(SvREFCNT_inc(value));
    mg_get(value);
    magic = mg_find(hash, PERL_MAGIC_uvar);
    if (magic)
        magic->mg_obj = key;
    return 0;
}

bool perl_shim_tells_of_keys(const MAGIC *magic)
{
    return magic->mg_type == PERL_MAGIC_uvar && magic->mg_ptr
           && ((const struct ufuncs *)magic->mg_ptr)->uf_val == key_is_wanted;
}

static void watch(pTHX_ SV *hash)
{
    struct ufuncs functions = { key_is_wanted, NULL, 0 };
    MAGIC *const magic = SvTYPE(hash) >= SVt_PVMG ? mg_find(hash, PERL_MAGIC_uvar) : NULL;

    if (!magic)
        sv_magic(hash, NULL, PERL_MAGIC_uvar, (const char *)&functions, sizeof functions);
}

static SV *new_lazy(pTHX_ struct perl_shim_lazy *lazy)
{
    SV *const sv = newSV_type(SVt_PVMG);
    MAGIC *magic;

    SvRV_set(sv, placeholder(aTHX));
    SvROK_on(sv);
    magic = sv_magicext(sv, NULL, PERL_MAGIC_ext, &lazy_table, (const char *)lazy, 0);
#ifdef USE_ITHREADS
    magic->mg_flags |= MGf_DUP;
#endif
    magic->mg_flags |= MGf_LOCAL;
    return sv;
}

/* An element for a hash that is not tied, to be stored there; owned. */
SV *perl_shim_new_lazy(void *perl, SV *hash, struct perl_shim_lazy *lazy)
{
    dSHIM;
    watch(aTHX_ hash);
    return new_lazy(aTHX_ lazy);
}

/* What the value will be made of, or NULL if that has been done; not owned. */
struct perl_shim_lazy *perl_shim_unmade(void *perl, SV *sv)
{
    dSHIM;
    MAGIC *const magic = unmade_magic(aTHX_ sv);

    return magic ? (struct perl_shim_lazy *)magic->mg_ptr : NULL;
}

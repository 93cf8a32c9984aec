/* The plain functions: making values, looking at them and storing them, where that cannot run Perl code
 * or die. */

#include "shim.h"
#include <fcntl.h>

/* ---- Making values. All results are owned. ---- */

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

/* A string that is among the keys perl shares, and so need not be hashed when a hash is asked for it. */
SV *perl_shim_new_shared_key(void *perl, const char *bytes, size_t length)
{
    dSHIM;
    return newSVpvn_share(length ? bytes : "", (I32)length, 0);
}

int perl_shim_is_perl_utf8(void *perl, const char *bytes, size_t length)
{
    dSHIM;
    return length == 0 || is_utf8_string((const U8 *)bytes, length);
}

/* ---- Reference counts ---- */

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
static bool is_freed_quietly(SV *sv)
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
    if (SvREFCNT(sv) <= 1 && !is_freed_quietly(sv))
        return 0;
    SvREFCNT_dec_NN(sv);
    return 1;
}

/* ---- Looking at values ---- */

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

/* ---- References, objects and globs ---- */

/* Says 0 where that may die, warn or free something. */
int perl_shim_weaken_plain(void *perl, SV *sv)
{
    dSHIM;
    if (SvTYPE(sv) > SVt_PVMG || SvREADONLY(sv) || !SvROK(sv) || SvWEAKREF(sv))
        return 0;
    if (SvREFCNT(SvRV(sv)) <= 1)
        return 0;
    sv_rvweaken(sv);
    return 1;
}

/* Blesses what is no object yet into a package, by its stash. Says 0 where that may die. */
int perl_shim_bless_plain(void *perl, SV *referent, SV *stash)
{
    dSHIM;
    SV *reference;

    if (SvREADONLY(referent) || SvOBJECT(referent) || !HvNAME_get((HV *)stash))
        return 0;
#ifdef HvSTASH_IS_CLASS
    if (HvSTASH_IS_CLASS((HV *)stash))
        return 0;
#endif
    reference = newRV_inc(referent);
    sv_bless(reference, (HV *)stash);
    SvREFCNT_dec_NN(reference);
    return 1;
}

/* The scalar variable of a glob, as it is now; not owned, or NULL if somebody took the glob apart. */
SV *perl_shim_glob_scalar(void *perl, SV *glob)
{
    dSHIM;
    return isGV_with_GP(glob) ? GvSVn((GV *)glob) : NULL;
}

/* ---- Hashes and arrays without magic or restrictions ---- */

/* Magic that only hangs there has no part in what is done to the container. */
static bool is_plain(SV *container)
{
    const MAGIC *magic;

    if (SvREADONLY(container))
        return FALSE;
    if (!SvMAGICAL(container))
        return TRUE;
    for (magic = SvMAGIC(container); magic; magic = magic->mg_moremagic) {
        if (magic->mg_type != PERL_MAGIC_ext && magic->mg_type != PERL_MAGIC_backref
            && !perl_shim_tells_of_keys(magic))
            return FALSE;
    }
    return TRUE;
}

/* What the functions of hv.h do, past what hangs on the hash. */
static void *at_key(pTHX_ SV *hash, const struct perl_shim_key *key, int action, SV *value)
{
    const U32 magical = SvMAGICAL(hash);
    void *result;

    SvMAGICAL_off(hash);
    result = hv_common((HV *)hash, key->shared, key->bytes, (STRLEN)key->length,
                       key->utf8 ? HVhek_UTF8 : 0, action, value, 0);
    SvFLAGS(hash) |= magical;
    return result;
}

/* Looks for a key that perl shares by its address; *slot: its value, or NULL. Says no if the hash may have the key at another
 * address. */
static bool find_shared(pTHX_ SV *hash, SV *key, SV ***slot)
{
    const HEK *const shared = SvSHARED_HEK_FROM_PV(SvPVX_const(key));
    HE *entry = NULL;

#ifdef HvREHASH
    if (HvREHASH((HV *)hash))
        return FALSE;
#endif
    *slot = NULL;
    if (HvARRAY((HV *)hash))
        entry = HvARRAY((HV *)hash)[HEK_HASH(shared) & (U32)HvMAX((HV *)hash)];
    for (; entry; entry = HeNEXT(entry)) {
        if (HeKEY_hek(entry) == shared) {
            *slot = HeVAL(entry) == &PL_sv_placeholder ? NULL : &HeVAL(entry);
            return TRUE;
        }
        if (HeHASH(entry) == HEK_HASH(shared))
            return FALSE;
    }
    return TRUE;
}

static SV **slot_of(pTHX_ SV *hash, const struct perl_shim_key *key)
{
    SV **slot;

    if (key->shared && find_shared(aTHX_ hash, key->shared, &slot))
        return slot;
    return (SV **)at_key(aTHX_ hash, key, HV_FETCH_JUST_SV, NULL);
}

/* The functions of this section say 0, and do nothing, when the container is not plain, or what is to be
 * stored no scalar. */

/* *value: not owned, or NULL */
int perl_shim_hash_fetch(void *perl, SV *hash, const struct perl_shim_key *key, SV **value)
{
    dSHIM;
    SV **slot;

    if (!is_plain(hash))
        return 0;
    slot = slot_of(aTHX_ hash, key);
    *value = slot ? *slot : NULL;
    return 1;
}

/* Takes the reference to `value`; *replaced: what was there, owned, or NULL. hv_store would free that,
 * and so perhaps run code. */
int perl_shim_hash_store(void *perl, SV *hash, const struct perl_shim_key *key, SV *value,
                         SV **replaced)
{
    dSHIM;
#ifdef HV_FETCH_EMPTY_HE
    HE *entry;
#else
    SV **slot;
#endif

    if (!is_plain(hash) || !is_scalar(value))
        return 0;
#ifdef HV_FETCH_EMPTY_HE
    /* One look at the hash for both: the entry, with NULL in it if it is new. */
    entry = (HE *)at_key(aTHX_ hash, key, HV_FETCH_LVALUE | HV_FETCH_EMPTY_HE, NULL);
    *replaced = HeVAL(entry);
    HeVAL(entry) = value;
#else
    slot = slot_of(aTHX_ hash, key);
    *replaced = slot ? *slot : NULL;
    if (slot)
        *slot = value;
    else
        (void)at_key(aTHX_ hash, key, HV_FETCH_ISSTORE | HV_FETCH_JUST_SV, value);
#endif
    return 1;
}

/* *value: owned, or NULL */
int perl_shim_hash_delete(void *perl, SV *hash, const struct perl_shim_key *key, SV **value)
{
    dSHIM;
    SV **slot;

    if (!is_plain(hash))
        return 0;
    slot = slot_of(aTHX_ hash, key);
    *value = slot ? SvREFCNT_inc(*slot) : NULL;
    if (slot)
        (void)at_key(aTHX_ hash, key, HV_DELETE | G_DISCARD, NULL);
    return 1;
}

int perl_shim_hash_exists(void *perl, SV *hash, const struct perl_shim_key *key, int *exists)
{
    dSHIM;
    if (!is_plain(hash))
        return 0;
    *exists = at_key(aTHX_ hash, key, HV_FETCH_ISEXISTS, NULL) ? 1 : 0;
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

/* Whether an object can be made another one of its class: what of it is still as it was made. */

#include "shim.h"

/* ---- Destructors ---- */

/* What was found last, until subs are defined or classes change. */
static SHIM_THREAD_LOCAL struct {
    int filled;
    void *perl;
    HV *stash;
    U32 generation;
    bool found;
} destructor_cache;

static U32 generation_of(pTHX_ HV *stash)
{
    const struct mro_meta *const meta = HvAUX(stash)->xhv_mro_meta;

    return PL_sub_generation + (meta ? meta->pkg_gen + meta->cache_gen : 0);
}

/* A stash has a name, and so what HvAUX asks for. */
static bool has_destructor(pTHX_ HV *stash)
{
    const U32 generation = generation_of(aTHX_ stash);

    if (destructor_cache.filled && destructor_cache.perl == SHIM_PERL
        && destructor_cache.stash == stash && destructor_cache.generation == generation)
        return destructor_cache.found;

    destructor_cache.found = gv_fetchmeth_autoload(stash, "DESTROY", 7, 0) != NULL;
    destructor_cache.filled = 1;
    destructor_cache.perl = SHIM_PERL;
    destructor_cache.stash = stash;
    /* Looking it up may have made the class's own notes. */
    destructor_cache.generation = generation_of(aTHX_ stash);
    return destructor_cache.found;
}

/* ---- Values ---- */

/* What is used again holds no more memory than this: bytes of a scalar, bytes of a hash that is filled again, places of a
 * container. It has data of an earlier use in it. */
enum { MOST_IN_SCALAR = 256, MOST_IN_HASH = 8192, MOST_PLACES = 64 };

/* Bytes that were got for a string. */
static size_t string_space(SV *sv)
{
    return SvTYPE(sv) >= SVt_PV ? SvLEN(sv) : 0;
}

/* Magic, or a class: to assign or to let go of it may run code. */
static bool has_magic_or_class(SV *sv)
{
    return SvTYPE(sv) >= SVt_PVMG && (SvMAGICAL(sv) || SvMAGIC(sv) || SvOBJECT(sv));
}

/* Weak references to a hash, its iterator, a name. */
static bool has_more(HV *hash)
{
#ifdef HvHasAUX
    return HvHasAUX(hash);
#else
    return SvOOK(hash);
#endif
}

/* To assign a number to it does that and nothing else. */
static bool is_plain(SV *sv)
{
    return SvTYPE(sv) <= SVt_PVMG && !has_magic_or_class(sv) && !SvROK(sv) && !SvREADONLY(sv);
}

static bool is_own_reference(SV *sv)
{
    return SvREFCNT(sv) == 1 && SvTYPE(sv) <= SVt_PVMG && !has_magic_or_class(sv) && SvROK(sv)
           && !SvREADONLY(sv);
}

static bool is_bare(SV *container)
{
    return SvREFCNT(container) == 1 && !has_magic_or_class(container) && !SvREADONLY(container);
}

static bool is_empty_hash(SV *sv)
{
    return SvTYPE(sv) == SVt_PVHV && is_bare(sv) && !has_more((HV *)sv) && !HvTOTALKEYS((HV *)sv)
           && HvMAX((HV *)sv) < MOST_PLACES;
}

static bool is_empty_array(SV *sv)
{
    return SvTYPE(sv) == SVt_PVAV && is_bare(sv) && AvREAL((AV *)sv) && AvFILLp((AV *)sv) < 0
           && AvARRAY((AV *)sv) - AvALLOC((AV *)sv) + AvMAX((AV *)sv) < MOST_PLACES;
}

static bool is_as_made(pTHX_ SV *sv, const struct perl_shim_element *element)
{
    switch (element->kind) {
    case ELEMENT_SCALAR:
        return SvREFCNT(sv) == 1 && is_plain(sv) && string_space(sv) <= MOST_IN_SCALAR;
    case ELEMENT_EMPTY_HASH:
        return is_own_reference(sv) && !SvWEAKREF(sv) && is_empty_hash(SvRV(sv));
    case ELEMENT_EMPTY_ARRAY:
        return is_own_reference(sv) && !SvWEAKREF(sv) && is_empty_array(SvRV(sv));
    case ELEMENT_WEAK:
        return is_own_reference(sv) && SvWEAKREF(sv) && SvRV(sv) == element->referent;
    default:
        return SvREFCNT(sv) == 1 && perl_shim_is_unread(aTHX_ sv);
    }
}

/* ---- The object ---- */

static bool is_own_object(pTHX_ SV *hash, HV *stash)
{
    const MAGIC *const magic = SvMAGIC(hash);

    return SvREFCNT(hash) == 1 && SvOBJECT(hash) && SvSTASH(hash) == stash && HvNAME_get(stash)
           && !SvREADONLY(hash) && !has_more((HV *)hash)
           && HvMAX((HV *)hash) < MOST_PLACES && magic && !magic->mg_moremagic
           && perl_shim_tells_of_keys(magic) && !has_destructor(aTHX_ stash);
}

/* The element with this key among those from `from` on, of which it becomes the first: objects of one class mostly have their
 * keys in the same order, so that it is there already the next time. NULL if there is none. */
static struct perl_shim_element *find(struct perl_shim_element *elements, size_t count, size_t from,
                                      const HEK *key)
{
    size_t i;

    for (i = from; i < count; i++) {
        if (SvSHARED_HEK_FROM_PV(SvPVX_const(elements[i].key)) == key) {
            const struct perl_shim_element found = elements[i];

            elements[i] = elements[from];
            elements[from] = found;
            return &elements[from];
        }
    }
    return NULL;
}

/* Says 0 unless `hash` is an object of this class with lazy elements, that nobody but the caller knows in any way, and
 * all of its keys are among those of `elements`. The bit of *intact is on for each element that is there as it was made,
 * and that nobody else has. The order of `elements` changes. */
int perl_shim_examine(void *perl, SV *hash, SV *stash, struct perl_shim_element *elements,
                      size_t count, uint64_t *intact)
{
    dSHIM;
    STRLEN bucket;
    size_t keys = 0;

    *intact = 0;
    if (!is_own_object(aTHX_ hash, (HV *)stash))
        return 0;
    for (bucket = 0; HvARRAY((HV *)hash) && bucket <= HvMAX((HV *)hash); bucket++) {
        const HE *entry;

        for (entry = HvARRAY((HV *)hash)[bucket]; entry; entry = HeNEXT(entry), keys++) {
            struct perl_shim_element *const element = find(elements, count, keys, HeKEY_hek(entry));

            if (!element)
                return 0;
            element->value = HeVAL(entry);
            if (is_as_made(aTHX_ HeVAL(entry), element))
                *intact |= (uint64_t)1 << element->bit;
        }
    }
    /* A cheap cross-check. */
    return keys == (size_t)HvTOTALKEYS((HV *)hash);
}

/* ---- Hashes ---- */

/* Perl's copy of a key stays where it is as long as somebody has this; NULL for one that perl does not share. Owned. */
static SV *keep_key(pTHX_ HEK *key)
{
    SV *const keeper = newSVhek(key);

    if (SvIsCOW_shared_hash(keeper) && SvSHARED_HEK_FROM_PV(SvPVX_const(keeper)) == key)
        return keeper;
    SvREFCNT_dec_NN(keeper);
    return NULL;
}

/* The elements of a hash in the order in which it has them, which are `count` at most; returns how many there are. The
 * caller owns the keepers of the keys. */
size_t perl_shim_elements(void *perl, SV *hash, struct perl_shim_place *places, size_t count)
{
    dSHIM;
    STRLEN bucket;
    size_t found = 0;

    for (bucket = 0; HvARRAY((HV *)hash) && bucket <= HvMAX((HV *)hash); bucket++) {
        const HE *entry;

        for (entry = HvARRAY((HV *)hash)[bucket]; entry; entry = HeNEXT(entry)) {
            if (found < count) {
                places[found].keeper = keep_key(aTHX_ HeKEY_hek(entry));
                places[found].key = places[found].keeper ? HeKEY_hek(entry) : NULL;
                places[found].value = HeVAL(entry);
            }
            found++;
        }
    }
    return found;
}

/* Whether the hash has these elements still, and no others, that nobody has it or one of its values but the caller the
 * hash, that assigning to a value does nothing else, and that it is not large. Their keys have to be kept: else another key could be where one of
 * them was. */
int perl_shim_is_unchanged(void *perl, SV *hash, const struct perl_shim_place *places, size_t count)
{
    dSHIM;
    STRLEN bucket;
    size_t i = 0, space;

    if (SvTYPE(hash) != SVt_PVHV || !is_bare(hash) || has_more((HV *)hash)
        || HvTOTALKEYS((HV *)hash) != count)
        return 0;
    space = ((size_t)HvMAX((HV *)hash) + 1) * sizeof(HE *);
    for (bucket = 0; HvARRAY((HV *)hash) && bucket <= HvMAX((HV *)hash); bucket++) {
        const HE *entry;

        for (entry = HvARRAY((HV *)hash)[bucket]; entry; entry = HeNEXT(entry), i++) {
            if (i == count || places[i].key != HeKEY_hek(entry) || places[i].value != HeVAL(entry)
                || SvREFCNT(HeVAL(entry)) != places[i].keys || !is_plain(HeVAL(entry)))
                return 0;
            space += (size_t)HeKLEN(entry) + string_space(HeVAL(entry)) / places[i].keys;
        }
    }
    return space <= MOST_IN_HASH;
}

/* ---- Scalars that are used again ---- */

/* These say 0, and do nothing, where to assign is more than that. */

int perl_shim_set_integer(void *perl, SV *sv, int64_t value)
{
    dSHIM;
    if (!is_plain(sv) || value < (int64_t)IV_MIN || value > (int64_t)IV_MAX)
        return 0;
    sv_setiv(sv, (IV)value);
    return 1;
}

int perl_shim_set_unsigned(void *perl, SV *sv, uint64_t value)
{
    dSHIM;
    if (!is_plain(sv) || value > (uint64_t)UV_MAX)
        return 0;
    sv_setuv(sv, (UV)value);
    return 1;
}

int perl_shim_set_number(void *perl, SV *sv, double value)
{
    dSHIM;
    if (!is_plain(sv))
        return 0;
    sv_setnv(sv, (NV)value);
    return 1;
}

/* These bytes as a string, and nothing else. */
static bool has_string(SV *sv, const char *bytes, size_t length)
{
    return (SvFLAGS(sv) & (SVf_IOK | SVf_NOK | SVf_POK | SVp_IOK | SVp_NOK | SVp_POK | SVf_UTF8))
               == (SVf_POK | SVp_POK)
           && SvCUR(sv) == length && memcmp(SvPVX_const(sv), bytes, length) == 0;
}

int perl_shim_set_string(void *perl, SV *sv, const char *bytes, size_t length)
{
    dSHIM;
    if (!is_plain(sv))
        return 0;
    /* What a client says of itself is mostly the same in its next request. */
    if (has_string(sv, bytes, length))
        return 1;
    sv_setpvn(sv, length ? bytes : "", length);
    SvUTF8_off(sv);
    return 1;
}

int perl_shim_set_undef(void *perl, SV *sv)
{
    dSHIM;
    if (!is_plain(sv))
        return 0;
    sv_setsv(sv, &PL_sv_undef);
    return 1;
}

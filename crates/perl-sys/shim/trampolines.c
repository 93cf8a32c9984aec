/* The ways from Perl into Rust: subs, boot, what hangs on values, the end of the interpreter. */

#include "shim.h"

/* ---- Subs and boot ---- */

void perl_shim_croak_or_leave(pTHX_ int status, SV *error)
{
    if (status == STATUS_DIED)
        sv_2mortal(error);
    perl_shim_go_on(aTHX);
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
    perl_shim_croak_or_leave(aTHX_ outcome.status, outcome.error);

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
    int status;

    perl_shim_guard_signals(aTHX);
    status = boot(SHIM_PERL, module, &error);
    perl_shim_croak_or_leave(aTHX_ status, (SV *)error);
}

/* ---- Rust data on values ---- */

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
    perl_shim_go_on(aTHX);
    return 0;
}

#ifdef USE_ITHREADS
int perl_shim_leave_in_thread(pTHX_ MAGIC *magic, CLONE_PARAMS *parameters)
{
    PERL_UNUSED_CONTEXT;
    PERL_UNUSED_VAR(parameters);
    magic->mg_ptr = NULL;
    return 0;
}
#endif

int perl_shim_leave_out(pTHX_ SV *sv, MAGIC *magic)
{
    PERL_UNUSED_CONTEXT;
    PERL_UNUSED_VAR(sv);
    PERL_UNUSED_VAR(magic);
    return 0;
}

static MGVTBL attachment_table = {
    NULL, NULL, NULL, NULL, free_attachment, NULL, SHIM_LEAVE_IN_THREAD, perl_shim_leave_out
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

/* ---- The end of the interpreter ---- */

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

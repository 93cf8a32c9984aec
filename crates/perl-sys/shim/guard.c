/* The guard: calls of Perl code that nothing leaves but a status, and `exit` held back until Rust has
 * returned. */

#include "shim.h"
#include <stdlib.h>

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

void perl_shim_go_on(pTHX)
{
    struct pending held = pending;

    if (!held.jump)
        return;
    pending.jump = 0;
    if (held.jump == 2)
        my_exit((U32)held.exit_status);
    PL_restartop = held.restart_op;
    PL_restartjmpenv = held.restart_environment;
    JMPENV_JUMP(held.jump);
}

void perl_shim_leave(void *perl)
{
    dSHIM;

    perl_shim_go_on(aTHX);
    perl_shim_run_deferred(aTHX);
}

int perl_shim_exit_is_pending(void *perl)
{
    PERL_UNUSED_VAR(perl);
    return pending.jump != 0;
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

/* Whether `$@` has nothing to keep: after the call it is cleared again. */
static bool is_clear(SV *error)
{
    return SvREFCNT(error) == 1 && SvPOK(error) && SvCUR(error) == 0 && !SvROK(error)
           && !SvMAGICAL(error) && !SvREADONLY(error);
}

/* The call inside the guard. A stack of its own keeps `last`, `next` and `return` in; `$@` is the
 * caller's, so what it has is kept; G_EVAL holds exceptions. */
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
    if (!is_clear(ERRSV))
        save_scalar(PL_errgv);

    PUSHMARK(SP);
    EXTEND(SP, (SSize_t)call->count);
    for (i = 0; i < call->count; i++)
        PUSHs(call->arguments[i]);
    PUTBACK;
    count = call_sv(call->callable, context | G_EVAL | (call->method ? G_METHOD : 0));

    if (is_exception(ERRSV)) {
        error = newSVsv(ERRSV);
        CLEAR_ERRSV();
    }
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

int perl_shim_guarded(pTHX_ struct perl_shim_call *call)
{
    struct pending before = pending;
    COP *const statement = PL_curcop;
    OP *const op = PL_op;
    struct statement *const copy = copy_statement(statement);
    void *const entry = perl_shim_entry();
    /* Set and read on both sides of longjmp. */
    volatile int status = STATUS_EXITED;
    int jump;
    dJMPENV;

    call->result = call->error = NULL;
    /* An XSUB of ours that runs inside must not go on with an exit from outside. */
    pending.jump = 0;
    JMPENV_PUSH(jump);
    if (jump == 0) {
        perl_shim_return(NULL);
        PL_curcop = &copy->cop;
        status = call_on_own_stack(aTHX_ call);
        PL_curcop = statement;
    }
    perl_shim_return(entry);
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
            call->error = newSVpv(NOT_A_SCALAR, 0);
            return STATUS_DIED;
        }
    }
    return perl_shim_guarded(aTHX_ call);
}

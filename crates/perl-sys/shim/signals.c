/* Signals that come while Rust runs. None of perl's handlers may run then: what it calls could come back into
 * Rust that is not ready for it, and what it throws would unwind Rust's frames. Perl's own immediate handlers
 * (POSIX::sigaction without `safe`) therefore wait until Rust is left, as the others do anyway; and perl's
 * exception for too many that wait is not thrown.
 *
 * Rust runs from where it is entered until it is left, but for the time of the guard, by which every way from
 * Rust back into Perl goes. A thread of Coro gives way in Perl alone, so whichever goes on finds that Rust does
 * not run. */

#include "shim.h"
#include <signal.h>

/* Below the number at which perl gives up (SIG_PENDING_DIE_COUNT). What is not counted is not lost: perl
 * looks at every signal when it looks at any. */
#define MOST_PENDING 100

/* Since 5.32 perl has handlers of one and of three arguments; before, with sigaction(2), of three. */
#define HAS_HANDLERS_OF_ONE (PERL_REVISION == 5 && PERL_VERSION >= 32)
#if !HAS_HANDLERS_OF_ONE
typedef Sighandler_t Sighandler3_t;
#endif

/* ---- Whether Rust runs ---- */

/* The environment for jumps (JMPENV) of then, NULL where Rust does not run. Where there is another one by now, Rust
 * is being left or has not been entered yet. */
static SHIM_SIGNAL_LOCAL JMPENV *volatile entered_from;

void *perl_shim_enter(void *perl)
{
    JMPENV *const outer = entered_from;
    dSHIM;

    entered_from = PL_top_env;
    return outer;
}

void perl_shim_return(void *outer)
{
    entered_from = outer;
}

void *perl_shim_entry(void)
{
    return entered_from;
}

/* ---- Waiting ---- */

static SHIM_SIGNAL_LOCAL volatile sig_atomic_t has_deferred;

static bool is_in_rust(void)
{
    JMPENV *const environment = entered_from;

    if (!environment)
        return FALSE;
    {
        dTHX;
        return PL_top_env == environment;
    }
}

static void note_pending(int number)
{
    dTHX;

    if (!PL_psig_pend)
        return;
    PL_psig_pend[number]++;
    if (PL_sig_pending < MOST_PENDING)
        PL_sig_pending++;
}

/* What the running instruction has caused comes again at once if it is put off. */
static bool is_synchronous(int number)
{
    return number == SIGSEGV || number == SIGBUS || number == SIGILL || number == SIGFPE;
}

static bool defer(int number)
{
    if (is_synchronous(number) || !is_in_rust())
        return FALSE;
    note_pending(number);
    has_deferred = 1;
    return TRUE;
}

/* Perl's handlers that wait for the end of an operation (`safe`) stay perl's business, but for its
 * exception; with PERL_SIGNALS=unsafe they are immediate. */
static bool absorb(int number)
{
    if (is_synchronous(number) || !is_in_rust())
        return FALSE;
    {
        dTHX;
        if (PL_signals & PERL_SIGNALS_UNSAFE_FLAG)
            return defer(number);
    }
    note_pending(number);
    return TRUE;
}

void perl_shim_run_deferred(pTHX)
{
    if (!has_deferred || is_in_rust())
        return;
    has_deferred = 0;
    PERL_ASYNC_CHECK();
}

/* ---- In the place of perl's ---- */

static despatch_signals_proc_t perls_dispatch;

static void count_pending(pTHX_ void *unused)
{
    int number;

    PERL_UNUSED_VAR(unused);
    for (number = 1; number < SIG_SIZE; number++)
        if (PL_psig_pend[number])
            PL_sig_pending = 1;
}

/* Perl counts none any more before it runs the first handler: were that to die, the others would wait until
 * another signal comes. */
static void dispatch(pTHX)
{
    ENTER;
    SAVEDESTRUCTOR_X(count_pending, NULL);
    perls_dispatch(aTHX);
    LEAVE;
}

static Sighandler3_t perls_safe;
static Sighandler3_t perls_immediate;

static Signal_t on_safe(int number, siginfo_t *information, void *context)
{
    if (!absorb(number))
        perls_safe(number, information, context);
}

static Signal_t on_immediate(int number, siginfo_t *information, void *context)
{
    if (!defer(number))
        perls_immediate(number, information, context);
}

#if HAS_HANDLERS_OF_ONE

static Sighandler1_t perls_safe_of_one;
static Sighandler1_t perls_immediate_of_one;

static Signal_t on_safe_of_one(int number)
{
    if (!absorb(number))
        perls_safe_of_one(number);
}

static Signal_t on_immediate_of_one(int number)
{
    if (!defer(number))
        perls_immediate_of_one(number);
}

static void note_perls(pTHX)
{
    perls_dispatch = PL_signalhook;
    perls_safe = PL_csighandler3p;
    perls_immediate = PL_sighandler3p;
    perls_safe_of_one = PL_csighandler1p;
    perls_immediate_of_one = PL_sighandler1p;
}

/* Not PL_sighandlerp, by which perl runs those that have waited. */
static void replace_of_interpreter(pTHX)
{
    PL_signalhook = dispatch;
    PL_sighandler3p = on_immediate;
    PL_sighandler1p = on_immediate_of_one;
}

static void replace_of_process(void)
{
    PL_csighandler3p = on_safe;
    PL_csighandler1p = on_safe_of_one;
#  ifdef PERL_USE_3ARG_SIGHANDLER
    PL_csighandlerp = on_safe;
#  else
    PL_csighandlerp = on_safe_of_one;
#  endif
}

#else

static void note_perls(pTHX)
{
    perls_dispatch = PL_signalhook;
    perls_safe = PL_csighandlerp;
    perls_immediate = PL_sighandlerp;
}

static void replace_of_interpreter(pTHX)
{
    PL_signalhook = dispatch;
    PL_sighandlerp = on_immediate;
}

static void replace_of_process(void)
{
    PL_csighandlerp = on_safe;
}

#endif

/* ---- Handlers that are there before ---- */

typedef void (*any_handler)(int);

/* Ours for a handler of perl's, or NULL. */
static any_handler replacement(any_handler handler)
{
    if (handler == (any_handler)perls_safe || handler == (any_handler)Perl_csighandler)
        return (any_handler)on_safe;
    if (handler == (any_handler)perls_immediate)
        return (any_handler)on_immediate;
#if HAS_HANDLERS_OF_ONE
    if (handler == perls_safe_of_one)
        return on_safe_of_one;
    if (handler == perls_immediate_of_one)
        return on_immediate_of_one;
#endif
    return NULL;
}

/* `sa_handler` and `sa_sigaction` share their place (sigaction(2)), which POSIX allows and every system
 * with perl's SA_SIGINFO does. */
static void replace_installed(void)
{
    struct sigaction action;
    int number;

    for (number = 1; number < SIG_SIZE; number++) {
        if (sigaction(number, NULL, &action) != 0)
            continue;
        action.sa_handler = replacement(action.sa_handler);
        if (action.sa_handler)
            sigaction(number, &action, NULL);
    }
}

/* Once: a second time ours would be taken for perl's. */
static void guard_process(pTHX)
{
    static int is_guarded = 0;

    if (is_guarded)
        return;
    note_perls(aTHX);
    replace_of_process();
    replace_installed();
    is_guarded = 1;
}

/* For each interpreter that loads us, as others may do at this moment. */
void perl_shim_guard_signals(pTHX)
{
#ifdef USE_ITHREADS
    static perl_mutex one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
#endif

    MUTEX_LOCK(&one_at_a_time);
    guard_process(aTHX);
    MUTEX_UNLOCK(&one_at_a_time);
    replace_of_interpreter(aTHX);
}

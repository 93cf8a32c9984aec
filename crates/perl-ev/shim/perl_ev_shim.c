/* libev watchers for one guest, over the C API that the module EV exports.
 *
 * None of the watchers holds the loop by itself: each is unreferenced after it
 * is started and referenced before it is stopped (ev_ref in libev's manual).
 * Whether the loop must go on is told by the guest in `prepare`, and held by one
 * reference of ours.
 *
 * The timer repeats, and the idle watcher never stops by itself, so that libev
 * drops no reference behind our back.
 */

#include <pthread.h>
#include <stdlib.h>

#include "EVAPI.h"

#include "perl_ev_shim.h"
#include "perl_shim.h"

/* The interpreter of this thread; an unthreaded perl has but one. */
#ifdef MULTIPLICITY
#define dINTERPRETER void *interpreter = PERL_GET_THX
#else
#define dINTERPRETER void *interpreter = NULL
#endif

struct perl_ev_watchers {
    ev_io readable;
    ev_timer timer;
    ev_idle idle;
    ev_prepare prepare;
    ev_fork forked;
    ev_cleanup loop_ending;
    const perl_ev_guest_functions *functions;
    void *guest;
    int holds_loop;
    int was_ready; /* by itself, not because it asked for a round; since `prepare` */
    int callbacks_running;
    int stopped;
    int loop_has_ended; /* EV::default_destroy: there is nothing left that the watchers are in */
};

static perl_ev_fork_counts fork_counts;

static struct ev_loop *
default_loop(void)
{
    return GEVAPI->default_loop;
}

static int
has_default_loop(void)
{
    return GEVAPI && default_loop();
}

/* Runs in the child of every fork(), of Perl's or of a C library's: libev is
 * told here, since its own handler is missing from some builds. */
static void
note_fork_in_child(void)
{
    fork_counts.led_here++;
    if (has_default_loop())
        ev_loop_fork(default_loop());
}

static void
note_fork_in_parent(void)
{
    fork_counts.from_here++;
}

/* The last step of every callback: it may not come back, as the guest's Perl
 * code may have called `exit`. Watchers stopped by their own guest are freed here. */
static void
leave_callback(perl_ev_watchers *watchers, void *interpreter)
{
    watchers->callbacks_running--;
    if (watchers->stopped && watchers->callbacks_running == 0)
        free(watchers);
    perl_shim_leave(interpreter);
}

static void
call_ready(perl_ev_watchers *watchers)
{
    dINTERPRETER;
    watchers->callbacks_running++;
    watchers->functions->ready(interpreter, watchers->guest);
    leave_callback(watchers, interpreter);
}

static void
on_readable(EV_P_ ev_io *watcher, int events)
{
    PERL_UNUSED_VAR(loop);
    PERL_UNUSED_VAR(events);
    ((perl_ev_watchers *)watcher->data)->was_ready = 1;
    call_ready((perl_ev_watchers *)watcher->data);
}

static void
on_timer(EV_P_ ev_timer *watcher, int events)
{
    PERL_UNUSED_VAR(loop);
    PERL_UNUSED_VAR(events);
    ((perl_ev_watchers *)watcher->data)->was_ready = 1;
    call_ready((perl_ev_watchers *)watcher->data);
}

static void
on_idle(EV_P_ ev_idle *watcher, int events)
{
    PERL_UNUSED_VAR(loop);
    PERL_UNUSED_VAR(events);
    call_ready((perl_ev_watchers *)watcher->data);
}

static void
start_idle(perl_ev_watchers *watchers)
{
    if (ev_is_active(&watchers->idle))
        return;
    ev_idle_start(default_loop(), &watchers->idle);
    ev_unref(default_loop());
}

static void
stop_idle(perl_ev_watchers *watchers)
{
    if (!ev_is_active(&watchers->idle))
        return;
    ev_ref(default_loop());
    ev_idle_stop(default_loop(), &watchers->idle);
}

static void
stop_timer(perl_ev_watchers *watchers)
{
    if (!ev_is_active(&watchers->timer))
        return;
    ev_ref(default_loop());
    ev_timer_stop(default_loop(), &watchers->timer);
}

static void
set_timer(perl_ev_watchers *watchers, double seconds)
{
    int was_active = ev_is_active(&watchers->timer);
    watchers->timer.repeat = seconds;
    ev_timer_again(default_loop(), &watchers->timer);
    if (!was_active)
        ev_unref(default_loop());
}

static void
hold_loop(perl_ev_watchers *watchers, int holds_loop)
{
    if (holds_loop && !watchers->holds_loop)
        ev_ref(default_loop());
    if (!holds_loop && watchers->holds_loop)
        ev_unref(default_loop());
    watchers->holds_loop = holds_loop;
}

/* An idle watcher, not a timer of no time, asks for the next round at once: libev
 * lengthens every wait to the resolution of epoll, a millisecond. */
static void
arrange(perl_ev_watchers *watchers, const perl_ev_sleep *sleep)
{
    hold_loop(watchers, sleep->holds_loop);
    if (sleep->seconds == 0)
        start_idle(watchers);
    else
        stop_idle(watchers);
    if (sleep->seconds > 0)
        set_timer(watchers, sleep->seconds);
    else
        stop_timer(watchers);
}

/* A nested loop begins with what the outer one has left to call, and then sleeps: also one
 * that was to end after a round, as the condition variables of AnyEvent have it, because what
 * is waited for has come. So it goes round once without sleeping. */
static int
owes_round(perl_ev_watchers *watchers)
{
    int was_ready = watchers->was_ready;
    watchers->was_ready = 0;
    return was_ready && GEVAPI->depth(default_loop()) > 1;
}

static void
on_prepare(EV_P_ ev_prepare *watcher, int events)
{
    perl_ev_watchers *watchers = (perl_ev_watchers *)watcher->data;
    perl_ev_sleep sleep = {-1, 0};
    dINTERPRETER;
    PERL_UNUSED_VAR(loop);
    PERL_UNUSED_VAR(events);

    watchers->callbacks_running++;
    watchers->functions->prepare(interpreter, watchers->guest, &sleep);
    if (owes_round(watchers))
        sleep.seconds = 0;
    if (!watchers->stopped && !watchers->loop_has_ended)
        arrange(watchers, &sleep);
    leave_callback(watchers, interpreter);
}

static void
on_fork(EV_P_ ev_fork *watcher, int events)
{
    perl_ev_watchers *watchers = (perl_ev_watchers *)watcher->data;
    dINTERPRETER;
    PERL_UNUSED_VAR(loop);
    PERL_UNUSED_VAR(events);

    watchers->callbacks_running++;
    watchers->functions->forked(interpreter, watchers->guest);
    leave_callback(watchers, interpreter);
}

static void
on_loop_ending(EV_P_ ev_cleanup *watcher, int events)
{
    PERL_UNUSED_VAR(loop);
    PERL_UNUSED_VAR(events);
    ((perl_ev_watchers *)watcher->data)->loop_has_ended = 1;
}

int
perl_ev_bind(void *interpreter)
{
    static int registered = 0;
    SV *api;
#ifdef MULTIPLICITY
    PerlInterpreter *my_perl = (PerlInterpreter *)interpreter;
#else
    PERL_UNUSED_VAR(interpreter);
#endif

    api = get_sv("EV::API", 0);
    if (!api || !SvIOK(api))
        return -1;
    GEVAPI = INT2PTR(struct EVAPI *, SvIVX(api));
    if (GEVAPI->ver != EV_API_VERSION || GEVAPI->rev < EV_API_REVISION || !default_loop())
        return -1;
    if (!registered && pthread_atfork(NULL, note_fork_in_parent, note_fork_in_child) != 0)
        return -1;
    registered = 1;
    return 0;
}

perl_ev_watchers *
perl_ev_start(const perl_ev_guest_functions *functions, void *guest, int descriptor)
{
    perl_ev_watchers *watchers = calloc(1, sizeof *watchers);
    if (!watchers)
        return NULL;
    watchers->functions = functions;
    watchers->guest = guest;

    ev_io_init(&watchers->readable, on_readable, descriptor, EV_READ);
    ev_init(&watchers->timer, on_timer);
    ev_idle_init(&watchers->idle, on_idle);
    ev_prepare_init(&watchers->prepare, on_prepare);
    ev_fork_init(&watchers->forked, on_fork);
    ev_cleanup_init(&watchers->loop_ending, on_loop_ending);
    /* Below this priority an idle watcher starves while anything else is busy. */
    ev_set_priority(&watchers->idle, EV_MAXPRI);
    /* EV makes `data` of every watcher an SV pointer; in watchers of C's own it never
     * looks at it. */
    watchers->readable.data = watchers->timer.data = watchers->idle.data =
        watchers->prepare.data = watchers->forked.data =
            watchers->loop_ending.data = (SV *)watchers;

    ev_io_start(default_loop(), &watchers->readable);
    ev_unref(default_loop());
    ev_prepare_start(default_loop(), &watchers->prepare);
    ev_unref(default_loop());
    ev_fork_start(default_loop(), &watchers->forked);
    ev_unref(default_loop());
    /* libev counts no reference for this kind. */
    ev_cleanup_start(default_loop(), &watchers->loop_ending);
    return watchers;
}

void
perl_ev_watch(perl_ev_watchers *watchers, int descriptor)
{
    if (watchers->loop_has_ended)
        return;
    ev_io_stop(default_loop(), &watchers->readable);
    ev_io_set(&watchers->readable, descriptor, EV_READ);
    ev_io_start(default_loop(), &watchers->readable);
}

void
perl_ev_wake(perl_ev_watchers *watchers)
{
    if (watchers->loop_has_ended)
        return;
    hold_loop(watchers, 1);
    start_idle(watchers);
}

static void
leave_loop(perl_ev_watchers *watchers)
{
    hold_loop(watchers, 0);
    stop_idle(watchers);
    stop_timer(watchers);
    ev_ref(default_loop());
    ev_io_stop(default_loop(), &watchers->readable);
    ev_ref(default_loop());
    ev_prepare_stop(default_loop(), &watchers->prepare);
    ev_ref(default_loop());
    ev_fork_stop(default_loop(), &watchers->forked);
    ev_cleanup_stop(default_loop(), &watchers->loop_ending);
}

void
perl_ev_stop(perl_ev_watchers *watchers)
{
    if (!watchers->loop_has_ended)
        leave_loop(watchers);
    watchers->stopped = 1;
    if (watchers->callbacks_running == 0)
        free(watchers);
}

double
perl_ev_now(void)
{
    return has_default_loop() ? ev_now(default_loop()) : 0;
}

unsigned int
perl_ev_depth(void)
{
    /* EV's own macro names no loop. */
    return has_default_loop() ? GEVAPI->depth(default_loop()) : 0;
}

perl_ev_fork_counts
perl_ev_forks(void)
{
    return fork_counts;
}

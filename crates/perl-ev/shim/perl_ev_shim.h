/* The watchers of one guest in EV's default loop, as the Rust side sees them. */

#ifndef PERL_EV_SHIM_H
#define PERL_EV_SHIM_H

/* What the guest wants of the loop before it sleeps. */
typedef struct {
    double seconds; /* wake up after so long; 0: poll again at once; negative: no wish */
    int holds_loop; /* whether the loop must go on although nothing else is watched */
} perl_ev_sleep;

/* Rust functions, each with its own catch_unwind; a Perl exception or `exit`
 * they met is left with the perl shim, which acts on it when they are back. */
typedef struct {
    void (*ready)(void *my_perl, void *guest);
    void (*prepare)(void *my_perl, void *guest, perl_ev_sleep *sleep);
    void (*forked)(void *my_perl, void *guest);
} perl_ev_guest_functions;

typedef struct perl_ev_watchers perl_ev_watchers;

/* Binds EV's C API. Returns 0, or -1 if EV is not loaded or has another ABI. */
int perl_ev_bind(void *my_perl);

perl_ev_watchers *perl_ev_start(const perl_ev_guest_functions *functions, void *guest,
                                int descriptor);
void perl_ev_watch(perl_ev_watchers *watchers, int descriptor);
void perl_ev_wake(perl_ev_watchers *watchers);
void perl_ev_stop(perl_ev_watchers *watchers);

double perl_ev_now(void);

/* How many loops run, one within the other. */
unsigned int perl_ev_depth(void);

/* Calls of fork() since the library was loaded. */
typedef struct {
    unsigned int led_here;  /* those of which this process is the child, or a child's child */
    unsigned int from_here; /* those that made a child of this process */
} perl_ev_fork_counts;

perl_ev_fork_counts perl_ev_forks(void);

#endif

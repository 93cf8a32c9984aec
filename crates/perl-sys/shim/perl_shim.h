/* What C code outside the shim may call: the boot macro and the callbacks of foreign libraries. */

#ifndef PERL_SHIM_H
#define PERL_SHIM_H

#ifdef __cplusplus
extern "C" {
#endif

/* `perl` is the PerlInterpreter of a threaded perl, and NULL for an unthreaded one. */

/* A boot function written in Rust: what perl_xs::boot! defines. The result is what every entry into
 * Rust returns: PERL_SHIM_OK, or PERL_SHIM_DIED with an owned SV in *error. */
typedef int (*perl_shim_boot_function)(void *perl, const char *module, void **error);

/* Calls a boot function; croaks when it failed. */
void perl_shim_boot(void *perl, const char *module, perl_shim_boot_function boot);

/* To be called last in every C function through which a foreign library enters Rust, when Rust has
 * returned: goes on with an `exit` (or with an exception that nobody could catch) that was held back
 * while Rust values were alive, and runs the signal handlers that were. Does not return after an exit, nor
 * where a handler throws. */
void perl_shim_leave(void *perl);

#ifdef __cplusplus
}
#endif
#endif

/* The one C line an extension in Rust needs:
 *
 *     #include "perl_xs_boot.h"
 *     PERL_XS_BOOT(Some__Module, some_module_boot)
 *
 * defines boot_Some__Module, which DynaLoader looks for, calling the function that
 * perl_xs::boot!(some_module_boot, ...) defined. */

#ifndef PERL_XS_BOOT_H
#define PERL_XS_BOOT_H

#define PERL_NO_GET_CONTEXT
#include <EXTERN.h>
#include <perl.h>
#include <XSUB.h>
#include "perl_shim.h"

#ifndef XS_EXTERNAL
#  define XS_EXTERNAL(name) XS(name)
#endif
#ifdef MULTIPLICITY
#  define PERL_XS_INTERPRETER ((void *)aTHX)
#else
#  define PERL_XS_INTERPRETER NULL
#endif

#define PERL_XS_BOOT(module, rust_boot)                                      \
    extern int rust_boot(void *perl, const char *name, void **error);        \
    XS_EXTERNAL(boot_##module);                                              \
    XS_EXTERNAL(boot_##module)                                               \
    {                                                                        \
        dVAR;                                                                \
        dXSARGS;                                                             \
        PERL_UNUSED_VAR(cv);                                                 \
        PERL_UNUSED_VAR(items);                                              \
        XS_APIVERSION_BOOTCHECK;                                             \
        XS_VERSION_BOOTCHECK;                                                \
        perl_shim_boot(PERL_XS_INTERPRETER, #module, rust_boot);             \
        XSRETURN_YES;                                                        \
    }

#endif

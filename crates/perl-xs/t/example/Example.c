/* The function that Perl's DynaLoader calls; it goes on in Rust. */

#include "perl_xs_boot.h"

PERL_XS_BOOT(Example, example_boot)

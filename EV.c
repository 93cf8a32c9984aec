/* Exports boot_HTTP__Server__EV, which XSLoader calls, and hands over to Rust. */

#include "perl_xs_boot.h"

PERL_XS_BOOT(HTTP__Server__EV, http_server_ev_boot)

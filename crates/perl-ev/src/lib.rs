//! Runs a mio poll inside the default loop of the Perl module EV.

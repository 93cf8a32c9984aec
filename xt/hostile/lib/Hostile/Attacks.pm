package Hostile::Attacks;

# The table of all attacks.

use strict;
use warnings;

use Hostile::Attacks::Bombs;
use Hostile::Attacks::Connections;
use Hostile::Attacks::Limits;
use Hostile::Attacks::Pipelines;
use Hostile::Attacks::Readers;
use Hostile::Attacks::Slow;

sub all {
    return
      map { "Hostile::Attacks::$_"->attacks }
      qw(Slow Readers Limits Bombs Pipelines Connections);
}

1;

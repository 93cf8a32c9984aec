package Hostile::Bounds;

# The memory that clients can make a server have, as its limits have it: what one connection
# can hold, by its state, and what all of them share.

use strict;
use warnings;

use constant KIB => 1024;
use constant MIB => 1024 * KIB;

# The limits of `listen` and their defaults, as far as they bound memory.
my %DEFAULT = (
    max_header_size     => 64 * KIB,
    max_headers         => 100,
    max_uri             => 4_099,
    max_parts           => 1_025,
    max_field_name      => 4_099,
    max_file_name       => 4_099,
    max_field_value     => 51_197,
    max_urlencoded_body => 102_400,
);

# One read of a connection that uploads no file, and of one that does.
my $SHORT_READ = 64 * KIB;
my $LONG_READ  = MIB;

# What the engine keeps of a connection besides; what perl keeps of a request, of each header
# and of each field or file besides their bytes.
my $CONNECTION = 2 * KIB;
my $OBJECT     = 16 * KIB;
my $HEADER     = 600;
my $PART       = 1.5 * KIB;

# Read buffers of uploads (also what the threads have to write is in them), one of all others,
# output, heads, and what the allocator keeps, in MiB.
my ( $UPLOADS, $OTHERS, $OUTPUT, $HEADS, $ALLOCATOR ) = ( 16, 1, 4, 4, 8 );

# What is shared by all connections; what of that stays where nobody uploads much, and what
# besides where many do.
sub shared { return ( $UPLOADS + $OTHERS + $OUTPUT + $HEADS + $ALLOCATOR ) * MIB }

sub kept { return ( $OTHERS + $OUTPUT + $HEADS ) * MIB }

sub kept_of_uploads { return $UPLOADS * MIB }

# A connection whose head is being received: what was sent of it, in a buffer that grows by
# doubling.
sub head {
    my %limit = ( %DEFAULT, @_ );
    return $CONNECTION + 2 * $limit{max_header_size};
}

# A connection whose client has sent requests ahead, or takes its time with a reply: what was
# read ahead.
sub waiting { return $CONNECTION + $SHORT_READ }

# A request that the application has: its head as it came, and as the values of `headers`;
# each value once, each name three times.
sub request {
    my %limit = ( %DEFAULT, @_ );
    return waiting() + $OBJECT + 5 * $limit{max_header_size} +
      $limit{max_headers} * $HEADER;
}

# An urlencoded body: its bytes, in a buffer that grows by doubling, and its fields.
sub form {
    my %limit  = ( %DEFAULT, @_ );
    my $body   = $limit{max_urlencoded_body};
    my $fields = $limit{fields} // 1_024;
    return request(@_) + 2 * $body + 3 * $body + 2 * $fields * $PART;
}

# A multipart body: what was read and not parsed, and each field with its name and its value,
# which grows where it has to be made UTF-8.
sub upload {
    my %limit = ( %DEFAULT, @_ );
    my $name  = $limit{max_field_name};
    my $value = $limit{max_field_value};
    my $file  = 3 * $limit{max_file_name};
    my $part  = $value > $file ? 3 * $value : $file;
    return request(@_) + $LONG_READ + $limit{max_parts} * ( 2 * $name + $part + $PART );
}

# A reply of so many bytes that its client does not take, in a buffer that grows by doubling.
sub reply {
    my ($bytes) = @_;
    return waiting() + 2 * $bytes;
}

1;

/** Takes over the buckets of a table that something else has kept, where the raw rows are gone. */
@NullMarked
package dev.tallyroll.postgres.adopt;

import org.jspecify.annotations.NullMarked;

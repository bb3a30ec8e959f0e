/** Tallyroll's own schema, and what it remembers of each rollup: cursor, coverage, last refresh. */
@NullMarked
package dev.tallyroll.postgres.registry;

import org.jspecify.annotations.NullMarked;

/** Merges partials into the rollup's tables, and drops what is no longer kept. */
@NullMarked
package dev.tallyroll.postgres.merge;

import org.jspecify.annotations.NullMarked;

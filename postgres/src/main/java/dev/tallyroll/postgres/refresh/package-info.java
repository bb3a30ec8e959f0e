/**
 * Brings a rollup up to date: reads what the cursor has not seen, folds it, merges it, moves the
 * cursor.
 */
@NullMarked
package dev.tallyroll.postgres.refresh;

import org.jspecify.annotations.NullMarked;

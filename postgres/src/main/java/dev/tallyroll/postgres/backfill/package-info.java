/** Fills history in slices of whole UTC days, newest first. */
@NullMarked
package dev.tallyroll.postgres.backfill;

import org.jspecify.annotations.NullMarked;

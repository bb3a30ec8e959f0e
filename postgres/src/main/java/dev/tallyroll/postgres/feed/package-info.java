/** Reads rows of a source that a snapshot sees and folds them into partials. */
@NullMarked
package dev.tallyroll.postgres.feed;

import org.jspecify.annotations.NullMarked;

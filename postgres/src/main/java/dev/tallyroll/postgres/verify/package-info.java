/** Proves rollup = source, and repairs what differs. */
@NullMarked
package dev.tallyroll.postgres.verify;

import org.jspecify.annotations.NullMarked;

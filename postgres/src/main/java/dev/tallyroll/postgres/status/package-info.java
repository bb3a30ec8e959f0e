/** Tells how far each rollup is behind, what it covers and what it takes. */
@NullMarked
package dev.tallyroll.postgres.status;

import org.jspecify.annotations.NullMarked;

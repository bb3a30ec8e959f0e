/** Seals: ranges whose source rows are gone or going, and the purge behind them. */
@NullMarked
package dev.tallyroll.postgres.seal;

import org.jspecify.annotations.NullMarked;

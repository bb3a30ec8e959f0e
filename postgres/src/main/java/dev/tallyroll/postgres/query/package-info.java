/** Answers usage by tenant, dimension, zone and range from partials. */
@NullMarked
package dev.tallyroll.postgres.query;

import org.jspecify.annotations.NullMarked;

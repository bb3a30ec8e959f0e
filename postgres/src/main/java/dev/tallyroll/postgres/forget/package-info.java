/** Erases a tenant, or some of its rows, from everything that was made of them. */
@NullMarked
package dev.tallyroll.postgres.forget;

import org.jspecify.annotations.NullMarked;

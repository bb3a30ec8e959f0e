/** Tenants, and the credentials by which a request is known to be of one. */
@NullMarked
package dev.tallyroll.postgres.access;

import org.jspecify.annotations.NullMarked;

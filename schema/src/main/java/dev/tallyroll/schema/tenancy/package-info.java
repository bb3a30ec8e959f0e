/** Which column says whose a row is, and which table lists the tenants. */
@NullMarked
package dev.tallyroll.schema.tenancy;

import org.jspecify.annotations.NullMarked;

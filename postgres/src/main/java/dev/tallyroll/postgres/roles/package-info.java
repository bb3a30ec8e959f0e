/** Who may do what: the grants that an installer, a refresher and a reader need, and no more. */
@NullMarked
package dev.tallyroll.postgres.roles;

import org.jspecify.annotations.NullMarked;

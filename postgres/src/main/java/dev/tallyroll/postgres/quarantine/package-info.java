/** What could not be counted: listed, shown, and tried again. */
@NullMarked
package dev.tallyroll.postgres.quarantine;

import org.jspecify.annotations.NullMarked;

/** How the changes of a source are captured: in the table itself, or in a change log. */
@NullMarked
package dev.tallyroll.postgres.capture;

import org.jspecify.annotations.NullMarked;

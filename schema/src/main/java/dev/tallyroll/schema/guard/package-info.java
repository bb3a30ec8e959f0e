/** Guards: what must be covered, by content, before a legacy table may go. */
@NullMarked
package dev.tallyroll.schema.guard;

import org.jspecify.annotations.NullMarked;

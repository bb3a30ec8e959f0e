/** Records the statements of an application while its tests run. */
@NullMarked
package dev.tallyroll.schema.recording;

import org.jspecify.annotations.NullMarked;

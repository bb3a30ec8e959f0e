/** Rollup definitions: the records, and the reader that makes them from YAML with positions. */
@NullMarked
package dev.tallyroll.model.definition;

import org.jspecify.annotations.NullMarked;

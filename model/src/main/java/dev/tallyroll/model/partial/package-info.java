/**
 * Partials: mergeable states in columns, the sketches among them, and the tables that group them.
 */
@NullMarked
package dev.tallyroll.model.partial;

import org.jspecify.annotations.NullMarked;

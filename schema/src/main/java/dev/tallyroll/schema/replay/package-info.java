/** Runs the migrations of a project on a database of their own that is thrown away. */
@NullMarked
package dev.tallyroll.schema.replay;

import org.jspecify.annotations.NullMarked;

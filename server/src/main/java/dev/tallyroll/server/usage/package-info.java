/** Answers usage. */
@NullMarked
package dev.tallyroll.server.usage;

import org.jspecify.annotations.NullMarked;

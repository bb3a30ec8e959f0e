/** Connections with fixed settings, retries, and faults as one line. */
@NullMarked
package dev.tallyroll.session;

import org.jspecify.annotations.NullMarked;

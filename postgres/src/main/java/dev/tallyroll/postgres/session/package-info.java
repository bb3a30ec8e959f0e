/** Connections as the engine needs them: fixed settings, retries, faults as one line. */
@NullMarked
package dev.tallyroll.postgres.session;

import org.jspecify.annotations.NullMarked;

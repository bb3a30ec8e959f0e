/** The event log: each event is appended once, whoever sends it again. */
@NullMarked
package dev.tallyroll.postgres.events;

import org.jspecify.annotations.NullMarked;

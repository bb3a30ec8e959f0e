/**
 * What tests need: a real PostgreSQL, seeded events, and an oracle that shares no code with the
 * engine.
 */
@NullMarked
package dev.tallyroll.testkit;

import org.jspecify.annotations.NullMarked;

/**
 * Random histories that a seed reproduces: writers, readers, refreshes and faults, interleaved
 * between any two statements of the engine, and compared with an oracle that shares no code with
 * it.
 */
@NullMarked
package dev.tallyroll.testkit.history;

import org.jspecify.annotations.NullMarked;

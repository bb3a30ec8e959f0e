/**
 * From events that were read to events that are durable: rates, the group commit, what it measures.
 */
@NullMarked
package dev.tallyroll.server.ingest;

import org.jspecify.annotations.NullMarked;

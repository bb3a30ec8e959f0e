package dev.tallyroll.postgres.events;

import java.util.Optional;

/** Makes batches of events durable. Thread-safe. */
@FunctionalInterface
public interface Appender {
  /**
   * Appends a batch, and returns when it is durable.
   *
   * @return empty if it is; else why it is not
   */
  Optional<Refusal> append(EventBatch batch) throws InterruptedException;
}

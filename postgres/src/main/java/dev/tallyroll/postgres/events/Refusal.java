package dev.tallyroll.postgres.events;

/** What becomes of a batch that is not stored. Nothing of it is; it may be sent again. */
public sealed interface Refusal {
  /**
   * The log cannot be reached or takes nothing now: another try may well succeed. Whether the batch
   * was stored may not be known; if it was, the next try finds its keys.
   *
   * @param reason why, without values
   */
  record Unavailable(String reason) implements Refusal {}

  /** More waits already than may wait. */
  record Overloaded() implements Refusal {}

  /**
   * The database refuses the batch's values, which no check has foreseen.
   *
   * @param reason the SQLSTATE, without values
   */
  record Invalid(String reason) implements Refusal {}
}

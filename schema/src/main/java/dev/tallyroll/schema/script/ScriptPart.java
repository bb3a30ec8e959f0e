package dev.tallyroll.schema.script;

/** A part of a script, in the order in which psql would do them. */
public sealed interface ScriptPart {
  /** The line of the script in which it begins, from 1. */
  int line();

  /** The text itself, without what ends it and without comments before it. */
  String text();

  /**
   * One SQL statement.
   *
   * @param text without the semicolon
   */
  record Statement(int line, String text) implements ScriptPart {}

  /**
   * A command of psql, which no server understands.
   *
   * @param text with its backslash, as {@code \i tables.sql}
   */
  record PsqlCommand(int line, String text) implements ScriptPart {}

  /**
   * {@code COPY ... FROM STDIN} with its rows.
   *
   * @param text the statement
   * @param data the lines after it, up to the one with {@code \.}, each with its end
   */
  record CopyData(int line, String text, String data) implements ScriptPart {}
}

package dev.tallyroll.cli;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.List;
import java.util.stream.Stream;

/** A command that was run in this process: its exit code, and what it printed. */
record Ran(int code, String out, String err) {
  /** Runs a command. */
  static Ran of(String... arguments) {
    StringWriter out = new StringWriter();
    StringWriter err = new StringWriter();
    int code = Main.run(arguments, new PrintWriter(out), new PrintWriter(err));
    return new Ran(code, out.toString(), err.toString());
  }

  /** Runs a command with options at its end. */
  static Ran with(List<String> options, String... command) {
    return of(Stream.concat(Stream.of(command), options.stream()).toArray(String[]::new));
  }
}

package dev.tallyroll.session;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import java.sql.SQLException;
import java.util.Set;
import org.postgresql.util.PSQLException;
import org.postgresql.util.ServerErrorMessage;

/** Turns what JDBC throws into one line for the user. */
public final class Faults {
  private static final Set<String> PASSING = Set.of("40001", "40P01", "55P03");

  private Faults() {}

  /** Whether the same work may well succeed if it is tried again. */
  public static boolean isPassing(SQLException fault) {
    return PASSING.contains(state(fault));
  }

  /** The SQLSTATE, or the empty string. */
  public static String state(SQLException fault) {
    String state = fault.getSQLState();
    return state == null ? "" : state;
  }

  private static final String NO_PRIVILEGE = "42501";

  /** The fault with its SQLSTATE and the server's hint, on one line. */
  public static TallyrollException of(SQLException fault) {
    return new TallyrollException(
        ErrorCode.DATABASE,
        message(fault)
            + (state(fault).equals(NO_PRIVILEGE)
                ? "; {tallyroll} plan --grants -f FILE prints what an installer, a refresher and a reader need"
                : ""),
        fault);
  }

  /** What the server adds to its message, on one line; the message if it adds nothing. */
  public static String detail(SQLException fault) {
    return fault instanceof PSQLException server
            && server.getServerErrorMessage() instanceof ServerErrorMessage message
            && message.getDetail() != null
        ? message.getDetail().strip().replaceAll("\\s*\\R\\s*", ", ")
        : message(fault);
  }

  /** The server's own message without its severity, on one line. */
  public static String message(SQLException fault) {
    String state = state(fault);
    String text = fault.getMessage() == null ? "no message" : fault.getMessage();
    if (fault instanceof PSQLException server
        && server.getServerErrorMessage() instanceof ServerErrorMessage message) {
      text = message.getMessage() == null ? text : message.getMessage();
      if (message.getDetail() != null) {
        text += ": " + message.getDetail();
      }
      if (message.getHint() != null) {
        text += "; " + message.getHint();
      }
    }
    String line = text.strip().replaceAll("\\s*\\R\\s*", " ");
    return state.isEmpty() ? line : line + " (SQLSTATE " + state + ")";
  }
}

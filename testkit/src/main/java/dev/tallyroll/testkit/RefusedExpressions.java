package dev.tallyroll.testkit;

import com.zaxxer.hikari.SQLExceptionOverride;
import java.sql.SQLException;

/** The pool takes a feature that an expression may not use (0A000) for a broken connection. */
final class RefusedExpressions implements SQLExceptionOverride {
  // The interface has a type called Override, which hides the annotation.
  @SuppressWarnings("MissingOverride")
  public SQLExceptionOverride.Override adjudicate(SQLException e) {
    return "0A000".equals(e.getSQLState())
        ? SQLExceptionOverride.Override.DO_NOT_EVICT
        : SQLExceptionOverride.Override.CONTINUE_EVICT;
  }
}

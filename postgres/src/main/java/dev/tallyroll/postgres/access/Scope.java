package dev.tallyroll.postgres.access;

import java.util.Arrays;
import java.util.Locale;
import java.util.Optional;

/** What a credential is for; each for one thing. */
public enum Scope {
  /** Sends events of its tenant. */
  INGEST,
  /** Asks for usage of its tenant. */
  READ,
  /** Makes tenants and keys, and asks for usage of all tenants; sends nothing. */
  ADMIN;

  /** Its name in SQL and JSON. */
  public String label() {
    return name().toLowerCase(Locale.ROOT);
  }

  /** The scope of this name. */
  public static Optional<Scope> of(String label) {
    return Arrays.stream(values()).filter(scope -> scope.label().equals(label)).findFirst();
  }
}

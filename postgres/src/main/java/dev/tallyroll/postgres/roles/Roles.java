package dev.tallyroll.postgres.roles;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;

/**
 * Three roles; installer and refresher may be the same.
 *
 * @param installer owns the schema tallyroll and all in it, and makes, changes and drops rollups
 * @param refresher writes to rollups, and makes nothing
 * @param reader reads rollups, of one tenant
 */
public record Roles(String installer, String refresher, String reader) {
  /** Refuses a reader that is another role too: it would see every tenant. */
  public Roles {
    if (reader.equals(installer) || reader.equals(refresher)) {
      throw new TallyrollException(
          ErrorCode.USAGE,
          "--reader "
              + reader
              + " would see every tenant, since it is the installer or the refresher; name another role");
    }
  }

  /** Whether the installer refreshes too. */
  boolean isOneForBoth() {
    return installer.equals(refresher);
  }
}
